package worker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// testClock stands still until it is moved.
type testClock struct {
	mu      sync.Mutex
	current time.Time
	timers  map[*testTimer]struct{}
}

type testTimer struct {
	c    *testClock
	when time.Time
	f    func()
}

func newTestClock() *testClock {
	return &testClock{current: time.Unix(1_000_000, 0), timers: map[*testTimer]struct{}{}}
}

func (c *testClock) clock() *clock {
	return &clock{now: c.now, after: func(d time.Duration, f func()) stopper {
		c.mu.Lock()
		defer c.mu.Unlock()
		t := &testTimer{c, c.current.Add(d), f}
		c.timers[t] = struct{}{}
		return t
	}}
}

func (t *testTimer) Stop() bool {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	_, was := t.c.timers[t]
	delete(t.c.timers, t)
	return was
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

// move lets d pass.
func (c *testClock) move(d time.Duration) {
	c.mu.Lock()
	c.current = c.current.Add(d)
	var due []func()
	for t := range c.timers {
		if !t.when.After(c.current) {
			due = append(due, t.f)
			delete(c.timers, t)
		}
	}
	c.mu.Unlock()
	for _, f := range due {
		f()
	}
}

// partition is what status says of a partition; the zero value before it is served.
func (s *supervisor) partition(n int32) status.Partition {
	s.t.Helper()
	for _, p := range s.status().Partitions {
		if p.Partition == n {
			return p
		}
	}
	return status.Partition{}
}

// A consumer that fails in each way, over four partitions: only the failing one
// waits, and as long as it is to, by a clock that stands still otherwise.
func TestOnlyTheFailingPartitionWaitsAndToTheSchedule(t *testing.T) {
	errBad := errors.New("bad message")
	plain := func(int) error { return errBad }
	for name, c := range map[string]struct {
		set   func(*config.Config)
		fail  func(at int) error // one call; at is the place of the bad message in its batch
		batch bool
		part  bool            // what comes before it is done
		waits []time.Duration // from failure to failure
	}{
		"an error": {nil, plain, false, false, []time.Duration{10 * time.Second, 10 * time.Second, 10 * time.Second}},
		"a panic":  {nil, func(int) error { panic(errBad) }, false, false, []time.Duration{10 * time.Second, 10 * time.Second}},
		"with backoff": {func(c *config.Config) {
			c.PauseTimeout, c.PauseWithExponentialBackoff, c.MaxPauseTimeout = time.Second, true, 5*time.Second
		}, plain, false, false, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second}},
		"a time of its own": {nil, func(int) error { return racecar.RetryAfter(errBad, time.Hour) }, false, false, []time.Duration{time.Hour, time.Hour}},
		"no pause": {func(c *config.Config) { c.PauseTimeout = 0 }, plain, false, false,
			[]time.Duration{retryFloor, retryFloor, retryFloor}},
		"a batch":           {nil, plain, true, false, []time.Duration{10 * time.Second, 10 * time.Second}},
		"a part of a batch": {nil, func(at int) error { return racecar.FailedAt(at, errBad) }, true, true, []time.Duration{10 * time.Second, 10 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic, group := b.Topic(4), b.Group()
			clock := newTestClock()
			const bad = 5
			rec := newRecorder()
			var mu sync.Mutex
			var failures []time.Time
			failed := make(chan struct{}, 100)
			fails := func(p int32, first, last int64) bool {
				mu.Lock()
				defer mu.Unlock()
				if p != 1 || first > bad || last < bad || len(failures) > len(c.waits) {
					return false
				}
				failures = append(failures, clock.now())
				failed <- struct{}{}
				return true
			}
			reg := one(t, topic, func(_ context.Context, m *racecar.Message) error {
				if fails(m.Partition, m.Offset, m.Offset) {
					return c.fail(0)
				}
				rec.add(m)
				return nil
			})
			if c.batch {
				reg = batchRegistration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(_ context.Context, ms []*racecar.Message) error {
					err := error(nil)
					if fails(ms[0].Partition, ms[0].Offset, ms[len(ms)-1].Offset) {
						at := int(bad - ms[0].Offset)
						err = c.fail(at)
						if !c.part {
							at = 0
						}
						ms = ms[:at]
					}
					for _, m := range ms {
						rec.add(m)
					}
					return err
				})
			}
			for p := range int32(4) {
				b.Produce(topic, p, values(20)...)
			}
			cfg := testConfig(b, group)
			cfg.PauseTimeout = 10 * time.Second
			if c.batch {
				cfg.FetchMessages = 4
			}
			if c.set != nil {
				c.set(&cfg)
			}
			s := start(t, reg, cfg, func(o *Options) { o.clock = clock.clock() })
			settled := func(n int) {
				t.Helper()
				<-failed
				waitFor(t, "the pause", func() bool {
					p := s.partition(1)
					return p.State == status.PartitionBackoff && p.Retries == n && p.Reason != ""
				})
			}
			settled(1)
			extra := 0
			// Nobody but partition 1 waits: the others come to their ends without the
			// clock having moved, and go on at once with what comes.
			others := func() {
				for _, p := range []int32{0, 2, 3} { // each in its own quantum, so that 1 has had its chance
					b.Produce(topic, p, "more")
					k := topicPartition{topic, p}
					want := 21 + extra
					waitFor(t, "the other partitions", func() bool { return len(rec.offsets(k)) == want })
				}
				extra++
			}
			others()
			for i, wait := range c.waits {
				clock.move(wait - time.Millisecond)
				others()
				mu.Lock()
				n := len(failures)
				mu.Unlock()
				if n != i+1 {
					t.Fatalf("called %d times before wait %d was over", n, i)
				}
				clock.move(time.Millisecond)
				settled(i + 2)
			}
			clock.move(24 * time.Hour)
			waitFor(t, "partition 1", func() bool { return len(rec.offsets(topicPartition{topic, 1})) == 20 })
			s.stop()
			for i, wait := range c.waits {
				if got := failures[i+1].Sub(failures[i]); got != wait {
					t.Errorf("wait %d was %v, want %v", i, got, wait)
				}
			}
			for p := range int32(4) {
				n := 20
				if p != 1 {
					n += extra
				}
				wantUpTo(t, rec.offsets(topicPartition{topic, p}), n)
				if got := b.Committed(group, topic, p); got != int64(n) {
					t.Errorf("partition %d: committed %d, want %d", p, got, n)
				}
			}
		})
	}
}

// pause_timeout -1: until somebody resumes it, however long that takes.
func TestPauseUntilResumed(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(2), b.Group()
	clock := newTestClock()
	rec := newRecorder()
	failed := make(chan struct{}, 10)
	reg := one(t, topic, func(_ context.Context, m *racecar.Message) error {
		if m.Partition == 1 && m.Offset == 3 && m.Retries < 1 {
			failed <- struct{}{}
			return errors.New("bad")
		}
		rec.add(m)
		return nil
	})
	b.Produce(topic, 1, values(10)...)
	cfg := testConfig(b, group)
	cfg.PauseTimeout = config.PauseForever
	s := start(t, reg, cfg, func(o *Options) { o.clock = clock.clock() })
	<-failed
	waitFor(t, "the pause", func() bool {
		p := s.partition(1)
		return p.State == status.PartitionPaused && p.Reason == "bad"
	})
	clock.move(1000 * time.Hour)
	b.Produce(topic, 0, values(10)...)
	waitFor(t, "the other partition", func() bool { return len(rec.offsets(topicPartition{topic, 0})) == 10 })
	if got := rec.offsets(topicPartition{topic, 1}); len(got) != 3 {
		t.Errorf("processed %v while paused", got)
	}
	s.command(wire.Command{Kind: wire.CommandResume, Partitions: []wire.Partition{{Topic: topic, Partition: 1}}})
	rec.await(t, 20)
	s.stop()
	wantUpTo(t, rec.offsets(topicPartition{topic, 1}), 10)
}

// Each failure is logged once, with its offset; a message that is retried ten times a
// second is logged once a second.
func TestFailuresAreLogged(t *testing.T) {
	for name, c := range map[string]struct {
		pause    time.Duration
		failures int
		want     []int // the attempts that are logged
	}{
		"with a pause":    {2 * time.Second, 4, []int{1, 2, 3, 4}},
		"without a pause": {0, 25, []int{1, 11, 21}},
	} {
		t.Run(name, func(t *testing.T) {
			b := testbroker.New(t)
			topic, group := b.Topic(1), b.Group()
			b.Produce(topic, 0, values(3)...)
			clock := newTestClock()
			failed := make(chan int, 100)
			told := make(chan racecar.ErrorInfo, 100)
			rec := newRecorder()
			reg := one(t, topic, func(_ context.Context, m *racecar.Message) error {
				if m.Offset == 1 && m.Retries < c.failures {
					failed <- m.Retries
					return errors.New("bad message")
				}
				rec.add(m)
				return nil
			})
			cfg := testConfig(b, group)
			cfg.PauseTimeout = c.pause
			cfg.OnError = func(_ context.Context, _ error, info racecar.ErrorInfo) { told <- info }
			var hook logtest.Hook
			s := start(t, reg, cfg, func(o *Options) {
				o.clock = clock.clock()
				o.Log.AddHook(&hook)
			})
			for n := range c.failures {
				if got := <-failed; got != n {
					t.Fatalf("call %d had %d retries", n, got)
				}
				// Settled: the pause has begun.
				waitFor(t, "the pause", func() bool {
					p := s.partition(0)
					return p.State == status.PartitionBackoff && p.Retries == n+1
				})
				clock.move(max(c.pause, retryFloor))
			}
			rec.await(t, 3)
			counted := s.status().Counters[status.CountErrors]
			s.stop()
			var attempts []int
			for _, e := range hook.AllEntries() {
				if e.Message != "message failed, to be retried" {
					continue
				}
				attempts = append(attempts, e.Data["attempt"].(int))
				if e.Level != logrus.ErrorLevel || e.Data["topic"] != topic || e.Data["partition"] != int32(0) || e.Data["offset"] != int64(1) ||
					e.Data["consumer"] != reg.Name() || e.Data["group"] != group || e.Data[logrus.ErrorKey].(error).Error() != "bad message" {
					t.Errorf("logged %v", e.Data)
				}
			}
			if !slices.Equal(attempts, c.want) {
				t.Errorf("logged the attempts %v, want %v", attempts, c.want)
			}
			if counted != uint64(c.failures) || len(told) != c.failures {
				t.Errorf("%d failures were counted and %d reported, want %d", counted, len(told), c.failures)
			}
		})
	}
}
