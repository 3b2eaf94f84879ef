package racecartest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/racecar-go/racecar/racecar"
)

// noting is a middleware that notes the offsets and the result of each call.
func noting(name string, diary *[]string) func(racecar.Handler) racecar.Handler {
	return func(next racecar.Handler) racecar.Handler {
		return func(ctx context.Context, ms []*racecar.Message) error {
			err := next(ctx, ms)
			*diary = append(*diary, fmt.Sprintf("%s %d %v", name, ms[0].Offset, err))
			return err
		}
	}
}

func diaryOf(diary *[]string) Option {
	return func(o *options) {
		o.middlewares = []func(racecar.Handler) racecar.Handler{noting("all", diary)}
	}
}

func TestMiddlewaresRunInTests(t *testing.T) {
	var diary []string
	spec := racecar.Spec{Name: "C", GroupID: "c", Subscriptions: []racecar.Subscription{{Topic: "in"}}, Use: []func(racecar.Handler) racecar.Handler{noting("one", &diary)}}
	newConsumer := func(racecar.Runtime) (racecar.ProcessFunc, error) {
		return func(_ context.Context, m *racecar.Message) error {
			if string(m.Value) == "bad" {
				return racecar.Skip(errors.New("bad"))
			}
			return nil
		}, nil
	}
	const want = "one 0 <nil>; all 0 <nil>; one 1 bad; all 1 bad"
	Run(t, newConsumer, []*racecar.Message{{Topic: "in", Value: []byte("good")}, {Topic: "in", Offset: 1, Value: []byte("bad")}}, WithSpec(spec), diaryOf(&diary))
	if got := strings.Join(diary, "; "); got != want {
		t.Errorf("Run: %s, want %s", got, want)
	}
	diary = nil
	Run(t, func(racecar.Runtime) (racecar.ProcessBatchFunc, error) {
		return func(context.Context, []*racecar.Message) error { return nil }, nil
	}, []*racecar.Message{{Topic: "in"}, {Topic: "in", Offset: 1}}, WithSpec(spec), diaryOf(&diary))
	if got := strings.Join(diary, "; "); got != "one 0 <nil>; all 0 <nil>" {
		t.Errorf("Run with a batch: %s", got)
	}

	diary = nil
	b := NewBroker(t)
	b.Topic("in", 1)
	w := RunWorker(t, b, newConsumer, WithSpec(spec), diaryOf(&diary))
	w.FailNext(1, errors.New("injected"))
	b.Produce(racecar.ProducerMessage{Topic: "in", Value: []byte("good")})
	b.Produce(racecar.ProducerMessage{Topic: "in", Value: []byte("bad")})
	b.WaitConsumed("c", "in")
	w.Stop()
	if got := strings.Join(diary, "; "); got != "one 0 injected; all 0 injected; "+want {
		t.Errorf("RunWorker: %s", got)
	}
}
