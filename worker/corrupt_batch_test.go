package worker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/kafka/fetch"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// bomb is a batch that takes more memory than max_batch_bytes allows, 64 MiB.
func bomb(t testing.TB) testbroker.RawBatch {
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return testbroker.RawBatch{Count: 1, Attributes: 4, Records: e.EncodeAll(testbroker.RawRecord(0, nil, 2_000_000), nil)}
}

func partitionOf(t testing.TB, s *supervisor, k topicPartition) status.Partition {
	t.Helper()
	for _, p := range s.status().Partitions {
		if p.Topic == k.topic && p.Partition == k.partition {
			return p
		}
	}
	t.Fatalf("%v is not in the report", k)
	return status.Partition{}
}

// A batch that cannot be decoded pauses its partition as poisoned, and is logged once;
// messages before it are processed, and all other partitions continue. Resume retries the
// batch; with a skip the partition continues behind it and its position is committed there.
func TestUndecodableBatchPausesItsPartition(t *testing.T) {
	for _, shape := range []string{"Process", "ProcessBatch", "transactional"} {
		t.Run(shape, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			from, other, group := b.Topic(2), b.Topic(1), b.Group()
			b.Produce(from, 0, values(3)...)
			b.ProduceRaw(from, 0, bomb(t)) // offset 3
			b.Produce(from, 1, values(50)...)
			b.Produce(other, 0, values(50)...)
			var mu sync.Mutex
			var told []racecar.ErrorInfo
			rec := newRecorder()
			spec := racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}, {Topic: other}}, Transactional: shape == "transactional"}
			reg := registration(t, spec, func(racecar.Runtime) (*processor, error) {
				return &processor{process: func(_ context.Context, m *racecar.Message) error { rec.add(m); return nil }}, nil
			})
			if shape == "ProcessBatch" {
				reg = batchRegistration(t, spec, func(_ context.Context, ms []*racecar.Message) error {
					for _, m := range ms {
						rec.add(m)
					}
					return nil
				})
			}
			cfg := testConfig(b, group)
			cfg.OnError = func(_ context.Context, _ error, info racecar.ErrorInfo) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, info)
			}
			s := start(t, reg, cfg)
			rec.await(t, 103)
			bad := topicPartition{from, 0}
			poisoned := func() {
				t.Helper()
				s.await("the poisoned partition", func() bool {
					s.mu.Unlock() // await holds it
					defer s.mu.Lock()
					p := partitionOf(t, s, bad)
					return p.State == status.PartitionPoisoned && strings.Contains(p.Reason, "the batch with offsets 3 to 3 cannot be decoded: ") && p.Committed == 3
				})
			}
			poisoned()
			b.Produce(from, 1, values(50)...)
			b.Produce(other, 0, values(50)...)
			rec.await(t, 203)
			resume := wire.Command{Kind: wire.CommandResume, Partitions: []wire.Partition{{Topic: from, Partition: 0}}}
			if r := s.command(resume); r.Error != "" {
				t.Error(r.Error)
			}
			poisoned()
			if got := rec.offsets(bad); len(got) != 3 {
				t.Errorf("offsets %v of the poisoned partition were processed", got)
			}
			s.await("OnError", func() bool { mu.Lock(); defer mu.Unlock(); return len(told) == 2 }) // found twice
			mu.Lock()
			if i := told[0]; i.Topic != from || i.Partition != 0 || i.FirstOffset != 3 || i.LastOffset != 3 || i.Messages != 1 {
				t.Errorf("OnError was told %+v", i)
			}
			mu.Unlock()
			resume.SkipBatch = true
			if r := s.command(resume); r.Error != "" {
				t.Error(r.Error)
			}
			s.await("the position behind the batch", func() bool {
				s.mu.Unlock()
				defer s.mu.Lock()
				p := partitionOf(t, s, bad)
				return p.State == status.PartitionRunning && p.Position == 4 && p.Committed == 4
			})
			if c := s.status().Counters; c[status.CountSkipped] != 1 || c[status.CountMessages] != 204 { // 203 were processed
				t.Errorf("%d messages counted as skipped, %d in all", c[status.CountSkipped], c[status.CountMessages])
			}
			b.Produce(from, 0, "behind")
			rec.await(t, 204)
			if got := rec.offsets(bad); len(got) != 4 || got[3] != 4 {
				t.Errorf("offsets %v were processed", got)
			}
			if r := s.command(resume); !strings.Contains(r.Error, "no batch that cannot be decoded") {
				t.Errorf("skipping where nothing is to be skipped: %q", r.Error)
			}
			s.stop()
			if got := b.Committed(group, from, 0); shape != "transactional" && got != 5 || got < 5 {
				t.Errorf("committed %d", got)
			}
		})
	}
}

// A batch that cannot be decoded is reported once all messages before it are processed, and
// skipped from there on.
func TestUndecodableBatchWaitsForTheMessagesBeforeIt(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	from, group := b.Topic(1), b.Group()
	b.Produce(from, 0, values(10)...)
	b.ProduceRaw(from, 0, bomb(t))
	release := make(chan struct{})
	rec := newRecorder()
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}}, func(racecar.Runtime) (*processor, error) {
		return &processor{process: func(_ context.Context, m *racecar.Message) error {
			rec.add(m)
			if m.Offset == 5 {
				<-release
			}
			return nil
		}}, nil
	})
	s := start(t, reg, testConfig(b, group))
	rec.await(t, 6)
	skip := wire.Command{Kind: wire.CommandResume, Partitions: []wire.Partition{{Topic: from, Partition: 0}}, SkipBatch: true}
	if r := s.command(skip); !strings.Contains(r.Error, "nothing to skip") {
		t.Errorf("skipped while message 5 is in hand: %q", r.Error)
	}
	close(release)
	poisoned := func() bool { return partitionOf(t, s, topicPartition{from, 0}).State == status.PartitionPoisoned }
	waitFor(t, "the poisoned partition", poisoned)
	wantUpTo(t, rec.offsets(topicPartition{from, 0}), 10)
	if r := s.command(skip); r.Error != "" {
		t.Error(r.Error)
	}
	waitFor(t, "the position behind the batch", func() bool { return partitionOf(t, s, topicPartition{from, 0}).Committed == 11 })
	s.stop()
}

// The markers at the end of transactions are no messages: a batch does not wait for what
// never comes.
func TestBatchOfTransactionsDoesNotWait(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	from, group := b.Topic(1), b.Group()
	rec := newRecorder()
	reg := batchRegistration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}}, func(_ context.Context, ms []*racecar.Message) error {
		for _, m := range ms {
			rec.add(m)
		}
		return nil
	})
	cfg := testConfig(b, group)
	cfg.MaxWaitTime = 5 * time.Second
	s := start(t, reg, cfg)
	s.running()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID(from))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	began := time.Now()
	for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit, kgo.TryCommit} {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: from, Value: []byte("a")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := cl.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
		rec.await(t, []int{1, 1, 2, 3}[i])
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("three messages took %v", took)
	}
	s.stop()
}

// A message whose output failed is repeated after its own pause, although a later message had a
// longer one, or its dead-letter record was refused.
func TestOutputFailsDuringAPause(t *testing.T) {
	for _, kind := range []hold{holdBackoff, holdRefused} {
		w, m := loneWorker(t)
		p := m.claim(topicPartition{"t", 0})
		p.begin(0, 0)
		p.inst = w.bareInstance(nil)
		c, _ := testCursor(rawBatch(0, 10, false))
		p.cursor = *c
		p.cursor.read(10)
		p.acks.enter()
		o := p.acks.begin()
		p.acks.processed.Store(10)
		p.acks.close(span{first: 0, next: 10, n: 10}, 0)
		w.pause(p, kind, time.Hour, errors.New("later"))
		o.done(errors.New("not stored"))
		(&executor{w: w, t: w.scheduler}).goBack(p)
		if most := time.Now().Add(2 * w.cfg.PauseTimeout); len(p.holds) != 1 || p.holds[0].hold != holdBackoff || p.holds[0].until.After(most) {
			t.Errorf("paused as %v: held by %+v", kind, p.holds)
		}
	}
}

// When a partition waits at an undecodable batch and goes back to messages whose output
// failed, it neither waits for an operator nor skips the batch until it finds it again.
func TestOutputFailsBeforeAnUndecodableBatch(t *testing.T) {
	w, m := loneWorker(t)
	p := m.claim(topicPartition{"t", 0})
	p.begin(0, 0)
	p.inst = w.bareInstance(nil)
	c, _ := testCursor(rawBatch(0, 10, false))
	p.cursor = *c
	p.cursor.read(10)
	p.acks.enter()
	o := p.acks.begin()
	p.acks.processed.Store(10)
	p.acks.close(span{first: 0, next: 10, n: 10}, 0)
	p.cursor.corrupt = &fetch.CorruptError{First: 10, Next: 11}
	w.scheduler.change(func() { w.scheduler.hold(p, heldBy{hold: holdCorrupt}); p.skipBatch = true })
	o.done(errors.New("refused"))
	(&executor{w: w, t: w.scheduler}).goBack(p)
	if p.holds.has(holdCorrupt) || p.skipBatch {
		t.Errorf("it waits for an operator (%v), skips the batch %v", p.holds, p.skipBatch)
	}
	if got := p.cursor.read(100); !slices.Equal(got, offsetRange(0, 10)) {
		t.Errorf("read %v", got)
	}
}
