package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/registered"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// txnConfig is testConfig for transactional consumers.
func txnConfig(b *testbroker.Broker, group string) config.Config {
	cfg := testConfig(b, group)
	cfg.TransactionInterval, cfg.TransactionMessages = 50*time.Millisecond, 100
	return cfg
}

func transactional(topic string) racecar.Spec {
	return racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}, Transactional: true}
}

// copyOf is what tests produce for a message.
func copyOf(topic string, m *racecar.Message) racecar.ProducerMessage {
	partition := m.Partition
	return racecar.ProducerMessage{Topic: topic, Value: fmt.Append(nil, m.Offset), Partition: &partition}
}

// readCommitted returns what readers with read_committed see of a partition.
func readCommitted(t testing.TB, b *testbroker.Broker, topic string, partition int32) []string {
	t.Helper()
	const end = "the end"
	b.Produce(topic, partition, end)
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	conf.Consumer.IsolationLevel = sarama.ReadCommitted
	c, err := sarama.NewConsumer(b.Addrs(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	pc, err := c.ConsumePartition(topic, partition, sarama.OffsetOldest)
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	var got []string
	timeout := time.After(patient)
	for {
		select {
		case m := <-pc.Messages():
			if string(m.Value) == end {
				return got
			}
			got = append(got, string(m.Value))
		case <-timeout:
			t.Fatalf("%s/%d: the end is not to be seen: a transaction is open; seen %d", topic, partition, len(got))
		}
	}
}

// wantCopies fails the test unless each offset below n is there once, in order.
func wantCopies(t testing.TB, got []string, n int, except ...int) {
	t.Helper()
	var want []string
	for i := range n {
		if !slices.Contains(except, i) {
			want = append(want, fmt.Sprint(i))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("visible: %d messages %v, want %d", len(got), got, len(want))
	}
}

// requests counts requests of a kind and can answer some of them itself.
type requests struct {
	mu     sync.Mutex
	n      int
	answer func(n int, req kmsg.Request) kmsg.Response // nil, and its nil: the broker does
}

func watchRequests(b *testbroker.Broker, key kmsg.Key, answer func(n int, req kmsg.Request) kmsg.Response) *requests {
	r := &requests{answer: answer}
	c := b.Embedded()
	c.ControlKey(key.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.n++
		if r.answer != nil {
			if resp := r.answer(r.n, req); resp != nil {
				return resp, nil, true
			}
		}
		return nil, nil, false
	})
	return r
}

func (r *requests) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

// Output and offsets of many messages go into few transactions; what is visible
// is each message's copy, once and in order, whatever the concurrency and whether
// messages come one by one or in batches.
func TestTransactions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name        string
		concurrency int
		batch       bool
	}{{"one instance", 1, false}, {"concurrency", 2, false}, {"batches", 1, true}, {"batches, concurrency", 3, true}} {
		t.Run(test.name, func(t *testing.T) {
			b := testbroker.New(t)
			from, to, group := b.Topic(3), b.Topic(3), b.Group()
			for p := range int32(3) {
				b.Produce(from, p, values(500)...)
			}
			ends := &requests{}
			if !b.Real() {
				ends = watchRequests(b, kmsg.EndTxn, nil)
			}
			rec := newRecorder()
			process := func(ctx context.Context, out racecar.Producer, m *racecar.Message) error {
				rec.add(m)
				return out.Produce(ctx, copyOf(to, m))
			}
			spec := transactional(from)
			var reg *racecar.Registration
			if test.batch {
				reg = batchCopier(t, spec, func(ctx context.Context, out racecar.Producer, ms []*racecar.Message) error {
					for _, m := range ms {
						if err := process(ctx, out, m); err != nil {
							return err
						}
					}
					return nil
				})
			} else {
				reg = registration(t, spec, func(rt racecar.Runtime) (*processor, error) {
					return &processor{process: func(ctx context.Context, m *racecar.Message) error { return process(ctx, rt.Producer, m) }}, nil
				})
			}
			cfg := txnConfig(b, group)
			cfg.Concurrency = test.concurrency
			s := start(t, reg, cfg)
			rec.await(t, 1500)
			if code := s.stop(); code != wire.ExitOK {
				t.Errorf("exit code %d", code)
			}
			for p := range int32(3) {
				wantUpTo(t, rec.offsets(topicPartition{from, p}), 500)
				wantCopies(t, readCommitted(t, b, to, p), 500)
				if c := b.Committed(group, from, p); c != 500 {
					t.Errorf("committed %d of partition %d", c, p)
				}
			}
			// A hundred messages each, a few more because of the interval.
			if n := ends.count(); !b.Real() && (n < 15 || n > 150) {
				t.Errorf("%d transactions for 1500 messages", n)
			}
		})
	}
}

// batchCopier registers a batch consumer for one test.
func batchCopier(t testing.TB, spec racecar.Spec, process func(context.Context, racecar.Producer, []*racecar.Message) error) *racecar.Registration {
	t.Helper()
	spec.Name = fmt.Sprintf("%s-%d", t.Name(), registrations.Add(1))
	racecar.Register(func(rt racecar.Runtime) (*batchProcessor, error) {
		return &batchProcessor{process: func(ctx context.Context, ms []*racecar.Message) error { return process(ctx, rt.Producer, ms) }}, nil
	}, spec)
	return registered.Lookup(spec.Name)
}

// What a call has produced that is made again is never visible; what one has produced
// that ended its message with Skip is.
func TestOutputOfFailedCallsIsDropped(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	from, to, group := b.Topic(1), b.Topic(1), b.Group()
	b.Produce(from, 0, values(50)...)
	rec := newRecorder()
	failures := map[int64]int{}
	reg := registration(t, transactional(from), func(rt racecar.Runtime) (*processor, error) {
		return &processor{process: func(ctx context.Context, m *racecar.Message) error {
			if err := rt.Producer.Produce(ctx, copyOf(to, m)); err != nil {
				return err
			}
			if err := rt.Producer.Deliver(ctx); err != nil {
				return err
			}
			if m.Offset%10 == 3 && failures[m.Offset] < 2 {
				failures[m.Offset]++
				return errors.New("after producing")
			}
			if m.Offset == 20 {
				return racecar.Skip(errors.New("not for us"))
			}
			rec.add(m)
			return nil
		}}, nil
	})
	s := start(t, reg, txnConfig(b, group))
	rec.await(t, 49)
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	wantCopies(t, readCommitted(t, b, to, 0), 50)
	if c := b.Committed(group, from, 0); c != 50 {
		t.Errorf("committed %d", c)
	}
}

// FailedAt says that what came before is done, but not which output was whose: it
// is called again by itself, and the failed one after it. What the one produced that is
// skipped is kept.
func TestFailedAtInATransaction(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	from, to, group := b.Topic(1), b.Topic(1), b.Group()
	b.Produce(from, 0, values(50)...)
	bad := errors.New("bad")
	failures := 0
	reg := batchCopier(t, transactional(from), func(ctx context.Context, out racecar.Producer, ms []*racecar.Message) error {
		for i, m := range ms {
			if err := out.Produce(ctx, copyOf(to, m)); err != nil {
				return err
			}
			switch {
			case m.Offset == 20 && failures < 2:
				failures++
				return racecar.FailedAt(i, bad)
			case m.Offset == 49:
				return racecar.FailedAt(i, racecar.Skip(bad))
			}
		}
		return nil
	})
	cfg := txnConfig(b, group)
	cfg.FetchMessages = 50
	s := start(t, reg, cfg)
	s.await("the end", func() bool { return b.Committed(group, from, 0) == 50 })
	s.stop()
	wantCopies(t, readCommitted(t, b, to, 0), 50)
}

// A transaction that fails is aborted, and its messages, from memory, are
// processed again: nothing is missing and nothing visible twice.
func TestAbortProcessesAgain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		key    kmsg.Key
		answer func(req kmsg.Request) kmsg.Response
	}{
		"the commit is refused": {kmsg.EndTxn, func(req kmsg.Request) kmsg.Response {
			if !req.(*kmsg.EndTxnRequest).Commit {
				return nil
			}
			resp := req.ResponseKind().(*kmsg.EndTxnResponse)
			resp.ErrorCode = kerr.InvalidTxnState.Code
			return resp
		}},
		"the offsets are refused": {kmsg.TxnOffsetCommit, func(req kmsg.Request) kmsg.Response {
			resp := req.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
			for _, topic := range req.(*kmsg.TxnOffsetCommitRequest).Topics {
				rt := kmsg.TxnOffsetCommitResponseTopic{Topic: topic.Topic}
				for _, p := range topic.Partitions {
					rt.Partitions = append(rt.Partitions, kmsg.TxnOffsetCommitResponseTopicPartition{Partition: p.Partition, ErrorCode: kerr.UnknownServerError.Code})
				}
				resp.Topics = append(resp.Topics, rt)
			}
			return resp
		}},
		"another has taken the id": {kmsg.EndTxn, func(req kmsg.Request) kmsg.Response {
			resp := req.ResponseKind().(*kmsg.EndTxnResponse)
			resp.ErrorCode = kerr.ProducerFenced.Code
			return resp
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := testbroker.New(t)
			from, to, group := b.Topic(2), b.Topic(2), b.Group()
			for p := range int32(2) {
				b.Produce(from, p, values(300)...)
			}
			refused := 0
			watchRequests(b, test.key, func(_ int, req kmsg.Request) kmsg.Response {
				if refused == 3 {
					return nil
				}
				resp := test.answer(req)
				if resp != nil {
					refused++
				}
				return resp
			})
			rec := newRecorder()
			reg := registration(t, transactional(from), func(rt racecar.Runtime) (*processor, error) {
				return &processor{process: func(ctx context.Context, m *racecar.Message) error {
					rec.add(m)
					return rt.Producer.Produce(ctx, copyOf(to, m))
				}}, nil
			})
			s := start(t, reg, txnConfig(b, group))
			s.await("the end", func() bool { return b.Committed(group, from, 0) == 300 && b.Committed(group, from, 1) == 300 })
			if code := s.stop(); code != wire.ExitOK {
				t.Errorf("exit code %d", code)
			}
			for p := range int32(2) {
				wantCopies(t, readCommitted(t, b, to, p), 300)
			}
			if rec.n <= 600 {
				t.Errorf("%d calls: nothing was processed again", rec.n)
			}
		})
	}
}

// Output that no broker takes is its message's failure: that one is alone in its
// transaction in the end, is counted, and dead-lettered; the others of the
// transaction are visible once.
func TestRefusedOutputHurtsItsMessageOnly(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	from, to, group := b.Topic(2), b.Topic(2), b.Group()
	dlq := group + ".dead"
	b.CreateTopic(dlq, 1)
	for p := range int32(2) {
		b.Produce(from, p, values(60)...)
	}
	// The broker refuses what is longer than this; the producer would not.
	watchRequests(b, kmsg.Produce, func(_ int, req kmsg.Request) kmsg.Response {
		resp, tooLarge := req.ResponseKind().(*kmsg.ProduceResponse), false
		for _, topic := range req.(*kmsg.ProduceRequest).Topics {
			rt := kmsg.ProduceResponseTopic{Topic: topic.Topic}
			for _, p := range topic.Partitions {
				rp := kmsg.ProduceResponseTopicPartition{Partition: p.Partition, ErrorCode: kerr.NotEnoughReplicas.Code} // again, please
				if len(p.Records) > 20_000 {
					rp.ErrorCode, tooLarge = kerr.MessageTooLarge.Code, true
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		if tooLarge {
			return resp
		}
		return nil
	})
	var mu sync.Mutex
	var retries []int
	reg := registration(t, transactional(from), func(rt racecar.Runtime) (*processor, error) {
		return &processor{process: func(ctx context.Context, m *racecar.Message) error {
			out := copyOf(to, m)
			if m.Partition == 1 && m.Offset == 20 {
				mu.Lock()
				retries = append(retries, m.Retries)
				mu.Unlock()
				out.Value = make([]byte, 30_000)
			}
			return rt.Producer.Produce(ctx, out)
		}}, nil
	})
	cfg := txnConfig(b, group)
	cfg.MaxRetries, cfg.DeadLetterTopic = 2, dlq
	s := start(t, reg, cfg)
	s.await("the end", func() bool { return b.Committed(group, from, 0) == 60 && b.Committed(group, from, 1) == 60 })
	mu.Lock()
	wantCountsThatAddUp(t, s, 119, len(retries)) // one is dead-lettered
	mu.Unlock()
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	wantCopies(t, readCommitted(t, b, to, 0), 60)
	wantCopies(t, readCommitted(t, b, to, 1), 60, 20)
	if got := readCommitted(t, b, dlq, 0); !slices.Equal(got, []string{"value-20"}) {
		t.Errorf("dead letters %v", got)
	}
	// Among others, then three attempts of its own.
	own := slices.Index(retries, 1) - 1
	if own < 1 || !slices.Equal(retries[own:], []int{0, 1, 2}) {
		t.Errorf("called with retries %v", retries)
	}
}

// wantCountsThatAddUp: what a transaction drops without having sent it is neither
// produced nor an error, so that the rest is what is on its way: nothing.
func wantCountsThatAddUp(t *testing.T, s *supervisor, acknowledged, failed int) {
	t.Helper()
	c := s.status().Counters
	got := [3]uint64{c[status.CountProduced], c[status.CountAcknowledged], c[status.CountProduceErrors]}
	if want := [3]uint64{uint64(acknowledged + failed), uint64(acknowledged), uint64(failed)}; got != want {
		t.Errorf("produced, acknowledged, errors: %v, want %v", got, want)
	}
}

// Output that cannot be delivered holds up its own partition: the others, whose
// transactions it was in at first, get on.
func TestUndeliverableOutputHurtsItsPartitionOnly(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	from, to, group := b.Topic(2), b.Topic(2), b.Group()
	for p := range int32(2) {
		b.Produce(from, p, values(60)...)
	}
	var there atomic.Bool
	reg := registration(t, transactional(from), func(rt racecar.Runtime) (*processor, error) {
		return &processor{process: func(ctx context.Context, m *racecar.Message) error {
			out := copyOf(to, m)
			if m.Partition == 1 && m.Offset == 20 && !there.Load() {
				out.Topic = "no such topic!"
			}
			return rt.Producer.Produce(ctx, out)
		}}, nil
	})
	cfg := txnConfig(b, group)
	cfg.MessageTimeout = enough
	cfg.TransactionInterval = 300 * time.Millisecond // so that both partitions' calls meet in one
	s := start(t, reg, cfg)
	s.await("the other partition, and what comes before", func() bool {
		return b.Committed(group, from, 0) == 60 && b.Committed(group, from, 1) == 20
	})
	there.Store(true)
	s.await("the end", func() bool { return b.Committed(group, from, 1) == 60 })
	s.stop()
	for p := range int32(2) {
		wantCopies(t, readCommitted(t, b, to, p), 60)
	}
}

// A dead letter is not visible before the offset after its message is committed.
func TestDeadLetterAndOffsetAreOneTransaction(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	from, group := b.Topic(1), b.Group()
	dlq := group + ".dead"
	b.CreateTopic(dlq, 1)
	b.Produce(from, 0, values(3)...)
	gate, held := make(chan struct{}), make(chan struct{}, 1)
	t.Cleanup(func() {
		select {
		case <-gate:
		default:
			close(gate)
		}
	})
	c := b.Embedded()
	c.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		select {
		case held <- struct{}{}:
		default:
		}
		c.SleepControl(func() { <-gate })
		return nil, nil, false
	})
	reg := registration(t, transactional(from), func(racecar.Runtime) (*processor, error) {
		return &processor{process: func(context.Context, *racecar.Message) error { return racecar.DeadLetter(errors.New("bad")) }}, nil
	})
	cfg := txnConfig(b, group)
	cfg.DeadLetterTopic = dlq
	s := start(t, reg, cfg)
	<-held
	// The record is stored, but the transaction has not ended.
	if got := readAll(t, b, dlq, 1); string(got[0].Value) != "value-0" {
		t.Errorf("stored: %s", got[0].Value)
	}
	close(gate)
	s.await("the end", func() bool { return b.Committed(group, from, 0) == 3 })
	s.stop()
	if got := readCommitted(t, b, dlq, 0); !slices.Equal(got, values(3)) {
		t.Errorf("dead letters %v", got)
	}
}

// transaction_interval and transaction_messages are what ends a transaction.
func TestTransactionBounds(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	from, group := b.Topic(1), b.Group()
	b.Produce(from, 0, values(25)...)
	ends := watchRequests(b, kmsg.EndTxn, nil)
	rec := newRecorder()
	reg := registration(t, transactional(from), func(racecar.Runtime) (*processor, error) {
		return &processor{process: recording(rec)}, nil
	})
	cfg := txnConfig(b, group)
	cfg.TransactionInterval, cfg.TransactionMessages = time.Hour, 10
	s := start(t, reg, cfg)
	rec.await(t, 25)
	s.await("two transactions", func() bool { return b.Committed(group, from, 0) == 20 })
	s.stop()
	if n, c := ends.count(), b.Committed(group, from, 0); n != 3 || c != 25 {
		t.Errorf("%d transactions up to %d, want 3 up to 25: two full ones and what the stop finds", n, c)
	}
	b.Produce(from, 0, "one more")
	cfg.TransactionInterval, cfg.TransactionMessages = 10*time.Millisecond, 1000
	s = start(t, reg, cfg)
	s.await("one by its age", func() bool { return b.Committed(group, from, 0) == 26 })
	s.stop()
}

// A partition that moves takes nothing along: what the old owner has processed is
// committed before it goes, in the middle of a transaction's time.
func TestTransactionEndsBeforeAHandOver(t *testing.T) {
	t.Parallel()
	for _, strategy := range []string{"range", "cooperative-sticky"} {
		t.Run(strategy, func(t *testing.T) {
			b := testbroker.New(t)
			from, to, group := b.Topic(4), b.Topic(4), b.Group()
			for p := range int32(4) {
				b.Produce(from, p, values(200)...)
			}
			rec := newRecorder()
			slow := make(chan struct{})
			reg := registration(t, transactional(from), func(rt racecar.Runtime) (*processor, error) {
				return &processor{process: func(ctx context.Context, m *racecar.Message) error {
					if m.Offset == 150 {
						select { // both are there
						case <-racecar.Leaving(ctx):
						case <-slow:
						}
					}
					rec.add(m)
					return rt.Producer.Produce(ctx, copyOf(to, m))
				}}, nil
			})
			cfg := txnConfig(b, group)
			cfg.PartitionAssignmentStrategy = []string{strategy}
			cfg.TransactionInterval, cfg.TransactionMessages = time.Hour, 1_000_000
			cfg.Concurrency = 4
			one := start(t, reg, cfg)
			rec.await(t, 600)
			two := start(t, reg, cfg, withIndex(1))
			two.await("its place", func() bool { return len(two.members) > 0 })
			close(slow)
			rec.await(t, 800)
			for _, s := range []*supervisor{one, two} {
				if code := s.stop(); code != wire.ExitOK {
					t.Errorf("exit code %d", code)
				}
			}
			for p := range int32(4) {
				wantUpTo(t, rec.offsets(topicPartition{from, p}), 200) // nothing twice
				wantCopies(t, readCommitted(t, b, to, p), 200)
			}
		})
	}
}

// A zombie's transaction is never committed: its successor has its id too, and
// begins behind what was committed.
func TestSuccessorFencesItsPredecessor(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	from, to, group := b.Topic(1), b.Topic(1), b.Group()
	b.Produce(from, 0, values(30)...)
	id := producer.TransactionalIDForWorker(group, "")
	cfg := txnConfig(b, group)
	reg := registration(t, transactional(from), func(rt racecar.Runtime) (*processor, error) {
		return &processor{process: func(ctx context.Context, m *racecar.Message) error { return rt.Producer.Produce(ctx, copyOf(to, m)) }}, nil
	})
	id += slotID(cfg.ClientID, "n0", reg.Name(), 0, 0)
	log := inlineOptions(t, reg, cfg).Log
	old, err := producer.NewTxnProducer(t.Context(), &cfg, producer.TxnOptions{Logger: log, ID: id})
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close(context.Background()) //nolint:errcheck // fenced
	if err := old.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	stored := make(chan struct{})
	if err := old.Send(t.Context(), producer.Message{Topic: to, Value: []byte("zombie"), Partition: new(int32)}, func(int32, int64, error) { close(stored) }); err != nil {
		t.Fatal(err)
	}
	if err := old.SendOffsets(group, kafka.NoMember, map[kafka.TopicPartition]kafka.Commit{{Topic: from, Partition: 0}: {Offset: 30}}); err != nil {
		t.Fatal(err)
	}
	s := start(t, reg, cfg)
	s.await("the end", func() bool { return b.Committed(group, from, 0) == 30 })
	var e *producer.TxnError
	if err := old.Commit(t.Context()); !errors.As(err, &e) || e.Kind != producer.TxnFenced {
		t.Errorf("the zombie's commit: %v", err)
	}
	<-stored
	s.stop()
	wantCopies(t, readCommitted(t, b, to, 0), 30)
}

// How often a message has failed is in the offset's metadata, written by a
// transaction of its own, and outlives the worker.
func TestAttemptsInATransaction(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	from, group := b.Topic(1), b.Group()
	b.Produce(from, 0, values(10)...)
	var mu sync.Mutex
	var retries []int
	failed := make(chan struct{}, 100)
	reg := registration(t, transactional(from), func(racecar.Runtime) (*processor, error) {
		return &processor{process: func(_ context.Context, m *racecar.Message) error {
			if m.Offset != 5 {
				return nil
			}
			mu.Lock()
			retries = append(retries, m.Retries)
			mu.Unlock()
			failed <- struct{}{}
			return errors.New("always")
		}}, nil
	})
	cfg := txnConfig(b, group)
	cfg.PauseTimeout = time.Hour
	for range 3 {
		s := start(t, reg, cfg)
		<-failed
		if code := s.stop(); code != wire.ExitOK {
			t.Errorf("exit code %d", code)
		}
		if c := b.Committed(group, from, 0); c != 5 {
			t.Errorf("committed %d", c)
		}
	}
	if !slices.Equal(retries, []int{0, 1, 2}) {
		t.Errorf("retries %v", retries)
	}
}

// Output made between calls is committed too, by itself.
func TestTransactionsBetweenCalls(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	from, to, group := b.Topic(1), b.Topic(1), b.Group()
	b.Produce(from, 0, "a")
	rec := newRecorder()
	reg := registration(t, transactional(from), func(rt racecar.Runtime) (*processor, error) {
		say := func(what string) error {
			return rt.Producer.Produce(context.Background(), racecar.ProducerMessage{Topic: to, Value: []byte(what), Partition: new(int32)})
		}
		return &processor{
			process: recording(rec),
			assigned: func(racecar.Assignment) {
				if err := errors.Join(say("assigned"), rt.Producer.Deliver(context.Background())); err != nil {
					t.Error(err)
				}
			},
			teardown: func() {
				if err := say("teardown"); err != nil {
					t.Error(err)
				}
			},
		}, say("constructor")
	})
	s := start(t, reg, txnConfig(b, group))
	rec.await(t, 1)
	s.stop()
	if got := readCommitted(t, b, to, 0); !slices.Equal(got, []string{"constructor", "assigned", "teardown"}) {
		t.Errorf("visible: %v", got)
	}
}

// Output between calls that no broker takes is lost alone, and its Deliver says so.
func TestRefusedOutputBetweenCalls(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	from, to, group := b.Topic(1), b.Topic(1), b.Group()
	b.Produce(from, 0, values(30)...)
	var got error
	reg := registration(t, transactional(from), func(rt racecar.Runtime) (*processor, error) {
		return &processor{
			process: func(ctx context.Context, m *racecar.Message) error { return rt.Producer.Produce(ctx, copyOf(to, m)) },
			assigned: func(racecar.Assignment) {
				ctx := context.Background()
				if err := errors.Join(
					rt.Producer.Produce(ctx, racecar.ProducerMessage{Topic: "no such topic!", Value: []byte("x")}),
					rt.Producer.Produce(ctx, racecar.ProducerMessage{Topic: to, Value: []byte("first"), Partition: new(int32)}),
				); err != nil {
					t.Error(err)
				}
				got = rt.Producer.Deliver(ctx)
			},
		}, nil
	})
	cfg := txnConfig(b, group)
	cfg.MessageTimeout = enough
	s := start(t, reg, cfg)
	s.await("the end", func() bool { return b.Committed(group, from, 0) == 30 })
	s.stop()
	if got == nil || !strings.Contains(got.Error(), "no such topic!") {
		t.Errorf("Deliver returned %v", got)
	}
	visible := readCommitted(t, b, to, 0)
	if len(visible) == 0 || visible[0] != "first" {
		t.Fatalf("visible: %v", visible)
	}
	wantCopies(t, visible[1:], 30)
}

// What belongs to an aborted transaction of the input is not there.
func TestAbortedInputIsNotProcessed(t *testing.T) {
	b := testbroker.New(t)
	from, group := b.Topic(1), b.Group()
	cfg := txnConfig(b, group)
	rec := newRecorder()
	reg := registration(t, transactional(from), func(racecar.Runtime) (*processor, error) {
		return &processor{process: recording(rec)}, nil
	})
	p, err := producer.NewTxnProducer(t.Context(), &cfg, producer.TxnOptions{Logger: inlineOptions(t, reg, cfg).Log, ID: group + "/input"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(context.Background()) //nolint:errcheck // all is ended
	for _, end := range []func(context.Context) error{p.Commit, p.Abort, p.Commit} {
		if err := p.Begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		stored := make(chan error, 1)
		if err := p.Send(t.Context(), producer.Message{Topic: from, Value: []byte("x"), Partition: new(int32)}, func(_ int32, _ int64, err error) { stored <- err }); err != nil {
			t.Fatal(err)
		}
		if err := end(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-stored //nolint:errcheck // that it was stored, not how
	}
	s := start(t, reg, cfg)
	rec.await(t, 2)
	s.stop()
	if rec.n != 2 {
		t.Errorf("%d messages processed, want the two that were committed", rec.n)
	}
}

// Settings that transactions do not go with end the worker for good, in one line.
func TestSettingsAgainstTransactions(t *testing.T) {
	for want, change := range map[string]func(*config.Config){
		"consumer: isolation.level=read_uncommitted does not go with transactions: leave it out": func(c *config.Config) {
			c.Consumer = []string{"isolation.level=read_uncommitted"}
		},
		"producer: a transactional consumer needs enable.idempotence=true and acks=all": func(c *config.Config) {
			c.Producer = []string{"enable.idempotence=false"}
		},
	} {
		b := testbroker.New(t)
		cfg := txnConfig(b, b.Group())
		change(&cfg)
		s := start(t, registration(t, transactional(b.Topic(1)), func(racecar.Runtime) (*processor, error) {
			return &processor{process: recording(newRecorder())}, nil
		}), cfg)
		if code := s.awaitExit(); code != wire.ExitPermanent {
			t.Errorf("exit code %d", code)
		}
		if w := s.exitReport(); w.Reason != want {
			t.Errorf("last words %q, want %q", w.Reason, want)
		}
	}
}

// Without the right to the transactional id nothing can work: one line, for good.
func TestTransactionsNotAuthorized(t *testing.T) {
	b := testbroker.New(t)
	from, group := b.Topic(1), b.Group()
	watchRequests(b, kmsg.InitProducerID, func(_ int, req kmsg.Request) kmsg.Response {
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ErrorCode = kerr.TransactionalIDAuthorizationFailed.Code
		return resp
	})
	s := start(t, registration(t, transactional(from), func(racecar.Runtime) (*processor, error) {
		return &processor{process: recording(newRecorder())}, nil
	}), txnConfig(b, group))
	if code := s.awaitExit(); code != wire.ExitPermanent {
		t.Errorf("exit code %d", code)
	}
	want := `not authorized for the transactional id (take transactional id`
	if w := s.exitReport(); len(w.Reason) < len(want) || w.Reason[:len(want)] != want {
		t.Errorf("last words %q", w.Reason)
	}
}
