package racecartest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
)

// The tests of four applications pass, and fail for each mistake in a consumer that would fail
// with a broker.
func TestApplicationSuitesFindFaults(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		suite  func(t testing.TB, fault string)
		faults map[string]string // how the suite fails
	}{
		"plain":         {plainSuite, map[string]string{"": "", "partition": "partition -1 is negative", "size": "of message.max.bytes", "ignored error": "1 of 2 receipts"}},
		"batch":         {batchSuite, map[string]string{"": "", "index": "[processed processed processed dead-lettered]", "offset": "FailedAt(1002) of a batch of 4", "buffer": "[c c d]"}},
		"transactional": {transactionalSuite, map[string]string{"": "", "default producer": "2 of 1 counts", "no transaction": "2 of 1 counts"}},
		"concurrent":    {concurrentSuite, map[string]string{"": "", "partition": "0 of 3 thumbnails", "ctx": "a call takes longer than max_poll_interval (200ms) and does not end: in hand: images/0 offset 0", "pause": "pause_timeout: -5 s must be at least 0"}},
	} {
		for fault, want := range tc.faults {
			t.Run(name+" "+fault, func(t *testing.T) {
				t.Parallel()
				f := &trial{TB: t}
				f.run(func() { tc.suite(f, fault) })
				if !strings.Contains(f.failure, want) || want == "" && f.failure != "" {
					t.Errorf("%q, want %q", f.failure, want)
				}
			})
		}
	}
}

func valued(values ...string) (all []*racecar.Message) {
	for i, v := range values {
		all = append(all, &racecar.Message{Topic: "in", Offset: int64(1000 + i), Value: []byte(v)})
	}
	return all
}

func plainSuite(t testing.TB, fault string) {
	r := racecartest.Run(t, func(rt racecar.Runtime) (racecar.ProcessFunc, error) {
		return func(ctx context.Context, m *racecar.Message) error {
			receipt, minus := racecar.ProducerMessage{Topic: "receipts", Value: m.Value}, int32(-1)
			switch fault {
			case "partition":
				receipt.Partition = &minus
			case "size", "ignored error":
				receipt.Value = bytes.Repeat(m.Value, 600_000)
			}
			if err := rt.Producer.Produce(ctx, receipt); fault != "ignored error" {
				return err
			}
			return nil
		}, nil
	}, valued("a", "bb"))
	if err := r.Err(); err != nil || len(r.Produced) != 2 {
		t.Errorf("%d of 2 receipts: %v", len(r.Produced), err)
	}
}

func batchSuite(t testing.TB, fault string) {
	var buf []byte
	r := racecartest.Run(t, func(rt racecar.Runtime) (racecar.ProcessBatchFunc, error) {
		return func(ctx context.Context, batch []*racecar.Message) (err error) {
			var events []racecar.ProducerMessage
			for i, m := range batch {
				if string(m.Value) == "bad" {
					at := map[string]int{"index": i + 1, "offset": int(m.Offset), "buffer": i, "": i}[fault]
					err = racecar.FailedAt(at, racecar.DeadLetter(errors.New("bad")))
					break
				}
				if fault != "buffer" {
					buf = nil
				}
				buf = append(buf[:0], m.Value...)
				events = append(events, racecar.ProducerMessage{Topic: "events", Value: buf})
			}
			for _, e := range events {
				err = errors.Join(err, rt.Producer.Produce(ctx, e))
			}
			return err
		}, nil
	}, valued("a", "c", "bad", "d"))
	var produced []string
	for _, p := range r.Produced {
		produced = append(produced, string(p.Value))
	}
	if got := fmt.Sprintf("%v %v", verdicts(r), produced); got != "[processed processed dead-lettered processed] [a c d]" {
		t.Errorf("%s, %v", got, r.Err())
	}
}

func transactionalSuite(t testing.TB, fault string) {
	b := racecartest.NewBroker(t)
	b.Topic("words", 1)
	b.Produce(racecar.ProducerMessage{Topic: "words", Value: []byte("a")})
	racecartest.RunWorker(t, b, func(rt racecar.Runtime) (racecar.ProcessFunc, error) {
		return func(ctx context.Context, m *racecar.Message) error {
			produce := map[string]func(context.Context, racecar.ProducerMessage) error{"": rt.Producer.Produce, "no transaction": rt.Producer.Produce, "default producer": racecar.ProduceSync}
			if err := produce[fault](ctx, racecar.ProducerMessage{Topic: "counts", Value: m.Value}); err != nil || m.Retries > 0 {
				return err
			}
			return errors.New("the first call fails")
		}, nil
	}, racecartest.WithSpec(racecar.Spec{Name: "Counter", Transactional: fault != "no transaction", Subscriptions: []racecar.Subscription{{Topic: "words"}}}))
	b.WaitConsumed("counter", "words")
	if n := len(b.Messages("counts")); n != 1 {
		t.Errorf("%d of 1 counts", n)
	}
}

func concurrentSuite(t testing.TB, fault string) {
	b := racecartest.NewBroker(t)
	b.Topic("images", 3)
	b.Topic("thumbnails", 3)
	w := racecartest.RunWorker(t, b, func(rt racecar.Runtime) (racecar.ProcessFunc, error) {
		return func(ctx context.Context, m *racecar.Message) error {
			if string(m.Value) == "huge" {
				<-map[string]context.Context{"": ctx, "partition": ctx, "ctx": t.Context()}[fault].Done()
				return ctx.Err()
			}
			to := m.Partition + map[string]int32{"partition": 3}[fault]
			return rt.Producer.Produce(ctx, racecar.ProducerMessage{Topic: "thumbnails", Partition: &to, Value: m.Value})
		}, nil
	}, racecartest.WithSpec(racecar.Spec{Name: "Thumbnails", Concurrency: 3, MaxRetries: 1, DeadLetterTopic: "dead", Subscriptions: []racecar.Subscription{{Topic: "images"}}}), racecartest.WithConfig(func(c *racecar.Config) {
		c.MaxPollInterval, c.ShutdownTimeout = 200*time.Millisecond, time.Second
		if fault == "pause" {
			c.PauseTimeout = -5 * time.Second
		}
	}))
	for _, v := range []string{"huge", "1", "2", "3"} {
		b.Produce(racecar.ProducerMessage{Topic: "images", Value: []byte(v)})
	}
	w.WaitProcessed(4)
	b.WaitConsumed("thumbnails", "images")
	if n, dead := len(b.Messages("thumbnails")), b.Messages("dead"); n != 3 || len(dead) != 1 || string(dead[0].Value) != "huge" {
		t.Errorf("%d of 3 thumbnails, %d dead letters", n, len(dead))
	}
}
