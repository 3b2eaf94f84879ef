package worker

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
	"github.com/racecar-go/racecar/test/seeds"
)

// dependency is something that a consumer needs, and how often it was found unavailable.
type dependency struct {
	name  string
	away  atomic.Bool
	mu    sync.Mutex
	calls []topicPartition
}

func unavailableDependency(name string) *dependency {
	d := &dependency{name: name}
	d.away.Store(true)
	return d
}

// use fails while the dependency is away.
func (d *dependency) use(m *racecar.Message) error {
	if !d.away.Load() {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, topicPartition{m.Topic, m.Partition})
	return racecar.Unavailable(errors.New("connection refused"), d.name)
}

func (d *dependency) failures() []topicPartition {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.calls)
}

// outageConfig is a configuration with short pauses and few retries.
func outageConfig(b *testbroker.Broker, group string) config.Config {
	cfg := txnConfig(b, group)
	cfg.OutageMaxPause, cfg.MaxRetries, cfg.DeadLetterTopic = 100*time.Millisecond, 3, group+".dead"
	b.CreateTopic(cfg.DeadLetterTopic, 1)
	return cfg
}

// events keeps those of outages.
type outageEvents struct {
	mu     sync.Mutex
	events []racecar.Event
}

func (o *outageEvents) emit(e racecar.Event) {
	switch e.(type) {
	case event.OutageStarted, event.OutageEnded:
		o.mu.Lock()
		defer o.mu.Unlock()
		o.events = append(o.events, e)
	}
}

func (o *outageEvents) all() []racecar.Event {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.events)
}

// consumers are all shapes of a consumer that calls handle for each of its messages.
func consumers(t *testing.T, topic string, handle func(*racecar.Message) error) map[string]*racecar.Registration {
	each := func(_ context.Context, m *racecar.Message) error { return handle(m) }
	batch := func(_ context.Context, ms []*racecar.Message) error {
		for i, m := range ms {
			if err := handle(m); err != nil {
				return racecar.FailedAt(i, err)
			}
		}
		return nil
	}
	plain := racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}
	return map[string]*racecar.Registration{
		"process":       one(t, topic, each),
		"batch":         batchRegistration(t, plain, batch),
		"transactional": registration(t, transactional(topic), func(racecar.Runtime) (*processor, error) { return &processor{process: each}, nil }),
		"both":          batchRegistration(t, transactional(topic), batch),
	}
}

// During an outage no message is dead-lettered, skipped or repeated, and the rest of it is
// processed once the dependency is back.
func TestUnavailable(t *testing.T) {
	for name := range consumers(t, "unused", nil) {
		for _, concurrency := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s/%d", name, concurrency), func(t *testing.T) {
				t.Parallel()
				const partitions, messages = 4, 30
				b := testbroker.New(t)
				topic, group := b.Topic(partitions), b.Group()
				for p := range int32(partitions) {
					b.Produce(topic, p, values(messages)...)
				}
				rec, db := newRecorder(), unavailableDependency("db")
				db.away.Store(false)
				reg := consumers(t, topic, func(m *racecar.Message) error {
					if m.Retries > 0 {
						t.Errorf("%s/%d: offset %d has %d retries", m.Topic, m.Partition, m.Offset, m.Retries)
					}
					if m.Offset == 5 && m.Partition == 0 && len(db.failures()) == 0 {
						db.away.Store(true) // everything that follows
					}
					if err := db.use(m); err != nil {
						return err
					}
					rec.add(m)
					return nil
				})[name]
				cfg := outageConfig(b, group)
				cfg.Concurrency = concurrency
				var reported atomic.Int32
				cfg.OnError = func(_ context.Context, err error, info racecar.ErrorInfo) {
					if reported.Add(1); info.Retries != 0 || info.Messages == 0 {
						t.Errorf("%v reported with %+v", err, info)
					}
				}
				var events outageEvents
				var logged logtest.Hook
				s := start(t, reg, cfg, func(o *Options) { o.Emit = events.emit; o.Log.AddHook(&logged) })
				waitFor(t, "probes", func() bool { return len(db.failures()) >= partitions+5 })
				db.away.Store(false)
				rec.await(t, partitions*messages)
				if n := reported.Load(); n != 1 {
					t.Errorf("reported %d times", n)
				}
				if got := s.status().Counters; got[status.CountDeadLetters] != 0 || got[status.CountSkipped] != 0 {
					t.Errorf("counted %v", got)
				}
				if code := s.stop(); code != wire.ExitOK {
					t.Errorf("exit code %d", code)
				}
				for p := range int32(partitions) {
					wantUpTo(t, rec.offsets(topicPartition{topic, p}), messages)
					if c := b.Committed(group, topic, p); c != messages {
						t.Errorf("partition %d: committed %d", p, c)
					}
				}
				checkOutageEvents(t, events.all())
				for _, e := range logged.AllEntries() {
					if after, given := e.Data["after"]; given && reflect.TypeOf(after).Kind() != reflect.String {
						t.Errorf("%s: after %v, nanoseconds in JSON", e.Message, after)
					}
				}
			})
		}
	}
}

func checkOutageEvents(t *testing.T, events []racecar.Event) {
	t.Helper()
	if len(events) == 0 || len(events)%2 != 0 {
		t.Fatalf("events %v", events)
	}
	for i, e := range events {
		switch e := e.(type) {
		case event.OutageStarted:
			if i%2 != 0 || e.Dependency != "db" || e.Err == nil {
				t.Errorf("event %d: %+v", i, e)
			}
		case event.OutageEnded:
			if i%2 != 1 || e.Dependency != "db" || e.Duration <= 0 {
				t.Errorf("event %d: %+v", i, e)
			}
		}
	}
}

// Only the partitions that need the dependency are held. Of those one message at a time is
// tried, of one partition after the other.
func TestOutageHoldsWhatNeedsTheDependency(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, other, group := b.Topic(3), b.Topic(2), b.Group()
	for p := range int32(3) {
		b.Produce(topic, p, values(10)...)
	}
	rec, db := newRecorder(), unavailableDependency("")
	spec := racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}, {Topic: other}}}
	reg := registration(t, spec, func(racecar.Runtime) (*processor, error) {
		return &processor{process: func(_ context.Context, m *racecar.Message) error {
			if m.Topic == topic {
				if err := db.use(m); err != nil {
					return err
				}
			}
			rec.add(m)
			return nil
		}}, nil
	})
	s := start(t, reg, outageConfig(b, group))
	waitFor(t, "probes", func() bool { return len(db.failures()) >= 3 })
	for round := range 3 {
		for p := range int32(2) {
			b.Produce(other, p, values(100)...)
		}
		rec.await(t, 200*(round+1))
	}
	waitFor(t, "more probes", func() bool { return len(db.failures()) >= 12 })
	for _, p := range s.status().Partitions {
		want, reason := status.PartitionRunning, ""
		if p.Topic == topic {
			want, reason = status.PartitionBlocked, "waiting for a dependency that is unavailable: connection refused"
		}
		if p.State != want && (p.Topic != topic || p.State != status.PartitionRunning) || p.State == want && p.Reason != reason {
			t.Errorf("%s/%d is %s: %q", p.Topic, p.Partition, p.State, p.Reason)
		}
	}
	tried := db.failures()[3:12]
	for i := range tried[:6] {
		if slices.Contains(tried[i+1:i+3], tried[i]) {
			t.Errorf("no rotation in %v", tried)
			break
		}
	}
	db.away.Store(false)
	rec.await(t, 630)
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
}

// A message that is itself at fault is dead-lettered during an outage, and one that reports
// an outage for ever keeps no others waiting.
func TestMessagesAtFaultDuringAnOutage(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(4), b.Group()
	for p := range int32(4) {
		b.Produce(topic, p, values(20)...)
	}
	rec, db := newRecorder(), unavailableDependency("db")
	var bad atomic.Int32
	reg := one(t, topic, func(_ context.Context, m *racecar.Message) error {
		switch {
		case m.Partition == 0 && m.Offset == 0 && db.away.Load() && bad.Load() <= 3 && len(db.failures()) >= 6:
			bad.Add(1)
			return errors.New("bad message")
		case m.Partition == 1 && m.Offset == 3:
			return racecar.Unavailable(errors.New("for ever"), "db")
		}
		if err := db.use(m); err != nil {
			return err
		}
		rec.add(m)
		return nil
	})
	s := start(t, reg, outageConfig(b, group))
	waitFor(t, "the dead letter", func() bool { return s.status().Counters[status.CountDeadLetters] == 1 })
	if !db.away.Load() || rec.offsets(topicPartition{topic, 2}) != nil {
		t.Error("the outage is over")
	}
	db.away.Store(false)
	rec.await(t, 19+3+20+20)
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	for p, want := range []int64{20, 3, 20, 20} {
		if c := b.Committed(group, topic, int32(p)); c != want {
			t.Errorf("partition %d: committed %d", p, c)
		}
	}
}

// A worker stops during an outage as at any other time. What was committed is behind the last
// message that was processed, with its attempts, and the next worker goes on there.
func TestStopDuringAnOutage(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(10)...)
	rec, db := newRecorder(), unavailableDependency("db")
	var failed, retries atomic.Int32
	process := func(_ context.Context, m *racecar.Message) error {
		if m.Offset == 5 {
			if failed.Add(1) <= 2 {
				return errors.New("not yet")
			}
			retries.Store(int32(m.Retries))
			if err := db.use(m); err != nil {
				return err
			}
		}
		rec.add(m)
		return nil
	}
	cfg := outageConfig(b, group)
	cfg.OutageMaxPause = time.Hour
	s := start(t, one(t, topic, process), cfg)
	waitFor(t, "the outage", func() bool { return len(db.failures()) == 1 })
	began := time.Now()
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("the stop took %v", d)
	}
	if c := b.Committed(group, topic, 0); c != 5 {
		t.Errorf("committed %d", c)
	}
	db.away.Store(false)
	s = start(t, one(t, topic, process), cfg)
	rec.await(t, 10)
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	wantUpTo(t, rec.offsets(topicPartition{topic, 0}), 10)
	if n := retries.Load(); n != 2 {
		t.Errorf("the message came with %d retries", n)
	}
}

// The pause that the author asks for is the one before the next probe, by a clock that stands
// still otherwise; a resume by an operator does not wait for it.
func TestPausesOfProbes(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(1)...)
	var calls, pause atomic.Int64
	pause.Store(int64(time.Minute))
	reg := one(t, topic, func(context.Context, *racecar.Message) error {
		calls.Add(1)
		return racecar.RetryAfter(racecar.Unavailable(errors.New("maintenance")), time.Duration(pause.Load()))
	})
	clock := newTestClock()
	cfg := testConfig(b, group)
	cfg.PauseTimeout = config.PauseForever // it does not apply
	s := start(t, reg, cfg, func(o *Options) { o.clock = clock.clock() })
	held := func(n int64) {
		t.Helper()
		waitFor(t, "the call", func() bool { return calls.Load() >= n })
		waitFor(t, "the hold", func() bool { return s.status().Partitions[0].State == status.PartitionBlocked })
		if got := calls.Load(); got != n {
			t.Fatalf("%d calls, want %d", got, n)
		}
	}
	held(1)
	clock.move(time.Minute - time.Millisecond)
	held(1)
	pause.Store(int64(time.Hour))
	clock.move(time.Millisecond)
	held(2)
	s.command(wire.Command{Kind: wire.CommandPause, Partitions: []wire.Partition{{Topic: topic}}})
	clock.move(2 * time.Hour)
	s.command(wire.Command{Kind: wire.CommandStatus})
	if got := calls.Load(); got != 2 {
		t.Errorf("%d calls of a partition that an operator has paused", got)
	}
	s.command(wire.Command{Kind: wire.CommandResume, Partitions: []wire.Partition{{Topic: topic}}})
	held(3)
	s.command(wire.Command{Kind: wire.CommandResume, Partitions: []wire.Partition{{Topic: topic}}})
	held(4)
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
}

// With outage_scope consumer everything waits.
func TestOutageOfTheWholeConsumer(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, other, group := b.Topic(1), b.Topic(3), b.Group()
	rec, db := newRecorder(), unavailableDependency("db")
	spec := racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}, {Topic: other}}}
	reg := registration(t, spec, func(racecar.Runtime) (*processor, error) {
		return &processor{process: func(_ context.Context, m *racecar.Message) error {
			if m.Topic == topic {
				if err := db.use(m); err != nil {
					return err
				}
			}
			rec.add(m)
			return nil
		}}, nil
	})
	cfg := outageConfig(b, group)
	cfg.OutageScope, cfg.OutageMaxPause = "consumer", time.Hour
	s := start(t, reg, cfg)
	s.running()
	b.Produce(topic, 0, values(1)...)
	waitFor(t, "the outage", func() bool {
		held := 0
		for _, p := range s.status().Partitions {
			if p.State == status.PartitionBlocked {
				held++
			}
		}
		return held == 4
	})
	for p := range int32(3) {
		b.Produce(other, p, values(5)...)
	}
	db.away.Store(false)
	rec.await(t, 16) // the first pause is a second
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
}

func withVersions(v wire.Versions) startOption {
	return func(o *Options) { o.Handshake.Versions = v }
}

// A worker probes with the leases of its supervisor, gives each back, and releases what it
// holds when another worker has found the dependency available.
func TestWorkerProbesWithLeases(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(2), b.Group()
	for p := range int32(2) {
		b.Produce(topic, p, values(5)...)
	}
	rec, db := newRecorder(), unavailableDependency("db")
	reg := one(t, topic, func(_ context.Context, m *racecar.Message) error {
		if err := db.use(m); err != nil {
			return err
		}
		rec.add(m)
		return nil
	})
	cfg := outageConfig(b, group)
	cfg.OutageMaxPause = time.Hour
	s := start(t, reg, cfg, withVersions(wire.Supported()))
	s.await("the outage", func() bool { o := s.outages["db"]; return o.Held == 2 && o.Wants && o.Calls == 2 })
	lease := func(id uint64, want wire.Probed) {
		t.Helper()
		if err := s.conn.Write(wire.KindLease, wire.Lease{Dependency: "db", ID: id, Within: time.Minute}); err != nil {
			t.Fatal(err)
		}
		want.Dependency, want.Lease = "db", id
		s.await("the result", func() bool { return len(s.probed) > 0 })
		s.change(func() {
			if len(s.probed) != 1 || s.probed[0] != want {
				t.Errorf("probed %+v, want %+v", s.probed, want)
			}
			s.probed = nil
		})
	}
	lease(1, wire.Probed{Result: wire.ProbeUnavailable, Error: "connection refused"})
	lease(2, wire.Probed{Result: wire.ProbeUnavailable, Error: "connection refused"})
	if got := db.failures(); len(got) != 4 || got[2] == got[3] {
		t.Errorf("calls of %v", got)
	}
	s.await("two more calls", func() bool { o := s.outages["db"]; return o.Held == 2 && o.Wants && o.Calls == 4 })
	db.away.Store(false)
	if err := s.conn.Write(wire.KindOutageState, wire.OutageState{Dependency: "db", Ended: true}); err != nil {
		t.Fatal(err)
	}
	rec.await(t, 10)
	s.await("the end", func() bool { return s.outages["db"].Held == 0 })
	lease(3, wire.Probed{Result: wire.ProbeReturned}) // of no use any more
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
}

// A lease comes back when the worker that has it stops, and the probe's success ends the
// outage.
func TestLeaseOfAStoppedWorker(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(2), b.Group()
	b.Produce(topic, 0, values(5)...)
	db := unavailableDependency("db")
	begun := make(chan struct{})
	reg := one(t, topic, func(ctx context.Context, m *racecar.Message) error {
		if len(db.failures()) > 0 {
			close(begun)
			<-racecar.Leaving(ctx)
			return errors.New("not now")
		}
		return db.use(m)
	})
	cfg := outageConfig(b, group)
	cfg.OutageMaxPause = time.Hour
	s := start(t, reg, cfg, withVersions(wire.Supported()))
	s.await("the outage", func() bool { return s.outages["db"].Wants })
	if err := s.conn.Write(wire.KindLease, wire.Lease{Dependency: "db", ID: 7, Within: time.Minute}); err != nil {
		t.Fatal(err)
	}
	<-begun
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	s.await("the lease", func() bool { return len(s.probed) == 1 && s.outages["db"].Held == 0 })
	if want := (wire.Probed{Dependency: "db", Lease: 7, Result: wire.ProbeReturned}); s.probed[0] != want {
		t.Errorf("probed %+v", s.probed)
	}
}

// A supervisor of an earlier release hears nothing of outages, and a silent one is not waited
// for: the worker probes by itself.
func TestWorkerProbesByItself(t *testing.T) {
	for name, versions := range map[string]wire.Versions{"earlier": {Min: 1, Max: 1}, "silent": wire.Supported()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic, group := b.Topic(2), b.Group()
			for p := range int32(2) {
				b.Produce(topic, p, values(5)...)
			}
			rec, db := newRecorder(), unavailableDependency("db")
			reg := one(t, topic, func(_ context.Context, m *racecar.Message) error {
				if err := db.use(m); err != nil {
					return err
				}
				rec.add(m)
				return nil
			})
			s := start(t, reg, outageConfig(b, group), withVersions(versions))
			waitFor(t, "probes", func() bool { return len(db.failures()) >= 5 })
			db.away.Store(false)
			rec.await(t, 10)
			if code := s.stop(); code != wire.ExitOK {
				t.Errorf("exit code %d", code)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if told := len(s.probed)+len(s.outages) > 0; told != (name == "silent") {
				t.Errorf("the supervisor got %+v and %+v", s.probed, s.outages)
			}
		})
	}
}

// A partition that moves to another worker during an outage is held there, and both go on.
func TestRebalanceDuringAnOutage(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(4), b.Group()
	for p := range int32(4) {
		b.Produce(topic, p, values(10)...)
	}
	rec, db := newRecorder(), unavailableDependency("db")
	process := func(_ context.Context, m *racecar.Message) error {
		if err := db.use(m); err != nil {
			return err
		}
		rec.add(m)
		return nil
	}
	cfg := outageConfig(b, group)
	first := start(t, one(t, topic, process), cfg, withVersions(wire.Supported()))
	first.await("the outage", func() bool { return first.outages["db"].Held == 4 })
	second := start(t, one(t, topic, process), cfg, withIndex(1))
	held := func(s *supervisor, n int) {
		t.Helper()
		waitFor(t, fmt.Sprintf("%d partitions held", n), func() bool {
			all, blocked := s.status().Partitions, 0
			for _, p := range all {
				if p.State == status.PartitionBlocked {
					blocked++
				}
			}
			return len(all) == n && blocked >= n-1 // one may be the probe
		})
	}
	held(first, 2)
	held(second, 2)
	first.await("the report", func() bool { return first.outages["db"].Held == 2 })
	if code := second.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	held(first, 4)
	db.away.Store(false)
	rec.await(t, 40)
	if code := first.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	for p := range int32(4) {
		wantUpTo(t, rec.offsets(topicPartition{topic, p}), 10)
	}
}

// With two dependencies, one of them away, the other topic keeps its rate.
func TestOutageLeavesOthersTheirRate(t *testing.T) {
	seeds.Measure(t)
	const messages, work = 100_000, 20 * time.Microsecond
	b := testbroker.New(t)
	rate := func(away bool) float64 {
		topic, other, group := b.Topic(4), b.Topic(4), b.Group()
		for p := range int32(4) {
			b.Produce(topic, p, values(10)...)
		}
		db := unavailableDependency("db")
		db.away.Store(away)
		rec := newRecorder()
		var processed, began, took atomic.Int64
		spec := racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}, {Topic: other}}}
		reg := registration(t, spec, func(racecar.Runtime) (*processor, error) {
			return &processor{process: func(_ context.Context, m *racecar.Message) error {
				if m.Topic == topic {
					rec.add(m)
					return db.use(m)
				}
				for end := time.Now().Add(work); time.Now().Before(end); {
				}
				if n := processed.Add(1); n == 1 {
					began.Store(time.Now().UnixNano())
				} else if n == messages {
					took.Store(time.Now().UnixNano() - began.Load())
				}
				return nil
			}}, nil
		})
		s := start(t, reg, outageConfig(b, group))
		rec.await(t, 4) // calls that find the dependency away, or not
		for p := range int32(4) {
			b.Produce(other, p, values(messages/4)...)
		}
		waitFor(t, "the messages", func() bool { return took.Load() > 0 })
		if code := s.stop(); code != wire.ExitOK {
			t.Errorf("exit code %d", code)
		}
		return messages / time.Duration(took.Load()).Seconds()
	}
	best := 0.0
	for range 5 {
		without, with := rate(false), rate(true)
		t.Logf("%.0f messages per second without an outage, %.0f beside one: %.0f %%", without, with, 100*with/without)
		if best = max(best, with/without); best >= 0.9 {
			return
		}
	}
	t.Errorf("at best %.0f %% of the rate", 100*best)
}
