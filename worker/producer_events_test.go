package worker

import (
	"context"
	"sync"
	"testing"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// Observers receive an event for each message a consumer produces, and for starts only when
// they want to.
func TestEventsOfProducing(t *testing.T) {
	for _, starts := range []bool{true, false} {
		b := testbroker.New(t)
		from, to, group := b.Topic(1), b.Topic(1), b.Group()
		b.Produce(from, 0, values(3)...)
		rec := newRecorder()
		reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}}, func(rt racecar.Runtime) (*processor, error) {
			p := &processor{out: rt.Producer}
			p.process = func(ctx context.Context, m *racecar.Message) error {
				defer rec.add(m)
				for range 2 {
					if err := p.out.Produce(ctx, racecar.ProducerMessage{Topic: to, Value: []byte("value")}); err != nil {
						return err
					}
				}
				return p.out.Deliver(ctx)
			}
			return p, nil
		})
		var mu sync.Mutex
		seen := map[string]int{}
		delivered := 0
		s := start(t, reg, testConfig(b, group), func(o *Options) {
			o.EmitStarts = starts
			o.Emit = func(e racecar.Event) {
				mu.Lock()
				defer mu.Unlock()
				seen[e.EventName()]++
				switch e := e.(type) {
				case event.ProduceMessage:
					if e.Topic != to || e.MessageSize != 5 || e.BufferSize < 1 || e.Err != nil {
						t.Errorf("%+v", e)
					}
				case event.DeliverMessages:
					delivered += e.Messages
				}
			}
		})
		rec.await(t, 3)
		s.stop()
		mu.Lock()
		want := map[string]int{"produce_message": 6, "acknowledged_message": 6, "deliver_messages": 3, "process_message": 3, "start_process_message": 0}
		if starts {
			want["start_process_message"] = 3
		}
		for name, n := range want {
			if seen[name] != n {
				t.Errorf("starts %t: %d of %s, want %d", starts, seen[name], name, n)
			}
		}
		if delivered == 0 || delivered > 6 {
			t.Errorf("%d messages waited for", delivered)
		}
		mu.Unlock()
	}
}
