package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/registered"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// Each way to fail, on a partition of its own beside one that does not fail:
// only what fails waits, and nothing is left out but what Skip and DeadLetter say.
func TestWaysToFail(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(8), b.Group()
	dlq := group + ".dead"
	b.CreateTopic(dlq, 1)
	for p := range int32(8) {
		b.Produce(topic, p, values(20)...)
	}
	const bad = 5 // the offset that fails, in each partition but 0
	rec := newRecorder()
	var mu sync.Mutex
	calls := map[int32][]int{} // retries seen at the bad offset
	errBad := errors.New("bad message")
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
		return &processor{process: func(_ context.Context, m *racecar.Message) error {
			if m.Offset != bad || m.Partition == 0 {
				rec.add(m)
				return nil
			}
			mu.Lock()
			calls[m.Partition] = append(calls[m.Partition], m.Retries)
			n := len(calls[m.Partition])
			mu.Unlock()
			m.Value = nil // the next call must see the message as it was
			switch m.Partition {
			case 1: // fails twice, then not
				if n < 3 {
					return errBad
				}
			case 2:
				return racecar.Skip(errBad)
			case 3:
				return fmt.Errorf("wrapped: %w", racecar.DeadLetter(errBad))
			case 4:
				if n < 2 {
					panic(errBad)
				}
			case 5:
				if n < 2 {
					runtime.Goexit()
				}
			case 6:
				if n < 3 {
					return racecar.RetryAfter(errBad, time.Millisecond)
				}
			case 7:
				return errBad // until max_retries
			}
			rec.add(m)
			return nil
		}}, nil
	})
	cfg := testConfig(b, group)
	cfg.MaxRetries, cfg.DeadLetterTopic = 3, dlq
	var reported []racecar.ErrorInfo
	cfg.OnError = func(_ context.Context, err error, info racecar.ErrorInfo) {
		mu.Lock()
		defer mu.Unlock()
		reported = append(reported, info)
		if info.Partition == 2 {
			panic("OnError must be contained")
		}
	}
	s := start(t, reg, cfg)
	rec.await(t, 8*20-3)
	waitFor(t, "the dead letters", func() bool { return s.status().Counters[status.CountDeadLetters] == 2 })
	counters := s.status().Counters
	if counters[status.CountSkipped] != 1 || counters[status.CountErrors] != 2+1+1+1+1+2+4 {
		t.Errorf("counted %v", counters)
	}
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	for p := range int32(8) {
		want := 20
		if p == 2 || p == 3 || p == 7 {
			want = 19
		}
		got := rec.offsets(topicPartition{topic, p})
		if len(got) != want || !slices.IsSorted(got) {
			t.Errorf("partition %d: processed %v", p, got)
		}
		if c := b.Committed(group, topic, p); c != 20 {
			t.Errorf("partition %d: committed %d", p, c)
		}
	}
	for p, want := range map[int32][]int{1: {0, 1, 2}, 2: {0}, 3: {0}, 4: {0, 1}, 5: {0, 1}, 6: {0, 1, 2}, 7: {0, 1, 2, 3}} {
		if !slices.Equal(calls[p], want) {
			t.Errorf("partition %d: called with retries %v, want %v", p, calls[p], want)
		}
	}
	stacks := 0
	for _, r := range reported {
		if r.Topic != topic || r.FirstOffset != bad || r.LastOffset != bad || r.Messages != 1 || r.Group != group || r.Consumer == "" {
			t.Errorf("OnError was told %+v", r)
		}
		if strings.Contains(r.Stack, "TestWaysToFail") {
			stacks++
		}
	}
	if len(reported) != 2+1+1+1+1+2+4 || stacks != 1+1 {
		t.Errorf("OnError was called %d times, %d with a stack", len(reported), stacks)
	}
	got := readAll(t, b, dlq, 2)
	slices.SortFunc(got, func(a, b *sarama.ConsumerMessage) int {
		return strings.Compare(header(a, "racecar-dlq-partition"), header(b, "racecar-dlq-partition"))
	})
	for i, want := range []struct{ partition, attempts string }{{"3", "1"}, {"7", "4"}} {
		m := got[i]
		if header(m, "racecar-dlq-partition") != want.partition || header(m, "racecar-dlq-attempts") != want.attempts ||
			header(m, "racecar-dlq-topic") != topic || header(m, "racecar-dlq-offset") != "5" || header(m, "racecar-dlq-group") != group ||
			!strings.Contains(header(m, "racecar-dlq-error"), "bad message") || string(m.Value) != "value-5" {
			t.Errorf("dead letter %d: %q with %v", i, m.Value, m.Headers)
		}
	}
}

func TestFatalEndsTheWorkerForGood(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(10)...)
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
		return &processor{process: func(_ context.Context, m *racecar.Message) error {
			if m.Offset == 4 {
				return racecar.Fatal(errors.New("cannot go on"))
			}
			return nil
		}}, nil
	})
	s := start(t, reg, testConfig(b, group))
	if code := s.awaitExit(); code != wire.ExitPermanent {
		t.Errorf("exit code %d", code)
	}
	if last := s.exitReport(); !last.Permanent || last.Reason != "cannot go on" {
		t.Errorf("last words %+v", last)
	}
	if c := b.Committed(group, topic, 0); c != 4 {
		t.Errorf("committed %d", c)
	}
}

// A batch fails as a whole, or from FailedAt on.
func TestBatchesFail(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(10)...)
	var mu sync.Mutex
	var calls []string
	reg := batchRegistration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(_ context.Context, ms []*racecar.Message) error {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, fmt.Sprintf("%d-%d/%d", ms[0].Offset, ms[len(ms)-1].Offset, ms[0].Retries))
		switch len(calls) {
		case 1:
			return errors.New("all of it")
		case 2:
			return racecar.FailedAt(4, errors.New("the fifth"))
		case 3:
			return racecar.FailedAt(2, racecar.Skip(errors.New("the seventh, and it alone")))
		case 4:
			return racecar.FailedAt(1, racecar.DeadLetter(errors.New("the ninth, and it alone")))
		}
		return nil
	})
	cfg := testConfig(b, group)
	cfg.MaxWaitTime, cfg.DeadLetterTopic = 2*time.Second, group+".dead"
	b.CreateTopic(cfg.DeadLetterTopic, 1)
	var toldMu sync.Mutex
	var told []string
	cfg.OnError = func(_ context.Context, err error, info racecar.ErrorInfo) {
		toldMu.Lock()
		defer toldMu.Unlock()
		told = append(told, fmt.Sprintf("%d-%d of %d, %d: %v", info.FirstOffset, info.LastOffset, info.Messages, info.Retries, err))
	}
	s := start(t, reg, cfg)
	s.await("all", func() bool { return b.Committed(group, topic, 0) == 10 })
	s.stop()
	want := []string{"0-9/0", "0-9/1", "4-9/1", "7-9/0", "9-9/0"}
	if !slices.Equal(calls, want) {
		t.Errorf("calls %v, want %v", calls, want)
	}
	wantTold := []string{
		"0-9 of 10, 0: all of it", "4-4 of 1, 0: the fifth", "6-6 of 1, 0: the seventh, and it alone", "8-8 of 1, 0: the ninth, and it alone",
	}
	if !slices.Equal(told, wantTold) {
		t.Errorf("OnError was told %q, want %q", told, wantTold)
	}
	if got := readAll(t, b, cfg.DeadLetterTopic, 1); string(got[0].Value) != "value-8" {
		t.Errorf("dead-lettered %q", got[0].Value)
	}
}

// With max_retries used up a batch is called message by message, and only what
// fails then is dead-lettered.
func TestExhaustedBatchIsSplit(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	dlq := group + ".dlq"
	b.CreateTopic(dlq, 1)
	b.Produce(topic, 0, values(6)...)
	rec := newRecorder()
	reg := batchRegistration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(_ context.Context, ms []*racecar.Message) error {
		for _, m := range ms {
			if m.Offset == 2 {
				return errors.New("bad")
			}
		}
		for _, m := range ms {
			rec.add(m)
		}
		return nil
	})
	cfg := testConfig(b, group)
	cfg.MaxRetries, cfg.PauseTimeout = 1, 0
	s := start(t, reg, cfg)
	rec.await(t, 5)
	s.await("the commit", func() bool { return b.Committed(group, topic, 0) == 6 })
	if got, want := rec.offsets(topicPartition{topic, 0}), []int64{0, 1, 3, 4, 5}; !slices.Equal(got, want) {
		t.Errorf("processed %v, want %v", got, want)
	}
	if got := readAll(t, b, dlq, 1); string(got[0].Value) != "value-2" {
		t.Errorf("dead-lettered %q", got[0].Value)
	}
	s.stop()
}

// Attempts go with the partition: a graceful hand-over carries them in the commit.
func TestAttemptsSurviveARestart(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(10)...)
	var mu sync.Mutex
	var retries []int
	var seen = newRecorder()
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
		return &processor{process: func(_ context.Context, m *racecar.Message) error {
			if m.Offset == 3 {
				mu.Lock()
				retries = append(retries, m.Retries)
				mu.Unlock()
				seen.add(m)
				return errors.New("again")
			}
			return nil
		}}, nil
	})
	cfg := testConfig(b, group)
	cfg.PauseTimeout = 20 * time.Millisecond
	first := start(t, reg, cfg)
	seen.await(t, 3)
	first.stop()
	mu.Lock()
	before := len(retries)
	mu.Unlock()
	second := start(t, reg, cfg)
	seen.await(t, before+1)
	second.stop()
	for i, r := range retries {
		if r != i {
			t.Fatalf("retries were %v", retries)
		}
	}
}

func TestPauses(t *testing.T) {
	backoff := config.Config{PauseTimeout: time.Second, PauseWithExponentialBackoff: true, MaxPauseTimeout: 5 * time.Second}
	jitter := backoff
	jitter.PauseJitter = 0.1
	for _, c := range []struct {
		name     string
		cfg      config.Config
		attempts int
		random   float64
		want     time.Duration
	}{
		{"plain", config.Config{PauseTimeout: 10 * time.Second}, 7, 0, 10 * time.Second},
		{"plain has no jitter", config.Config{PauseTimeout: 10 * time.Second, PauseJitter: 0.5}, 7, 0, 10 * time.Second},
		{"none", config.Config{}, 7, 0, 0},
		{"for ever", config.Config{PauseTimeout: config.PauseForever}, 1, 0, config.PauseForever},
		{"first", backoff, 1, 0, time.Second},
		{"third", backoff, 3, 0, 4 * time.Second},
		{"at most", backoff, 400, 0, 5 * time.Second},
		{"no limit, no overflow", config.Config{PauseTimeout: time.Second, PauseWithExponentialBackoff: true}, 4000, 0, time.Second << 11},
		{"less", jitter, 1, 0, 900 * time.Millisecond},
		{"more", jitter, 1, 1, 1100 * time.Millisecond},
	} {
		if got := pauseFor(&c.cfg, c.attempts, func() float64 { return c.random }); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func header(m *sarama.ConsumerMessage, name string) string {
	for _, h := range m.Headers {
		if string(h.Key) == name {
			return string(h.Value)
		}
	}
	return ""
}

// readAll returns the first n messages of partition 0, those of transactions that were
// aborted or are open included.
func readAll(t testing.TB, b *testbroker.Broker, topic string, n int) []*sarama.ConsumerMessage {
	t.Helper()
	return readSome(t, b, topic, n, sarama.ReadUncommitted)
}

func readSome(t testing.TB, b *testbroker.Broker, topic string, n int, isolation sarama.IsolationLevel) []*sarama.ConsumerMessage {
	t.Helper()
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	conf.Consumer.IsolationLevel = isolation
	c, err := sarama.NewConsumer(b.Addrs(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	pc, err := c.ConsumePartition(topic, 0, sarama.OffsetOldest)
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	var got []*sarama.ConsumerMessage
	for len(got) < n {
		select {
		case m := <-pc.Messages():
			got = append(got, m)
		case <-time.After(patient):
			t.Fatalf("%d messages in %s, want %d", len(got), topic, n)
		}
	}
	return got
}

// batchProcessor is a batch consumer made of a function.
type batchProcessor struct {
	process func(context.Context, []*racecar.Message) error
}

func (p *batchProcessor) ProcessBatch(ctx context.Context, ms []*racecar.Message) error {
	return p.process(ctx, ms)
}

func batchRegistration(t testing.TB, spec racecar.Spec, f func(context.Context, []*racecar.Message) error) *racecar.Registration {
	t.Helper()
	spec.Name = fmt.Sprintf("%s-%d", t.Name(), registrations.Add(1))
	racecar.Register(func(racecar.Runtime) (*batchProcessor, error) { return &batchProcessor{f}, nil }, spec)
	return registered.Lookup(spec.Name)
}

// A message is done with when its dead letter is acknowledged, not before: until
// then the partition waits, and a crash would send the record again.
func TestOffsetWaitsForTheDeadLetter(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	dlq := group + ".dead"
	b.CreateTopic(dlq, 1)
	b.Produce(topic, 0, values(5)...)
	h := holdProduce(b)
	t.Cleanup(h.release)
	rec := newRecorder()
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
		return &processor{process: func(_ context.Context, m *racecar.Message) error {
			rec.add(m)
			if m.Offset == 2 {
				return racecar.DeadLetter(errors.New("bad message"))
			}
			return nil
		}}, nil
	})
	cfg := testConfig(b, group)
	cfg.DeadLetterTopic = dlq
	s := start(t, reg, cfg)
	<-h.seen // the record is with the broker
	s.await("the commit of what came before", func() bool { return b.Committed(group, topic, 0) == 2 })
	held := time.Now()
	s.await("frames for three commit intervals", func() bool { return time.Since(held) > 3*cfg.OffsetCommitInterval })
	if n, c := len(rec.offsets(topicPartition{topic, 0})), b.Committed(group, topic, 0); n != 3 || c != 2 {
		t.Errorf("%d messages begun and %d committed before the dead letter was acknowledged, want 3 and 2", n, c)
	}
	h.release()
	rec.await(t, 5)
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	wantUpTo(t, rec.offsets(topicPartition{topic, 0}), 5)
	if c := b.Committed(group, topic, 0); c != 5 {
		t.Errorf("committed %d", c)
	}
	readAll(t, b, dlq, 1)
}

// What a call does to its message's bytes, as to decrypt them in place, reaches neither
// the next attempt nor the dead letter, nor is it seen when lost output has it called
// again.
func TestRetriesGetTheMessageAsItWasReceived(t *testing.T) {
	t.Parallel()
	scramble := func(m *racecar.Message) {
		for _, b := range [][]byte{m.Key, m.Value, m.Headers[0].Value} {
			for i := range b {
				b[i] ^= 0x5a
			}
		}
	}
	const key, value, own = "the key", "the value", "the header"
	intact := func(m *racecar.Message) bool {
		return string(m.Key) == key && string(m.Value) == value && string(m.Headers[0].Value) == own && m.Headers[1].Value == nil
	}
	for _, batch := range []bool{false, true} {
		for _, transacted := range []bool{false, true} {
			t.Run(fmt.Sprintf("batch %v, transactional %v", batch, transacted), func(t *testing.T) {
				t.Parallel()
				b := testbroker.New(t)
				topic, to, group := b.Topic(1), b.Topic(1), b.Group()
				small := group + ".small"
				b.CreateTopicWith(small, 1, map[string]string{"max.message.bytes": "1000"}) // markers of transactions have to fit
				for range 3 {
					produceRecord(t, b, &sarama.ProducerMessage{
						Topic: topic, Key: sarama.StringEncoder(key), Value: sarama.StringEncoder(value),
						Headers: []sarama.RecordHeader{{Key: []byte("own"), Value: []byte(own)}, {Key: []byte("nil")}},
					})
				}
				var bad, lost atomic.Int32
				process := func(ctx context.Context, out racecar.Producer, ms []*racecar.Message) error {
					for _, m := range ms {
						if !intact(m) {
							bad.Add(1)
						}
					}
					for _, m := range ms {
						scramble(m)
					}
					switch m := ms[0]; {
					case m.Offset == 0 && m.Retries == 0:
						return errors.New("after decrypting")
					case m.Offset == 0:
						return racecar.FailedAt(0, racecar.DeadLetter(errors.New("after decrypting")))
					case m.Offset == 1 && lost.Add(1) == 1: // its call goes well, its output does not
						return out.Produce(ctx, racecar.ProducerMessage{Topic: small, Value: make([]byte, 2000), Partition: new(int32)})
					}
					return out.Produce(ctx, racecar.ProducerMessage{Topic: to, Value: []byte("x"), Partition: new(int32)})
				}
				spec := racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}, Transactional: transacted}
				reg := batchCopier(t, spec, process)
				if !batch {
					reg = registration(t, spec, func(rt racecar.Runtime) (*processor, error) {
						return &processor{process: func(ctx context.Context, m *racecar.Message) error {
							return process(ctx, rt.Producer, []*racecar.Message{m})
						}}, nil
					})
				}
				cfg := testConfig(b, group)
				if transacted {
					cfg = txnConfig(b, group)
				}
				cfg.DeadLetterTopic = group + ".dead"
				b.CreateTopic(cfg.DeadLetterTopic, 1)
				s := start(t, reg, cfg)
				waitFor(t, "the commit", func() bool { return b.Committed(group, topic, 0) == 3 })
				s.stop()
				if bad.Load() > 0 || lost.Load() < 2 {
					t.Errorf("%d messages were not as they were received, %d calls of the second", bad.Load(), lost.Load())
				}
				got := readAll(t, b, cfg.DeadLetterTopic, 1)[0]
				if string(got.Key) != key || string(got.Value) != value || header(got, "own") != own {
					t.Errorf("dead-lettered key %q, value %q, header %q", got.Key, got.Value, header(got, "own"))
				}
			})
		}
	}
}

// The line that matters is often not the first one.
func TestErrorsOfSeveralLines(t *testing.T) {
	err := errors.New("failed to connect to `orders`:\n\t10.0.0.1:5432: connection refused\r\n")
	if got := oneLine(err); got != "failed to connect to `orders`: 10.0.0.1:5432: connection refused" {
		t.Errorf("%q", got)
	}
	if got := oneLine(errors.New(strings.Repeat("é\n", 400))); len([]rune(got)) != 301 || strings.Contains(got, "\n") {
		t.Errorf("%d runes: %q", len([]rune(got)), got)
	}
}
