package worker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
	"github.com/racecar-go/racecar/test/seeds"
)

// visit is one call of consumer code.
type visit struct {
	worker     int
	k          topicPartition
	offset     int64
	begin, end time.Time
}

// diary records calls of several workers.
type diary struct {
	mu     sync.Mutex
	visits []visit
}

func (d *diary) add(v visit) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.visits = append(d.visits, v)
}

func (d *diary) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.visits)
}

// check fails unless every message was processed once, in order, one at a time.
func (d *diary) check(t testing.TB, topic string, partitions, each int) {
	t.Helper()
	for p, n := range d.once(t, topic, partitions) {
		if n != each {
			t.Errorf("partition %d: %d calls, want %d", p, n, each)
		}
	}
}

// once fails unless what was processed was so once, in order, one at a time. It
// returns how much that is of each partition.
func (d *diary) once(t testing.TB, topic string, partitions int) []int {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	counts := make([]int, partitions)
	byPartition := map[int32][]visit{}
	for _, v := range d.visits {
		byPartition[v.k.partition] = append(byPartition[v.k.partition], v)
	}
	for p := range int32(partitions) {
		vs := byPartition[p]
		slices.SortFunc(vs, func(a, b visit) int { return a.begin.Compare(b.begin) })
		counts[p] = len(vs)
		for i, v := range vs {
			if v.offset != int64(i) {
				t.Errorf("partition %d: call %d (worker %d) is offset %d", p, i, v.worker, v.offset)
				break
			}
			if i > 0 && v.begin.Before(vs[i-1].end) {
				t.Errorf("partition %d: offsets %d and %d at once", p, v.offset-1, v.offset)
			}
		}
	}
	return counts
}

// diarist registers a consumer that takes that long for a message.
func diarist(t testing.TB, topic string, d *diary, takes time.Duration) func(worker int) *racecar.Registration {
	return func(worker int) *racecar.Registration {
		return registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
			return &processor{process: func(ctx context.Context, m *racecar.Message) error {
				v := visit{worker: worker, k: topicPartition{m.Topic, m.Partition}, offset: m.Offset, begin: time.Now()}
				select {
				case <-time.After(takes):
				case <-ctx.Done():
					return context.Cause(ctx)
				}
				v.end = time.Now()
				d.add(v)
				return nil
			}}, nil
		})
	}
}

// A second worker joins, and later leaves, while messages are processed: none is
// processed twice, none by both, all in order.
func TestJoiningAndLeaving(t *testing.T) {
	t.Parallel()
	for _, strategy := range []string{"range", "roundrobin", "sticky", "cooperative-sticky"} {
		for _, takes := range handlers {
			t.Run(fmt.Sprintf("%s/%v", strategy, takes), func(t *testing.T) {
				soakLong(t, takes)
				t.Parallel()
				const partitions = 4
				limit := patient + 6*takes
				each := 100
				if takes > time.Second {
					each = 3
				}
				b := testbroker.New(t)
				topic, group := b.Topic(partitions), b.Group()
				for p := range int32(partitions) {
					b.Produce(topic, p, values(each)...)
				}
				d := &diary{}
				make := diarist(t, topic, d, takes)
				cfg := testConfig(b, group)
				cfg.PartitionAssignmentStrategy = []string{strategy}
				cfg.Concurrency = 2
				cfg.OffsetCommitInterval = time.Hour // so that only the hand-over commits
				first := start(t, make(0), cfg)
				first.running()
				waitUpTo(t, limit, "the first messages", func() bool { return d.count() >= 2 })
				second := start(t, make(1), cfg, withIndex(1))
				second.awaitUpTo(limit, "partitions", func() bool { return len(second.members) > 0 && second.processed() > 0 })
				if code := second.stopUpTo(limit); code != wire.ExitOK {
					t.Errorf("exit code %d", code)
				}
				waitUpTo(t, limit, "all messages", func() bool { return d.count() >= partitions*each })
				if code := first.stopUpTo(limit); code != wire.ExitOK {
					t.Errorf("exit code %d", code)
				}
				d.check(t, topic, partitions, each)
				for p := range int32(partitions) {
					if c := b.Committed(group, topic, p); c != int64(each) {
						t.Errorf("partition %d: committed %d", p, c)
					}
				}
			})
		}
	}
}

// In cooperative mode partitions that stay do not pause, whatever a call takes; a
// call learns within 250 ms that its partition is to go, and goes on to its end; and
// no message is processed by both.
func TestCooperativeRebalance(t *testing.T) {
	t.Parallel()
	for _, takes := range handlers {
		t.Run(fmt.Sprint(takes), func(t *testing.T) {
			soakLong(t, takes)
			t.Parallel()
			cooperativeRebalance(t, takes)
		})
	}
}

// handlers is what a call takes in tests of rebalances.
var handlers = []time.Duration{20 * time.Millisecond, 2 * time.Second, 20 * time.Second}

// soakLong leaves calls of 20 s to `make soak`.
func soakLong(t *testing.T, takes time.Duration) {
	if takes > 10*time.Second {
		seeds.Soak(t)
	}
}

func cooperativeRebalance(t *testing.T, takes time.Duration) {
	const partitions = 4
	limit := patient + 3*takes
	b := testbroker.New(t)
	topic, group := b.Topic(partitions), b.Group()
	for p := range int32(partitions) {
		b.Produce(topic, p, values(max(8, int(patient/takes)))...)
	}
	d := &diary{}
	var mu sync.Mutex
	var rebalanced []time.Time // the first worker's
	told := map[int32]time.Time{}
	var revoked []int32
	lost := false
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
		return &processor{
			process: func(ctx context.Context, m *racecar.Message) error {
				v := visit{k: topicPartition{m.Topic, m.Partition}, offset: m.Offset, begin: time.Now()}
				until := time.After(takes)
				leaving := racecar.Leaving(ctx)
				for {
					select {
					case <-leaving:
						mu.Lock()
						if told[m.Partition].IsZero() {
							told[m.Partition] = time.Now()
						}
						mu.Unlock()
						leaving = nil
					case <-ctx.Done():
						return context.Cause(ctx)
					case <-until:
						v.end = time.Now()
						d.add(v)
						return nil
					}
				}
			},
			revoked: func(a racecar.Assignment) {
				mu.Lock()
				defer mu.Unlock()
				lost = lost || a.Lost
				revoked = append(revoked, a.Partitions[topic]...)
			},
		}, nil
	})
	cfg := testConfig(b, group)
	cfg.PartitionAssignmentStrategy = []string{"cooperative-sticky"}
	cfg.Concurrency = partitions
	cfg.OffsetCommitInterval = time.Hour // so that only the hand-over commits
	first := start(t, reg, cfg, func(o *Options) {
		o.Emit = func(e racecar.Event) {
			if _, ok := e.(event.Rebalance); ok {
				mu.Lock()
				defer mu.Unlock()
				rebalanced = append(rebalanced, time.Now())
			}
		}
	})
	waitUpTo(t, limit, "the first messages", func() bool { return d.count() >= partitions })
	mu.Lock()
	before := len(rebalanced)
	mu.Unlock()
	second := start(t, diarist(t, topic, d, takes)(1), cfg, withIndex(1))
	second.awaitUpTo(limit, "partitions", func() bool { return second.processed() > 0 })
	n := d.count()
	waitUpTo(t, limit, "more of both", func() bool { return d.count() >= n+partitions })
	waitUpTo(t, limit, "two revoked partitions", func() bool { mu.Lock(); defer mu.Unlock(); return len(revoked) >= 2 || lost })
	mu.Lock()
	gone := slices.Clone(revoked)
	wasLost := lost
	for p, at := range told {
		late := at.Sub(rebalanced[before]) // the assignment that takes them away
		t.Logf("partition %d: its call was told %v after the assignment", p, late)
		if late > seeds.AtMost(250*time.Millisecond) || !slices.Contains(gone, p) {
			t.Errorf("partition %d: its call was told %v after the assignment; %v went", p, late, gone)
		}
	}
	// Calls of 20 ms may all have ended by themselves.
	if len(gone) != 2 || len(told) == 0 && takes >= 2*time.Second || wasLost {
		t.Errorf("revoked %v (lost: %v), want two of four; %d calls were told", gone, wasLost, len(told))
	}
	mu.Unlock()
	until := time.Now()
	second.stopUpTo(limit)
	first.stopUpTo(limit)
	d.once(t, topic, partitions)
	d.mu.Lock()
	defer d.mu.Unlock()
	last, longest := map[int32]time.Time{}, time.Duration(0)
	for _, v := range d.visits { // in the order of their ends, which is that of each partition
		if at, ok := last[v.k.partition]; ok && !slices.Contains(gone, v.k.partition) && v.begin.Before(until) {
			longest = max(longest, v.begin.Sub(at))
		}
		last[v.k.partition] = v.end
	}
	t.Logf("the longest pause of a partition that stayed: %v", longest)
	if longest > seeds.AtMost(time.Second) {
		t.Errorf("a partition that stayed stood still for %v", longest)
	}
}

// Hooks: each partition assigned once and revoked once, in pairs, and never a
// call of another partition than those assigned.
func TestHooks(t *testing.T) {
	t.Parallel()
	for _, concurrency := range []int{1, 3} {
		t.Run(fmt.Sprint("concurrency ", concurrency), func(t *testing.T) {
			b := testbroker.New(t)
			topic, group := b.Topic(6), b.Group()
			for p := range int32(6) {
				b.Produce(topic, p, values(100)...)
			}
			var mu sync.Mutex
			var log []string
			have := map[int32]bool{}
			made, torn := 0, 0
			d := &diary{}
			reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
				mu.Lock()
				defer mu.Unlock()
				made++
				return &processor{
					process: func(_ context.Context, m *racecar.Message) error {
						mu.Lock()
						if !have[m.Partition] {
							log = append(log, fmt.Sprintf("partition %d called without being assigned", m.Partition))
						}
						mu.Unlock()
						d.add(visit{k: topicPartition{m.Topic, m.Partition}, offset: m.Offset})
						return nil
					},
					assigned: func(a racecar.Assignment) {
						mu.Lock()
						defer mu.Unlock()
						for _, p := range a.Partitions[topic] {
							if have[p] || a.Lost {
								log = append(log, fmt.Sprintf("partition %d assigned again", p))
							}
							have[p] = true
						}
					},
					revoked: func(a racecar.Assignment) {
						mu.Lock()
						defer mu.Unlock()
						for _, p := range a.Partitions[topic] {
							if !have[p] || a.Lost {
								log = append(log, fmt.Sprintf("partition %d revoked, lost %v", p, a.Lost))
							}
							delete(have, p)
						}
					},
					teardown: func() { mu.Lock(); torn++; mu.Unlock() },
				}, nil
			})
			cfg := testConfig(b, group)
			cfg.Concurrency = concurrency
			first := start(t, reg, cfg)
			waitFor(t, "all of it", func() bool { return d.count() >= 600 })
			second := start(t, diarist(t, topic, &diary{}, 0)(1), cfg, withIndex(1))
			second.running()
			first.await("half of it", func() bool { mu.Lock(); defer mu.Unlock(); return len(have) == 3 })
			second.stop()
			first.await("all again", func() bool { mu.Lock(); defer mu.Unlock(); return len(have) == 6 })
			first.stop()
			mu.Lock()
			defer mu.Unlock()
			for _, l := range log {
				t.Error(l)
			}
			if len(have) != 0 {
				t.Errorf("never revoked: %v", have)
			}
			if made != torn || concurrency == 1 && made != 1 {
				t.Errorf("%d instances made, %d torn down", made, torn)
			}
		})
	}
}

// A partition that is lost has its call cancelled, tells the hook so, and commits
// nothing.
func TestLostPartition(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(3)...)
	cancelled, lost := make(chan error, 1), make(chan bool, 1)
	begun := make(chan struct{}, 10)
	calls := 0
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
		return &processor{
			process: func(ctx context.Context, m *racecar.Message) error {
				calls++
				if calls > 1 {
					return nil
				}
				begun <- struct{}{}
				<-ctx.Done()
				cancelled <- context.Cause(ctx)
				return ctx.Err()
			},
			revoked: func(a racecar.Assignment) {
				select {
				case lost <- a.Lost:
				default:
				}
			},
		}, nil
	})
	cfg := testConfig(b, group)
	cfg.Membership = config.MembershipDynamic
	cfg.OffsetCommitInterval = time.Hour
	failures := make(chan error, 10)
	cfg.OnError = func(_ context.Context, err error, _ racecar.ErrorInfo) { failures <- err }
	s := start(t, reg, cfg)
	<-begun
	s.await("a place", func() bool { return len(s.members) == 1 && s.members[0].MemberID != "" })
	// Somebody removes the member behind its back.
	leave := wire.Leave{Consumer: wire.Consumer{Config: cfg}, Members: s.members, Within: patient}
	if err := RemoveMembers(context.Background(), leave); err != nil {
		t.Fatal(err)
	}
	select {
	case cause := <-cancelled:
		t.Log(cause)
	case <-time.After(patient):
		t.Fatal("the call was not cancelled")
	}
	if !<-lost {
		t.Error("the hook was not told that the partition is lost")
	}
	s.await("the rest", func() bool { return s.processed() == 3 })
	s.stop()
	select {
	case err := <-failures:
		t.Errorf("OnError was told %v of a call that we cancelled", err)
	default:
	}
}

// waitFor waits for a condition that nothing signals.
func waitFor(t testing.TB, what string, f func() bool) {
	t.Helper()
	waitUpTo(t, patient, what, f)
}

// waitUpTo is waitFor where patient is not enough.
func waitUpTo(t testing.TB, limit time.Duration, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(limit)
	for !f() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// A worker has to end its session while the group is in the middle of a
// cooperative rebalance, a generation ahead of what that session knows: commits
// are refused then. It has to outlast that, or all since the last commit comes twice.
func TestEndInTheMiddleOfACooperativeRebalance(t *testing.T) {
	t.Parallel()
	t.Run("stop", func(t *testing.T) {
		endInTheMiddle(t, func(_ *testbroker.Broker, _ string, first *supervisor) {
			if err := first.conn.Write(wire.KindCommand, wire.Command{Kind: wire.CommandStop, Grace: 20 * time.Second, Leave: true}); err != nil {
				t.Fatal(err)
			}
		})
	})
	t.Run("more partitions", func(t *testing.T) {
		endInTheMiddle(t, func(b *testbroker.Broker, topic string, _ *supervisor) { b.AddPartitions(topic, 4) })
	})
}

func endInTheMiddle(t *testing.T, end func(*testbroker.Broker, string, *supervisor)) {
	t.Helper()
	const partitions, each = 2, 20
	b := testbroker.New(t)
	topic, group := b.Topic(partitions), b.Group()
	for p := range int32(partitions) {
		b.Produce(topic, p, values(each)...)
	}
	c := b.Embedded()
	// Once armed, members wait for their assignment until a commit was answered.
	var armed atomic.Bool
	joined, gate := make(chan struct{}, 10), make(chan struct{})
	c.ControlKey(int16(kmsg.SyncGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if armed.Load() {
			joined <- struct{}{}
			c.SleepControl(func() { <-gate })
		}
		return nil, nil, false
	})
	commits := make(chan struct{}, 1000)
	c.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if armed.Load() {
			commits <- struct{}{}
		}
		return nil, nil, false
	})
	d := &diary{}
	make := diarist(t, topic, d, 0)
	cfg := testConfig(b, group)
	cfg.PartitionAssignmentStrategy = []string{"cooperative-sticky"}
	cfg.TopicMetadataRefreshInterval = 200 * time.Millisecond
	cfg.OffsetCommitInterval = time.Hour // so that only the end commits
	first := start(t, make(0), cfg)
	waitFor(t, "all messages", func() bool { return d.count() == partitions*each })
	armed.Store(true)
	second := start(t, make(1), cfg, withIndex(1))
	<-joined
	<-joined // both: the generation has begun
	end(b, topic, first)
	for range 2 { // the second one says that the first was refused
		select {
		case <-commits:
		case <-time.After(patient):
			t.Error("the worker does not try to commit again")
		}
	}
	armed.Store(false)
	close(gate)
	second.running()
	waitFor(t, "partitions for the second", func() bool { return len(second.status().Partitions) > 0 })
	for _, s := range []*supervisor{second, first} {
		_ = s.conn.Write(wire.KindCommand, wire.Command{Kind: wire.CommandStop, Grace: 20 * time.Second, Leave: true}) // the first may have ended
		if code := s.awaitExit(); code != wire.ExitOK {
			t.Errorf("exit code %d", code)
		}
	}
	d.check(t, topic, partitions, each)
}

// A partition that is taken away again before its first position is committed is
// not waited for: its worker runs, and is not called joining for ever.
func TestRevokedBeforeItIsOpen(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(2), b.Group()
	c := b.Embedded()
	gate := make(chan struct{})
	holding := make(chan struct{}, 1000)
	c.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		holding <- struct{}{}
		c.SleepControl(func() { <-gate })
		return nil, nil, false
	})
	d := &diary{}
	make := diarist(t, topic, d, 0)
	cfg := testConfig(b, group)
	cfg.PartitionAssignmentStrategy = []string{"cooperative-sticky"}
	var assignments atomic.Int32
	first := start(t, make(0), cfg, func(o *Options) {
		o.Emit = func(e racecar.Event) {
			if _, ok := e.(event.Rebalance); ok {
				assignments.Add(1)
			}
		}
	})
	<-holding // both are about to be opened
	before := assignments.Load()
	second := start(t, make(1), cfg, withIndex(1))
	waitFor(t, "one of them being taken away", func() bool { return assignments.Load() > before })
	close(gate)
	first.running()
	second.running()
	waitFor(t, "a partition each", func() bool {
		return len(first.status().Partitions) == 1 && len(second.status().Partitions) == 1
	})
	first.stop()
	second.stop()
}
