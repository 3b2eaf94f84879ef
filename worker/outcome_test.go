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

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// refuseProduce has all records for topic refused with a code, as long as while says so.
func refuseProduce(b *testbroker.Broker, topic string, code int16, while func() bool) {
	c := b.Embedded()
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		r := req.(*kmsg.ProduceRequest)
		if !while() || !producesTo(r, topic) {
			return nil, nil, false
		}
		return refuseAll(r, code), nil, true
	})
}

// refuseAll is an answer that refuses all records of a request.
func refuseAll(r *kmsg.ProduceRequest, code int16) kmsg.Response {
	resp := r.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range r.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode, rp.BaseOffset = p.Partition, code, -1
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func producesTo(req kmsg.Request, topic string) bool {
	return slices.ContainsFunc(req.(*kmsg.ProduceRequest).Topics, func(t kmsg.ProduceRequestTopic) bool { return t.Topic == topic })
}

func always() bool { return true }

// A disposition ends the message, not what its call produced: the offset waits for that,
// and output that is lost has the message called again.
func TestOutputOfDisposedMessagesIsAwaited(t *testing.T) {
	t.Parallel()
	for name, dispose := range map[string]func(error) error{"skip": racecar.Skip, "dead letter": racecar.DeadLetter} {
		for _, refused := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, refused %v", name, refused), func(t *testing.T) {
				t.Parallel()
				b := testbroker.New(t)
				from, to, group := b.Topic(1), b.Topic(1), b.Group()
				dlq := group + ".dead"
				b.CreateTopic(dlq, 1)
				b.Produce(from, 0, values(5)...)
				var away atomic.Bool
				away.Store(true)
				if refused {
					refuseProduce(b, to, kerr.MessageTooLarge.Code, away.Load)
				} else {
					c := b.Embedded()
					c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
						c.KeepControl()
						return nil, errors.New("away"), away.Load() && producesTo(req, to)
					})
				}
				rec := newRecorder()
				reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}}, func(rt racecar.Runtime) (*processor, error) {
					return &processor{process: func(ctx context.Context, m *racecar.Message) error {
						rec.add(m)
						if err := rt.Producer.Produce(ctx, racecar.ProducerMessage{Topic: to, Value: m.Value, Partition: new(int32)}); err != nil {
							return err
						}
						return dispose(errors.New("it goes to the topic of rejects"))
					}}, nil
				})
				cfg := testConfig(b, group)
				cfg.DeadLetterTopic = dlq
				s := start(t, reg, cfg)
				if refused {
					rec.await(t, 8) // some of them again
				} else {
					rec.await(t, 5)
				}
				held := time.Now()
				s.await("frames for three commit intervals", func() bool { return time.Since(held) > 3*cfg.OffsetCommitInterval })
				if c := b.Committed(group, from, 0); c > 0 {
					t.Errorf("committed %d though no output is acknowledged", c)
				}
				away.Store(false)
				waitFor(t, "the commit", func() bool { return b.Committed(group, from, 0) == 5 })
				s.stop()
				seen := map[string]bool{}
				for _, m := range readAll(t, b, to, 5) {
					seen[string(m.Value)] = true
				}
				if !refused && len(seen) != 5 {
					t.Errorf("the output has %d of 5 messages", len(seen))
				}
			})
		}
	}
}

// Output that the broker refuses is its message's failure: with its retries used up the
// message is dead-lettered, and what is behind it goes on. Of a batch it is that one alone.
func TestRefusedOutputIsAnAttempt(t *testing.T) {
	t.Parallel()
	for _, batch := range []bool{false, true} {
		for _, transacted := range []bool{false, true} {
			t.Run(fmt.Sprintf("batch %v, transactional %v", batch, transacted), func(t *testing.T) {
				t.Parallel()
				b := testbroker.New(t)
				from, to, group := b.Topic(1), b.Topic(1), b.Group()
				b.Produce(from, 0, values(6)...)
				small := group + ".small"
				b.CreateTopicWith(small, 1, map[string]string{"max.message.bytes": "1000"})
				var mu sync.Mutex
				calls := map[int64]int{}
				process := func(ctx context.Context, out racecar.Producer, ms []*racecar.Message) error {
					for _, m := range ms {
						mu.Lock()
						calls[m.Offset]++
						mu.Unlock()
						copied := copyOf(to, m)
						if m.Offset == 2 {
							copied.Topic, copied.Value = small, make([]byte, 2000)
						}
						if err := out.Produce(ctx, copied); err != nil {
							return err
						}
					}
					return nil
				}
				spec := racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}, Transactional: transacted}
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
				cfg.MaxRetries, cfg.DeadLetterTopic = 2, group+".dead"
				b.CreateTopic(cfg.DeadLetterTopic, 1)
				s := start(t, reg, cfg)
				waitFor(t, "the commit", func() bool { return b.Committed(group, from, 0) == 6 })
				if n := s.status().Counters[status.CountDeadLetters]; n != 1 {
					t.Errorf("%d dead letters", n)
				}
				s.stop()
				if got := readAll(t, b, cfg.DeadLetterTopic, 1)[0]; string(got.Value) != "value-2" {
					t.Errorf("dead-lettered %q", got.Value)
				}
				mu.Lock()
				defer mu.Unlock()
				// Three attempts of the whole, and of a batch as many of the message alone.
				if n := calls[2]; n < 3 || !batch && !transacted && n != 3 || n > 12 {
					t.Errorf("message 2 was called %d times", n)
				}
			})
		}
	}
}

// Of several deliveries that failed the oldest call's is dealt with first, and none is
// forgotten, whatever becomes of the call that is running.
func TestNoFailedDeliveryIsForgotten(t *testing.T) {
	a := &acks{notify: func() {}}
	first, second := errors.New("timed out"), errors.New("refused")
	a.processed.Store(5)
	a.enter()
	one := a.begin()
	a.close(span{first: 5, next: 6, n: 1}, 0)
	a.processed.Store(6)
	two := a.begin()
	two.done(second)
	if failure, _ := a.state(); !errors.Is(failure, second) {
		t.Errorf("failure %v", failure)
	}
	one.done(first)
	if failure, flying := a.state(); !errors.Is(failure, first) || flying != 0 {
		t.Errorf("failure %v, %d flying", failure, flying)
	}
	a.drop() // the running call has failed
	if failure, _ := a.state(); !errors.Is(failure, first) {
		t.Errorf("failure %v after the running call failed", failure)
	}
	if call := a.restart(); call.first != 5 || call.next != 6 || call.n != 1 {
		t.Errorf("to be repeated: %+v", call)
	}
	if failure, _ := a.state(); failure != nil || a.outstanding.Load() != 0 {
		t.Errorf("failure %v, %d outstanding", failure, a.outstanding.Load())
	}
}

// The same in a worker: message 3's output times out while message 4, whose output is
// refused, waits in Deliver.
func TestTwoDeliveriesFailDuringACall(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	from, to, group := b.Topic(1), b.Topic(1), b.Group()
	b.Produce(from, 0, values(20)...)
	refuseProduce(b, to, kerr.MessageTooLarge.Code, always)
	rec := newRecorder()
	calls := map[int64]int{}
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}}, func(rt racecar.Runtime) (*processor, error) {
		return &processor{process: func(ctx context.Context, m *racecar.Message) error {
			calls[m.Offset]++
			rec.add(m)
			switch first := calls[m.Offset] == 1; {
			case first && m.Offset == 3: // cannot be delivered: times out
				return rt.Producer.Produce(ctx, racecar.ProducerMessage{Topic: "no such topic!", Value: []byte("x"), Partition: new(int32)})
			case first && m.Offset == 4: // is refused at once
				if err := rt.Producer.Produce(ctx, racecar.ProducerMessage{Topic: to, Value: []byte("y"), Partition: new(int32)}); err != nil {
					return err
				}
				return rt.Producer.Deliver(ctx)
			}
			return nil
		}}, nil
	})
	cfg := testConfig(b, group)
	cfg.MessageTimeout = enough
	s := start(t, reg, cfg)
	waitFor(t, "the commit", func() bool { return b.Committed(group, from, 0) == 20 })
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if calls[3] != 2 {
		t.Errorf("message 3 was called %d times: its output was not delivered the first time", calls[3])
	}
}

// A call that gives up when its partition is to go has not failed, however often that
// happens.
func TestGivingUpAtLeavingIsNoAttempt(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, "a long job")
	var reported atomic.Int32
	var retries []int
	for range 4 {
		rec := newRecorder()
		reg := one(t, topic, func(ctx context.Context, m *racecar.Message) error {
			retries = append(retries, m.Retries)
			rec.add(m)
			<-racecar.Leaving(ctx)
			return errors.New("to go on elsewhere")
		})
		cfg := testConfig(b, group)
		cfg.MaxRetries, cfg.DeadLetterTopic = 2, group+".dead"
		cfg.OnError = func(context.Context, error, racecar.ErrorInfo) { reported.Add(1) }
		s := start(t, reg, cfg)
		rec.await(t, 1)
		if code := s.stop(); code != wire.ExitOK {
			t.Errorf("exit code %d", code)
		}
	}
	if !slices.Equal(retries, []int{0, 0, 0, 0}) || reported.Load() > 0 {
		t.Errorf("retries %v, %d times reported", retries, reported.Load())
	}
	if c := b.Committed(group, topic, 0); c != 0 {
		t.Errorf("committed %d", c)
	}
}

// At Leaving a batch may say how far it has come: that is committed.
func TestFailedAtAtLeaving(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(10)...)
	begun := make(chan struct{}, 10)
	var size atomic.Int64
	reg := batchRegistration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(ctx context.Context, ms []*racecar.Message) error {
		size.Store(int64(len(ms)))
		begun <- struct{}{}
		<-racecar.Leaving(ctx)
		return racecar.FailedAt(len(ms)-1, errors.New("no time for the last one"))
	})
	cfg := testConfig(b, group)
	cfg.MaxWaitTime = 2 * time.Second
	s := start(t, reg, cfg)
	<-begun
	s.stop()
	if c, want := b.Committed(group, topic, 0), size.Load()-1; c != want {
		t.Errorf("committed %d, want %d", c, want)
	}
}

// A message that always takes longer than max_poll_interval fails by that, also when its
// call heeds ctx: it is dead-lettered in the end, and what is behind it goes on.
func TestOverdueCallsAreAttempts(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, "endless", "next")
	rec := newRecorder()
	reg := one(t, topic, func(ctx context.Context, m *racecar.Message) error {
		rec.add(m)
		if m.Offset == 0 {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	cfg := testConfig(b, group)
	cfg.MaxRetries, cfg.DeadLetterTopic = 2, group+".dead"
	b.CreateTopic(cfg.DeadLetterTopic, 1)
	cfg.MaxPollInterval = time.Second
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan int)
	go func() { done <- Run(ctx, inlineOptions(t, reg, cfg)) }()
	rec.await(t, 4)
	waitFor(t, "the commit", func() bool { return b.Committed(group, topic, 0) == 2 })
	cancel()
	if code := <-done; code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if got := rec.offsets(topicPartition{topic, 0}); !slices.Equal(got, []int64{0, 0, 0, 1}) {
		t.Errorf("called %v", got)
	}
	if got := readAll(t, b, cfg.DeadLetterTopic, 1)[0]; header(got, "racecar-dlq-error") != errOverdue.Error()+": context canceled" {
		t.Errorf("error %q", header(got, "racecar-dlq-error"))
	}
}

type panickingError struct{ what string }

func (e panickingError) Error() string {
	if e.what == "Error" {
		panic("in Error")
	}
	return "an odd error"
}

func (e panickingError) Unwrap() error {
	if e.what == "Unwrap" {
		panic("in Unwrap")
	}
	if e.what == "itself" {
		return e
	}
	return nil
}

func (e panickingError) Is(error) bool {
	if e.what == "Is" {
		panic("in Is")
	}
	return false
}

func (e panickingError) As(any) bool {
	if e.what == "As" {
		panic("in As")
	}
	return false
}

type nilSlice []error

func (e nilSlice) Error() string { return e[0].Error() }

// Whatever a consumer returns or panics with is a failure of its message, and none of the
// worker.
func TestOddErrorsAreFailures(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func() error{
		"typed nil":                func() error { return (*nilError)(nil) },
		"nil slice":                func() error { return nilSlice(nil) },
		"typed nil, wrapped":       func() error { return errors.Join((*nilError)(nil)) },
		"typed nil, skipped":       func() error { return racecar.Skip((*nilError)(nil)) },
		"Error panics":             func() error { return panickingError{"Error"} },
		"Unwrap panics":            func() error { return panickingError{"Unwrap"} },
		"Is panics":                func() error { return panickingError{"Is"} },
		"As panics":                func() error { return panickingError{"As"} },
		"it unwraps to itself":     func() error { return panickingError{"itself"} },
		"panic with a typed nil":   func() error { panic((*nilError)(nil)) },
		"panic with an odd error":  func() error { panic(panickingError{"Error"}) },
		"panic with an odd string": func() error { panic(oddString{}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic, group := b.Topic(1), b.Group()
			b.Produce(topic, 0, values(3)...)
			rec := newRecorder()
			reg := one(t, topic, func(_ context.Context, m *racecar.Message) error {
				rec.add(m)
				if m.Offset == 1 && m.Retries == 0 {
					return fail()
				}
				return nil
			})
			cfg := testConfig(b, group)
			var texts []string
			var mu sync.Mutex
			cfg.OnError = func(_ context.Context, err error, _ racecar.ErrorInfo) {
				mu.Lock()
				defer mu.Unlock()
				texts = append(texts, err.Error())
			}
			s := start(t, reg, cfg, func(o *Options) { o.Emit = func(racecar.Event) {} })
			rec.await(t, 4)
			if code := s.stop(); code != wire.ExitOK {
				t.Errorf("exit code %d", code)
			}
			if got := rec.offsets(topicPartition{topic, 0}); !slices.Equal(got, []int64{0, 1, 1, 2}) {
				t.Errorf("called %v", got)
			}
			if len(texts) != 1 || texts[0] == "" {
				t.Errorf("OnError was told %q", texts)
			}
			t.Log(texts)
		})
	}
}

type oddString struct{}

func (oddString) String() string { panic("in String") }

// Errors from which a part of a batch might be taken for done loses nothing (see
// verdict.Of for what they mean).
func TestOddFailedAtLosesNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want []string // the calls
	}{
		"the smallest index":    {errors.Join(racecar.FailedAt(4, errors.New("a")), racecar.FailedAt(1, errors.New("b"))), []string{"0-5", "1-5"}},
		"beyond the batch":      {racecar.FailedAt(6, errors.New("a")), []string{"0-5", "0-5"}},
		"far beyond the batch":  {racecar.FailedAt(1000, racecar.Skip(errors.New("a"))), []string{"0-5", "0-5"}},
		"before the batch":      {racecar.FailedAt(-1, errors.New("a")), []string{"0-5", "0-5"}},
		"beside a plain error":  {errors.Join(racecar.FailedAt(4, errors.New("a")), errors.New("b")), []string{"0-5", "0-5"}},
		"skip and plain":        {errors.Join(racecar.Skip(errors.New("a")), errors.New("b")), []string{"0-5", "0-5"}},
		"skip one, fail others": {errors.Join(racecar.FailedAt(1, racecar.Skip(errors.New("a"))), racecar.FailedAt(4, errors.New("b"))), []string{"0-5", "2-5"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic, group := b.Topic(1), b.Group()
			b.Produce(topic, 0, values(6)...)
			var mu sync.Mutex
			var calls []string
			reg := batchRegistration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(_ context.Context, ms []*racecar.Message) error {
				mu.Lock()
				defer mu.Unlock()
				if calls = append(calls, fmt.Sprintf("%d-%d", ms[0].Offset, ms[len(ms)-1].Offset)); len(calls) == 1 {
					return c.err
				}
				return nil
			})
			cfg := testConfig(b, group)
			cfg.MaxWaitTime = 2 * time.Second
			s := start(t, reg, cfg)
			waitFor(t, "the commit", func() bool { return b.Committed(group, topic, 0) == 6 })
			s.stop()
			if !slices.Equal(calls, c.want) {
				t.Errorf("calls %v, want %v", calls, c.want)
			}
		})
	}
}

// Each way in which a position moves counts its messages once: what is processed, the
// head of FailedAt, what is skipped and what is dead-lettered.
func TestEachMessageIsCountedOnce(t *testing.T) {
	t.Parallel()
	for _, transacted := range []bool{false, true} {
		t.Run(fmt.Sprintf("transactional %v", transacted), func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic, group := b.Topic(1), b.Group()
			b.Produce(topic, 0, values(10)...)
			var calls atomic.Int32
			reg := batchRegistration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}, Transactional: transacted}, func(_ context.Context, ms []*racecar.Message) error {
				switch calls.Add(1) {
				case 1:
					return racecar.FailedAt(3, errors.New("retried"))
				case 2:
					return racecar.FailedAt(1, racecar.Skip(errors.New("skipped")))
				case 3:
					return racecar.FailedAt(2, racecar.DeadLetter(errors.New("dead-lettered")))
				case 4:
					if ms[0].Offset != 8 {
						t.Errorf("the fourth call begins at %d", ms[0].Offset)
					}
				}
				return nil
			})
			cfg := testConfig(b, group)
			if transacted {
				cfg = txnConfig(b, group)
			}
			cfg.MaxWaitTime, cfg.DeadLetterTopic = 2*time.Second, group+".dead"
			b.CreateTopic(cfg.DeadLetterTopic, 1)
			var seen atomic.Int32
			s := start(t, reg, cfg, func(o *Options) {
				o.Emit = func(e racecar.Event) {
					switch e := e.(type) {
					case event.ProcessBatch:
						seen.Add(int32(e.Done))
					case event.DeadLetter:
						seen.Add(1)
					}
				}
			})
			waitFor(t, "the commit", func() bool { return b.Committed(group, topic, 0) == 10 })
			r := s.status()
			got := []uint64{r.Counters[status.CountMessages], r.Counters[status.CountSkipped], r.Counters[status.CountDeadLetters], r.Counters[status.CountErrors], r.Partitions[0].Processed}
			if want := []uint64{10, 1, 1, 3, 10}; !slices.Equal(got, want) {
				t.Errorf("counted messages, skipped, dead letters, errors, the partition's: %v, want %v", got, want)
			}
			s.stop()
			if n := seen.Load(); n != 10 {
				t.Errorf("observers saw %d messages done", n)
			}
		})
	}
}

// Only the call that takes too long is cancelled, whoever says so; those beside it are
// left alone.
func TestOverdueCallsAreCancelledAlone(t *testing.T) {
	t.Parallel()
	for _, inline := range []bool{true, false} {
		t.Run(fmt.Sprintf("inline %v", inline), func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic, group := b.Topic(2), b.Group()
			b.Produce(topic, 0, "endless")
			b.Produce(topic, 1, values(10)...)
			rec := newRecorder()
			var disturbed atomic.Int32
			stuck := make(chan struct{}, 10)
			reg := one(t, topic, func(ctx context.Context, m *racecar.Message) error {
				if m.Partition == 0 {
					stuck <- struct{}{}
					<-ctx.Done()
					return ctx.Err()
				}
				select {
				case <-ctx.Done():
					disturbed.Add(1)
				case <-time.After(300 * time.Millisecond): // what the message takes
				}
				rec.add(m)
				return nil
			})
			cfg := testConfig(b, group)
			cfg.Concurrency, cfg.MaxPollInterval = 2, time.Second
			cfg.PauseTimeout = 50 * time.Millisecond
			var failed atomic.Int32
			cfg.OnError = func(_ context.Context, err error, info racecar.ErrorInfo) {
				if info.Partition != 0 || !errors.Is(err, errOverdue) {
					t.Errorf("OnError was told %v of %+v", err, info)
				}
				failed.Add(1)
			}
			if inline {
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan int)
				go func() { done <- Run(ctx, inlineOptions(t, reg, cfg)) }()
				defer func() { cancel(); <-done }()
			} else {
				s := start(t, reg, cfg)
				<-stuck
				cancel := func(offset int64) {
					s.command(wire.Command{Kind: wire.CommandCancel, Call: &wire.Call{Topic: topic, Partition: 0, FirstOffset: offset}, Reason: "the call takes longer"})
				}
				cancel(7) // which is not in hand
				waitFor(t, "the failure", func() bool { cancel(0); return failed.Load() > 0 })
			}
			rec.await(t, 10)
			waitFor(t, "the failure", func() bool { return failed.Load() > 0 })
			if n := disturbed.Load(); n > 0 {
				t.Errorf("%d calls of the other partition were cancelled", n)
			}
			if got := rec.offsets(topicPartition{topic, 1}); len(got) != 10 {
				t.Errorf("the other partition's calls: %v", got)
			}
		})
	}
}
