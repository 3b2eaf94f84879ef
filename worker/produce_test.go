package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// copier produces each message to another topic.
func copier(to string, rec *recorder) func(racecar.Runtime) (*processor, error) {
	return func(rt racecar.Runtime) (*processor, error) {
		p := &processor{out: rt.Producer}
		p.process = func(ctx context.Context, m *racecar.Message) error {
			rec.add(m)
			return p.out.Produce(ctx, racecar.ProducerMessage{Topic: to, Value: fmt.Appendf(nil, "%d/%d", m.Partition, m.Offset), Partition: new(int32)})
		}
		return p, nil
	}
}

// held holds back the answers to produce requests until it is let go.
type held struct {
	mu   sync.Mutex
	hold bool
	gate chan struct{}
	seen chan struct{}
}

func holdProduce(b *testbroker.Broker) *held {
	h := &held{hold: true, gate: make(chan struct{}), seen: make(chan struct{}, 1000)}
	c := b.Embedded()
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		h.mu.Lock()
		gate, hold := h.gate, h.hold
		h.mu.Unlock()
		if hold {
			h.seen <- struct{}{}
			c.SleepControl(func() { <-gate })
		}
		return nil, nil, false
	})
	return h
}

func (h *held) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hold {
		h.hold = false
		close(h.gate)
	}
}

// The offset moves only over what is acknowledged, and no more than
// produce_in_flight messages are begun meanwhile.
func TestOffsetsWaitForAcknowledgements(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	from, to, group := b.Topic(1), b.Topic(1), b.Group()
	b.Produce(from, 0, values(100)...)
	h := holdProduce(b)
	t.Cleanup(h.release)
	rec := newRecorder()
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}}, copier(to, rec))
	cfg := testConfig(b, group)
	cfg.ProduceInFlight = 10
	s := start(t, reg, cfg)
	rec.await(t, 10)
	<-h.seen
	// Two commit intervals on nothing has moved, and nothing more was begun.
	held := time.Now()
	s.await("frames for three commit intervals", func() bool { return time.Since(held) > 3*cfg.OffsetCommitInterval })
	if n := len(rec.offsets(topicPartition{from, 0})); n != 10 {
		t.Errorf("%d messages begun, want produce_in_flight", n)
	}
	if c := b.Committed(group, from, 0); c != 0 {
		t.Errorf("committed %d without an acknowledgement", c)
	}
	h.release()
	rec.await(t, 100)
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	wantUpTo(t, rec.offsets(topicPartition{from, 0}), 100)
	if c := b.Committed(group, from, 0); c != 100 {
		t.Errorf("committed %d", c)
	}
	for i, m := range readAll(t, b, to, 100) {
		if want := fmt.Sprintf("0/%d", i); string(m.Value) != want {
			t.Fatalf("output %d is %s", i, m.Value)
		}
	}
}

// enough is a message_timeout within which all is delivered that can be, also on a
// machine that has much else to do.
const enough = 2 * time.Second

// After a delivery failed permanently, its message and those behind it are processed
// again, in order, and the offset has not moved over it.
func TestFailedDeliveryIsProcessedAgain(t *testing.T) {
	t.Parallel()
	t.Run("when all has been begun", func(t *testing.T) { failedDeliveryIsProcessedAgain(t, 1000) })
	// Messages that have not been begun come after the repeated ones.
	t.Run("in the middle", func(t *testing.T) { failedDeliveryIsProcessedAgain(t, 10) })
}

func failedDeliveryIsProcessedAgain(t *testing.T, inFlight int) {
	t.Helper()
	b := testbroker.New(t)
	from, to, group := b.Topic(1), b.Topic(1), b.Group()
	b.Produce(from, 0, values(50)...)
	rec := newRecorder()
	var fail sync.Once
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}}, func(rt racecar.Runtime) (*processor, error) {
		p := &processor{out: rt.Producer}
		p.process = func(ctx context.Context, m *racecar.Message) error {
			rec.add(m)
			out := racecar.ProducerMessage{Topic: to, Value: fmt.Appendf(nil, "%d", m.Offset), Partition: new(int32)}
			if m.Offset == 20 {
				fail.Do(func() { out.Topic = "no such topic!" })
			}
			return p.out.Produce(ctx, out)
		}
		return p, nil
	})
	cfg := testConfig(b, group)
	cfg.MessageTimeout = enough
	cfg.ProduceInFlight = inFlight
	reported := make(chan racecar.ErrorInfo, 100)
	cfg.OnError = func(_ context.Context, _ error, info racecar.ErrorInfo) { reported <- info }
	s := start(t, reg, cfg)
	s.await("the end", func() bool { return b.Committed(group, from, 0) == 50 })
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	got := rec.offsets(topicPartition{from, 0})
	again := 0
	for i := 1; i < len(got); i++ {
		switch {
		case got[i] == got[i-1]+1:
		case got[i] == 20:
			again++
		default:
			t.Fatalf("out of order: %v", got)
		}
	}
	if again != 1 || got[0] != 0 || got[len(got)-1] != 49 {
		t.Errorf("processed %v", got)
	}
	select {
	case info := <-reported:
		if !info.UnrecoverableDelivery || info.FirstOffset != 20 || info.LastOffset != 20 || len(reported) > 0 {
			t.Errorf("OnError was told %+v, and %d more", info, len(reported))
		}
	case <-time.After(patient):
		t.Error("OnError was told nothing")
	}
	seen := map[string]bool{}
	for _, m := range readAll(t, b, to, len(got)-1) {
		seen[string(m.Value)] = true
	}
	if len(seen) != 50 {
		t.Errorf("%d different outputs, want 50", len(seen))
	}
}

// Deliver waits, and says what was not delivered.
func TestDeliver(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	from, to, group := b.Topic(1), b.Topic(1), b.Group()
	b.Produce(from, 0, values(3)...)
	var mu sync.Mutex
	var errs []error
	var fail sync.Once
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}}, func(rt racecar.Runtime) (*processor, error) {
		return &processor{process: func(ctx context.Context, m *racecar.Message) error {
			out := racecar.ProducerMessage{Topic: to, Value: m.Value}
			if m.Offset == 1 {
				fail.Do(func() { out.Topic = "no such topic!" })
			}
			if err := rt.Producer.Produce(ctx, out); err != nil {
				return err
			}
			err := rt.Producer.Deliver(ctx)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
			return err
		}}, nil
	})
	cfg := testConfig(b, group)
	cfg.MessageTimeout = enough
	s := start(t, reg, cfg)
	s.await("the end", func() bool { return b.Committed(group, from, 0) == 3 })
	s.stop()
	if len(errs) != 4 || errs[0] != nil || errs[1] == nil || errs[2] != nil || errs[3] != nil {
		t.Errorf("Deliver returned %v", errs)
	}
	if got := readAll(t, b, to, 3); len(got) != 3 {
		t.Errorf("%d outputs", len(got))
	}
}

// Output that a goroutine of the consumer produces between calls holds the next commit
// up, and Teardown comes after its delivery.
func TestOutputBetweenCallsIsAwaited(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	b.Embedded() // its answers are held back
	from, to, group := b.Topic(1), b.Topic(1), b.Group()
	b.Produce(from, 0, "a")
	var out racecar.Producer
	rec := newRecorder()
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}}, func(rt racecar.Runtime) (*processor, error) {
		out = rt.Producer
		return &processor{
			process: func(_ context.Context, m *racecar.Message) error { rec.add(m); return nil },
			teardown: func() {
				if n := len(readAll(t, b, to, 1)); n != 1 {
					t.Error("Teardown before the delivery")
				}
			},
		}, nil
	})
	s := start(t, reg, testConfig(b, group))
	rec.await(t, 1)
	s.await("the first commit", func() bool { return b.Committed(group, from, 0) == 1 })
	h := holdProduce(b)
	t.Cleanup(h.release)
	if err := out.Produce(context.Background(), racecar.ProducerMessage{Topic: to, Value: []byte("between")}); err != nil {
		t.Fatal(err)
	}
	<-h.seen
	// b.Produce would be held up as well.
	h.release()
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
}

func TestAcksMoveOverThePrefixOnly(t *testing.T) {
	told := 0
	a := &acks{notify: func() { told++ }}
	call := func(offset int64, outputs int) []*output {
		a.enter()
		var os []*output
		for range outputs {
			os = append(os, a.begin())
		}
		a.close(span{first: offset, next: offset + 1, n: 1}, offset)
		a.processed.Store(offset + 1)
		a.exit()
		return os
	}
	want := func(position int64) {
		t.Helper()
		if got := a.position(); got != position {
			t.Fatalf("position %d, want %d", got, position)
		}
	}
	call(0, 0)
	want(1)
	one := call(1, 2)
	two := call(2, 1)
	call(3, 0)
	want(1)
	two[0].done(nil)
	want(1)
	one[0].done(nil)
	want(1)
	one[1].done(nil)
	want(4)
	four := call(4, 1)
	five := call(5, 1)
	six := call(6, 1)
	five[0].done(errors.New("refused")) // not the oldest
	want(4)
	six[0].done(nil)
	four[0].done(nil)
	want(5)
	if failure, flying := a.state(); failure == nil || flying != 0 {
		t.Fatalf("failure %v, %d flying", failure, flying)
	}
	if call := a.restart(); call.first != 5 || call.next != 6 || call.n != 1 {
		t.Fatalf("to be repeated: %+v", call)
	}
	want(5)
	call(5, 0)
	want(6)
	if told == 0 {
		t.Error("nobody was told")
	}
}

// What a batch produced before FailedAt is waited for as well: the offset does not
// move over messages whose output is not delivered, though they are done.
func TestOutputBeforeFailedAtIsWaitedFor(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	from, to, group := b.Topic(1), b.Topic(1), b.Group()
	b.Produce(from, 0, values(4)...)
	var mu sync.Mutex
	var calls []string
	produced := 0
	reg := batchCopier(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}}, func(ctx context.Context, out racecar.Producer, ms []*racecar.Message) error {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, fmt.Sprintf("%d-%d", ms[0].Offset, ms[len(ms)-1].Offset))
		for i, m := range ms {
			if len(calls) == 1 && i == 2 {
				return racecar.FailedAt(i, errors.New("the third"))
			}
			topic := to
			if len(calls) == 1 && i == 0 {
				topic = "no such topic!"
			}
			if err := out.Produce(ctx, racecar.ProducerMessage{Topic: topic, Value: fmt.Appendf(nil, "%d", m.Offset), Partition: new(int32)}); err != nil {
				return err
			}
			if topic == to {
				produced++
			}
		}
		return nil
	})
	cfg := testConfig(b, group)
	cfg.MessageTimeout, cfg.MaxWaitTime = enough, 2*time.Second
	s := start(t, reg, cfg)
	s.await("the end", func() bool { return b.Committed(group, from, 0) == 4 })
	s.stop()
	if len(calls) < 2 || calls[0] != "0-3" || calls[len(calls)-1][len("0-"):] != "3" {
		t.Errorf("calls %v", calls)
	}
	seen := map[string]bool{}
	for _, m := range readAll(t, b, to, produced) { // some of it twice
		seen[string(m.Value)] = true
	}
	for _, want := range []string{"0", "1", "2", "3"} {
		if !seen[want] {
			t.Errorf("calls %v: the output of message %s is lost", calls, want)
		}
	}
}

// What a batch has produced behind FailedAt is sent and produced again; only a
// transactional consumer's is dropped.
func TestOutputBehindFailedAtComesTwice(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	for transactional, want := range map[bool][]string{
		false: {"0", "1", "2", "1", "2"},
		true:  {"0", "1", "2"},
	} {
		from, to, group := b.Topic(1), b.Topic(1), b.Group()
		b.Produce(from, 0, values(3)...)
		var failed atomic.Bool
		spec := racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}, Transactional: transactional}
		reg := batchCopier(t, spec, func(ctx context.Context, out racecar.Producer, ms []*racecar.Message) error {
			for _, m := range ms {
				if err := out.Produce(ctx, copyOf(to, m)); err != nil {
					return err
				}
			}
			if len(ms) == 3 && !failed.Swap(true) {
				return racecar.FailedAt(1, errors.New("the second"))
			}
			return nil
		})
		s := start(t, reg, txnConfig(b, group))
		s.await("the end", func() bool { return b.Committed(group, from, 0) == 3 })
		s.stop()
		if got := readCommitted(t, b, to, 0); !slices.Equal(got, want) {
			t.Errorf("transactional %t: %v arrived, want %v", transactional, got, want)
		}
	}
}

// Several goroutines of a call may produce at the same time: all of it is the call's.
func TestGoroutinesOfACallProduce(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	for _, transactional := range []bool{false, true} {
		from, to, group := b.Topic(1), b.Topic(1), b.Group()
		b.Produce(from, 0, values(20)...)
		spec := racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}, Transactional: transactional}
		reg := registration(t, spec, func(rt racecar.Runtime) (*processor, error) {
			return &processor{process: func(ctx context.Context, m *racecar.Message) error {
				errs := make([]error, 8)
				var all sync.WaitGroup
				for i := range errs {
					all.Go(func() { errs[i] = errors.Join(rt.Producer.Produce(ctx, copyOf(to, m)), rt.Producer.Deliver(ctx)) })
				}
				all.Wait()
				return errors.Join(errs...)
			}}, nil
		})
		s := start(t, reg, txnConfig(b, group))
		s.await("the end", func() bool { return b.Committed(group, from, 0) == 20 })
		s.stop()
		var want []string
		for offset := range 20 {
			want = append(want, slices.Repeat([]string{fmt.Sprint(offset)}, 8)...)
		}
		if got := readCommitted(t, b, to, 0); !slices.Equal(got, want) {
			t.Errorf("transactional %t: %v arrived", transactional, got)
		}
	}
}

// A consumer may reuse its buffers as soon as Produce has returned: what is sent is
// what they held then.
func TestProduceCopiesTheMessage(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	for _, transactional := range []bool{false, true} {
		from, to, group := b.Topic(1), b.Topic(1), b.Group()
		b.Produce(from, 0, values(3)...)
		rec := newRecorder()
		spec := racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}, Transactional: transactional}
		reg := registration(t, spec, func(rt racecar.Runtime) (*processor, error) {
			p := &processor{out: rt.Producer}
			var buf []byte
			var partition int32
			headers := []racecar.Header{{Key: "h"}}
			p.process = func(ctx context.Context, m *racecar.Message) error {
				defer rec.add(m)
				for i := range 5 {
					partition = 0
					buf = fmt.Appendf(buf[:0], "%d-%d", m.Offset, i)
					headers[0].Value = buf
					if err := p.out.Produce(ctx, racecar.ProducerMessage{Topic: to, Key: buf, Value: buf, Headers: headers, Partition: &partition}); err != nil {
						return err
					}
				}
				partition = 77
				return nil
			}
			return p, nil
		})
		s := start(t, reg, txnConfig(b, group))
		rec.await(t, 3)
		s.stop()
		var want []string
		for offset := range 3 {
			for i := range 5 {
				want = append(want, fmt.Sprintf("%d-%d", offset, i))
			}
		}
		if got := readCommitted(t, b, to, 0); !slices.Equal(got, want) {
			t.Errorf("transactional %t: %v arrived, want %v", transactional, got, want)
		}
	}
}

// Deliver reports what its own call has produced, and nothing of other partitions, of
// earlier calls or of what was produced between calls: that is no attempt of its message.
func TestDeliverReportsItsOwnCallOnly(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	from, to, group := b.Topic(2), b.Topic(1), b.Group()
	bad := group + ".small"
	b.CreateTopicWith(bad, 1, map[string]string{"max.message.bytes": "50"})
	b.Produce(from, 0, values(1)...)
	b.Produce(from, 1, values(300)...)
	rec := newRecorder()
	var mu sync.Mutex
	var own, others []error
	var out racecar.Producer
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}}, func(rt racecar.Runtime) (*processor, error) {
		out = rt.Producer
		return &processor{process: func(ctx context.Context, m *racecar.Message) error {
			topic := to
			if m.Partition == 0 {
				topic = bad
			}
			if err := out.Produce(ctx, racecar.ProducerMessage{Topic: topic, Value: m.Value, Partition: new(int32)}); err != nil {
				return err
			}
			mu.Lock()
			early := m.Partition == 0 && len(others) < 300
			mu.Unlock()
			if early {
				return nil // its failure comes later, in the midst of other calls
			}
			err := out.Deliver(ctx)
			mu.Lock()
			defer mu.Unlock()
			if m.Partition == 0 {
				own = append(own, err)
			} else {
				others = append(others, err)
				rec.add(m)
			}
			return err
		}}, nil
	})
	cfg := testConfig(b, group)
	cfg.PauseTimeout = time.Millisecond
	reported := make(chan racecar.ErrorInfo, 1000)
	cfg.OnError = func(_ context.Context, _ error, info racecar.ErrorInfo) { reported <- info }
	s := start(t, reg, cfg)
	rec.await(t, 300)
	waitFor(t, "Deliver's own failures", func() bool { mu.Lock(); defer mu.Unlock(); return len(own) > 3 })
	wantUpTo(t, rec.offsets(topicPartition{from, 1}), 300)
	mu.Lock()
	for _, err := range own {
		if d, ok := errors.AsType[*producer.DeliveryError](err); !ok || !d.Refused() {
			t.Errorf("Deliver returned %v for output that is refused", err)
		}
	}
	for _, err := range others {
		if err != nil {
			t.Errorf("Deliver returned %v for output that was delivered", err)
		}
	}
	mu.Unlock()
	s.stop()
	close(reported)
	for info := range reported {
		if info.Partition != 0 {
			t.Errorf("OnError was told %+v", info)
		}
	}
}

// Output made between calls that is lost is reported, though nobody calls Deliver there.
func TestLostOutputBetweenCallsIsReported(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	from, group := b.Topic(1), b.Group()
	bad := group + ".small"
	b.CreateTopicWith(bad, 1, map[string]string{"max.message.bytes": "50"})
	b.Produce(from, 0, values(3)...)
	rec := newRecorder()
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}}, func(rt racecar.Runtime) (*processor, error) {
		if err := rt.Producer.Produce(t.Context(), racecar.ProducerMessage{Topic: bad, Partition: new(int32)}); err != nil {
			return nil, err
		}
		return &processor{process: func(ctx context.Context, m *racecar.Message) error {
			rec.add(m)
			return rt.Producer.Deliver(ctx)
		}}, nil
	})
	cfg := testConfig(b, group)
	reported := make(chan racecar.ErrorInfo, 1000)
	cfg.OnError = func(_ context.Context, _ error, info racecar.ErrorInfo) { reported <- info }
	s := start(t, reg, cfg)
	rec.await(t, 3)
	if info := <-reported; !info.UnrecoverableDelivery || info.Messages != 0 {
		t.Errorf("OnError was told %+v", info)
	}
	s.stop()
	wantUpTo(t, rec.offsets(topicPartition{from, 0}), 3)
}

// A message that cannot be encoded is refused alone: neither its partition's others nor
// other partitions are processed again because of it.
func TestOutputThatCannotBeEncodedHurtsItsMessageOnly(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	for _, transactional := range []bool{false, true} {
		from, to, group := b.Topic(2), b.Topic(2), b.Group()
		dlq := group + ".dead"
		b.CreateTopic(dlq, 1)
		for p := range int32(2) {
			b.Produce(from, p, values(100)...)
		}
		rec := newRecorder()
		spec := racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}, Transactional: transactional}
		reg := registration(t, spec, func(rt racecar.Runtime) (*processor, error) {
			return &processor{process: func(ctx context.Context, m *racecar.Message) error {
				rec.add(m)
				out := copyOf(to, m)
				if m.Partition == 1 && m.Offset == 40 {
					out.Timestamp = time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC)
				}
				return rt.Producer.Produce(ctx, out)
			}}, nil
		})
		cfg := txnConfig(b, group)
		cfg.MaxRetries, cfg.DeadLetterTopic = 1, dlq
		s := start(t, reg, cfg)
		s.await("the end", func() bool { return b.Committed(group, from, 0) == 100 && b.Committed(group, from, 1) == 100 })
		s.stop()
		wantCopies(t, readCommitted(t, b, to, 0), 100)
		wantCopies(t, readCommitted(t, b, to, 1), 100, 40)
		if rec.n != 201 { // one of them twice
			t.Errorf("transactional %t: %d calls for 200 messages", transactional, rec.n)
		}
	}
}

// Brokers that are away count against no message, also where a call gives up waiting for
// room, or for its output.
func TestWaitingForBrokersIsNoAttempt(t *testing.T) {
	t.Parallel()
	for _, deliver := range []bool{false, true} {
		t.Run(fmt.Sprintf("deliver %v", deliver), func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			from, to, group := b.Topic(1), b.Topic(1), b.Group()
			b.Produce(from, 0, values(1)...)
			var back atomic.Bool
			cluster := b.Embedded()
			cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
				cluster.KeepControl()
				return nil, errors.New("the broker is away"), !back.Load()
			})
			rec := newRecorder()
			var retries atomic.Int32
			reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}}, func(rt racecar.Runtime) (*processor, error) {
				return &processor{process: func(ctx context.Context, m *racecar.Message) error {
					rec.add(m)
					retries.Add(int32(m.Retries))
					limited, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
					defer cancel()
					for range 3 {
						if err := rt.Producer.Produce(limited, racecar.ProducerMessage{Topic: to, Value: make([]byte, 500), Partition: new(int32)}); err != nil {
							return err
						}
					}
					if deliver {
						return rt.Producer.Deliver(limited)
					}
					return nil
				}}, nil
			})
			cfg := testConfig(b, group)
			cfg.MaxRetries, cfg.PauseTimeout = 1, time.Millisecond
			if !deliver {
				cfg.Producer = []string{"queue.buffering.max.kbytes=1"}
			}
			s := start(t, reg, cfg)
			rec.await(t, 6)
			back.Store(true)
			waitFor(t, "the commit", func() bool { return b.Committed(group, from, 0) == 1 })
			if n := s.status().Counters[status.CountDeadLetters]; n > 0 || retries.Load() > 0 {
				t.Errorf("%d dead letters, %d retries seen", n, retries.Load())
			}
			s.stop()
		})
	}
}
