package worker

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

func wasReady(o *Options) { o.Handshake.WasReady = true }
func standsBy(o *Options) { o.Handshake.Standby, o.Handshake.WasReady = true, true }

// constructed registers a consumer of one topic with this constructor.
func constructed(t testing.TB, topic string, construct func(racecar.Runtime) (*processor, error)) *racecar.Registration {
	t.Helper()
	return registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, construct)
}

// Once the consumer has been ready, its constructor is retried without a limit,
// and the worker reports what it waits for.
func TestConstructorIsRetriedOnceTheConsumerWasReady(t *testing.T) {
	for _, concurrency := range []int{1, 2} {
		b := testbroker.New(t)
		topic := b.Topic(1)
		b.Produce(topic, 0, "a")
		var up atomic.Bool
		cfg := testConfig(b, b.Group())
		cfg.Concurrency = concurrency
		s := start(t, constructed(t, topic, func(racecar.Runtime) (*processor, error) {
			if !up.Load() {
				return nil, errors.New("no database")
			}
			return &processor{process: ignore}, nil
		}), cfg, wasReady)
		s.await("waiting for the constructor", func() bool {
			return s.frame.State == status.Waiting && strings.Contains(s.frame.Detail, "no database")
		})
		up.Store(true)
		s.await("the message processed", func() bool { return s.processed() == 1 })
		if code := s.stop(); code != wire.ExitOK {
			t.Errorf("exit code %d", code)
		}
	}
}

// A constructor may say that a dependency is unavailable, also at the first start and in a
// standby: the worker waits and names it.
func TestConstructorThatFindsADependencyUnavailable(t *testing.T) {
	for name, option := range map[string]startOption{"first start": func(*Options) {}, "was ready": wasReady, "standby": standsBy} {
		for _, concurrency := range []int{1, 2} {
			b := testbroker.New(t)
			topic := b.Topic(1)
			b.Produce(topic, 0, "a")
			var up atomic.Bool
			var calls atomic.Int32
			cfg := testConfig(b, b.Group())
			cfg.Concurrency, cfg.OutageMaxPause = concurrency, 50*time.Millisecond
			var hook logtest.Hook
			s := start(t, constructed(t, topic, func(racecar.Runtime) (*processor, error) {
				if !up.Load() {
					calls.Add(1)
					return nil, racecar.Unavailable(errors.New("connection refused"), "db")
				}
				return &processor{process: ignore}, nil
			}), cfg, option, func(o *Options) { o.Log.AddHook(&hook) })
			s.await("waiting for the dependency", func() bool {
				return s.frame.State == status.Waiting && strings.Contains(s.frame.Detail, "dependency db") && strings.Contains(s.frame.Detail, "connection refused")
			})
			waitFor(t, "more calls", func() bool { return calls.Load() > 5 })
			lines := 0
			for _, e := range hook.AllEntries() {
				if strings.Contains(e.Message, "constructed") {
					lines++
				}
			}
			if lines != 1 {
				t.Errorf("%s: %d lines in the log", name, lines)
			}
			if up.Store(true); name == "standby" {
				s.await("standing by", func() bool { return s.frame.State == status.Standby })
			} else {
				s.await("the message processed", func() bool { return s.processed() == 1 })
			}
			if code := s.stop(); code != wire.ExitOK {
				t.Errorf("%s: exit code %d", name, code)
			}
		}
	}
}

// With concurrency the partition waits whose instance finds a dependency unavailable, and
// the others are served.
func TestInstanceThatFindsADependencyUnavailable(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(2)
	b.Produce(topic, 0, "a")
	b.Produce(topic, 1, "a")
	var up atomic.Bool
	var calls atomic.Int32
	cfg := testConfig(b, b.Group())
	cfg.Concurrency, cfg.OutageMaxPause = 2, 50*time.Millisecond
	s := start(t, constructed(t, topic, func(racecar.Runtime) (*processor, error) {
		if calls.Add(1) > 1 && !up.Load() {
			return nil, racecar.Unavailable(errors.New("connection refused"), "db")
		}
		return &processor{process: ignore}, nil
	}), cfg)
	s.await("one message processed", func() bool { return s.processed() == 1 })
	waitFor(t, "more calls", func() bool { return calls.Load() > 5 })
	waiting := 0
	for _, p := range s.status().Partitions {
		if p.State == status.PartitionBlocked && strings.Contains(p.Reason, "dependency db") {
			waiting++
		}
	}
	if waiting != 1 {
		t.Errorf("%d partitions wait", waiting)
	}
	up.Store(true)
	s.await("both messages processed", func() bool { return s.processed() == 2 })
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
}

// Fatal is final and a panic a crash, also then.
func TestConstructorThatIsNotRetried(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(1)
	for want, fails := range map[int]func() error{
		wire.ExitPermanent: func() error { return racecar.Fatal(errors.New("no licence")) },
		wire.ExitCrash:     func() error { panic("oops") },
	} {
		s := start(t, constructed(t, topic, func(racecar.Runtime) (*processor, error) { return nil, fails() }), testConfig(b, b.Group()), wasReady)
		if code := s.awaitExit(); code != want {
			t.Errorf("exit code %d, want %d", code, want)
		}
	}
}

// A stop does not wait for a constructor that does not return, nor for the next try.
func TestStopDoesNotWaitForTheConstructor(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(1)
	never := make(chan struct{})
	t.Cleanup(func() { close(never) })
	begun := make(chan struct{}, 100)
	for name, construct := range map[string]func() error{
		"hangs": func() error { <-never; return nil },
		"fails": func() error { return errors.New("no database") },
	} {
		s := start(t, constructed(t, topic, func(racecar.Runtime) (*processor, error) {
			begun <- struct{}{}
			return nil, construct()
		}), testConfig(b, b.Group()), wasReady)
		<-begun
		began := time.Now()
		if code := s.stopUpTo(time.Minute); code != wire.ExitOK {
			t.Errorf("%s: exit code %d", name, code)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: the stop took %v", name, took)
		}
	}
}

// A standby constructs its consumer and joins when it is promoted.
func TestWorkerThatStandsBy(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(2), b.Group()
	b.Produce(topic, 0, "a")
	b.Produce(topic, 1, "a")
	s := start(t, one(t, topic, ignore), testConfig(b, group), standsBy)
	s.await("standing by", func() bool { return s.frame.State == status.Standby })
	wantNoMembers(t, b, group)
	if err := s.conn.Write(wire.KindHandshake, wire.Handshake{
		Paused: []wire.Partition{{Topic: topic, Partition: 1}},
	}); err != nil {
		t.Fatal(err)
	}
	s.await("one message processed", func() bool { return s.processed() == 1 })
	if state := s.partition(1).State; state != status.PartitionPaused {
		t.Errorf("partition 1 is %s: what changed meanwhile was not taken over", state)
	}
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
}

// A standby does not retry its constructor: the worker before it continues. A standby
// that is not needed tears its instance down.
func TestWorkerThatStandsByEnds(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(1)
	s := start(t, constructed(t, topic, func(racecar.Runtime) (*processor, error) {
		return nil, errors.New("no database")
	}), testConfig(b, b.Group()), standsBy)
	if code := s.awaitExit(); code != wire.ExitCrash || !strings.Contains(s.exitReport().Reason, "no database") {
		t.Errorf("exit code %d, last words %+v", code, s.exitReport())
	}
	for name, end := range map[string]func(*supervisor){
		"stopped":            func(s *supervisor) { s.stop() },
		"supervisor is gone": func(s *supervisor) { _ = s.raw.Close(); s.awaitExit() },
	} {
		var torn atomic.Bool
		group := b.Group()
		s = start(t, constructed(t, topic, func(racecar.Runtime) (*processor, error) {
			return &processor{process: ignore, teardown: func() { torn.Store(true) }}, nil
		}), testConfig(b, group), standsBy)
		s.await("standing by", func() bool { return s.frame.State == status.Standby })
		if end(s); s.exit != wire.ExitOK || !torn.Load() {
			t.Errorf("%s: exit code %d, torn down %v", name, s.exit, torn.Load())
		}
		wantNoMembers(t, b, group)
	}
}

// With concurrency the first instance is made before joining, so that a constructor
// that fails takes no partition from anybody.
func TestFirstInstanceIsMadeBeforeJoining(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	goOn := make(chan struct{})
	cfg := testConfig(b, group)
	cfg.Concurrency = 3
	var made, torn atomic.Int32
	s := start(t, constructed(t, topic, func(racecar.Runtime) (*processor, error) {
		if made.Add(1) == 1 {
			<-goOn
		}
		return &processor{process: ignore, teardown: func() { torn.Add(1) }}, nil
	}), cfg)
	s.await("a frame", func() bool { return s.frames > 1 })
	if s.frame.State != status.Starting {
		t.Errorf("%s before the constructor has returned", s.frame.State)
	}
	wantNoMembers(t, b, group)
	close(goOn)
	s.running()
	if code := s.stop(); code != wire.ExitOK || made.Load() != 1 || torn.Load() != 1 {
		t.Errorf("exit code %d, %d instances made for one partition, %d torn down", code, made.Load(), torn.Load())
	}
}

// With concurrency an instance that cannot be made leaves only its partition waiting.
func TestPartitionWithoutAnInstanceWaitsAlone(t *testing.T) {
	for _, transactional := range []bool{false, true} {
		b := testbroker.New(t)
		topic := b.Topic(2)
		b.Produce(topic, 0, "a", "b")
		b.Produce(topic, 1, "a", "b")
		var made atomic.Int32
		var up atomic.Bool
		spec := racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}, Transactional: transactional}
		cfg := testConfig(b, b.Group())
		cfg.Concurrency, cfg.TransactionInterval, cfg.TransactionMessages = 2, 50*time.Millisecond, 100
		s := start(t, registration(t, spec, func(racecar.Runtime) (*processor, error) {
			if made.Add(1) > 1 && !up.Load() {
				return nil, errors.New("no database")
			}
			return &processor{process: ignore}, nil
		}), cfg)
		s.running()
		s.await("one partition processed", func() bool { return s.processed() == 2 })
		blocked := 0
		for _, p := range s.status().Partitions {
			if p.State == status.PartitionBlocked && strings.Contains(p.Reason, "no database") {
				blocked++
			}
		}
		if blocked != 1 {
			t.Errorf("transactional %v: %d partitions are blocked: %+v", transactional, blocked, s.status().Partitions)
		}
		up.Store(true)
		s.await("both partitions processed", func() bool { return s.processed() == 4 })
		if code := s.stop(); code != wire.ExitOK {
			t.Errorf("exit code %d", code)
		}
		for p := range int32(2) {
			if c := b.Committed(cfg.GroupID, topic, p); c < 2 {
				t.Errorf("transactional %v: partition %d committed at %d", transactional, p, c)
			}
		}
	}
}

// An instance that is not made in worker_boot_timeout ends the worker: its partition
// would wait for ever.
func TestInstanceThatIsNeverMadeEndsTheWorker(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(2)
	never := make(chan struct{})
	t.Cleanup(func() { close(never) })
	var made atomic.Int32
	cfg := testConfig(b, b.Group())
	cfg.Concurrency, cfg.WorkerBootTimeout, cfg.ShutdownTimeout = 2, 500*time.Millisecond, time.Second
	s := start(t, constructed(t, topic, func(racecar.Runtime) (*processor, error) {
		if made.Add(1) > 1 {
			<-never
		}
		return &processor{process: ignore}, nil
	}), cfg)
	if code := s.awaitExit(); code != wire.ExitCrash || !strings.Contains(s.exitReport().Reason, "takes longer than worker_boot_timeout (500ms)") {
		t.Errorf("exit code %d, last words %+v", code, s.exitReport())
	}
}

// A transactional consumer has no transaction before it has a partition.
func TestTransactionalConstructorCannotProduceWithConcurrency(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(1)
	cfg := testConfig(b, b.Group())
	cfg.Concurrency = 2
	spec := racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}, Transactional: true}
	s := start(t, registration(t, spec, func(rt racecar.Runtime) (*processor, error) {
		return nil, rt.Producer.Produce(context.Background(), racecar.ProducerMessage{Topic: topic})
	}), cfg)
	if code := s.awaitExit(); code != wire.ExitCrash || !strings.Contains(s.exitReport().Reason, "cannot produce in its constructor") {
		t.Errorf("exit code %d, last words %+v", code, s.exitReport())
	}
}
