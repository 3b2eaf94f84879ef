package worker

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// A consumer may do with its batch what it likes: events have the messages all the same.
func TestClearedBatchesAreReportedWhole(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(3)...)
	reg := batchRegistration(t, racecar.Spec{Name: "Clearing" + topic, Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(_ context.Context, ms []*racecar.Message) error {
		clear(ms)
		return nil
	})
	cfg := testConfig(b, group)
	cfg.MaxWaitTime = 100 * time.Millisecond
	var mu sync.Mutex
	offsets := map[string][]int64{}
	note := func(name string, ms []*racecar.Message) {
		mu.Lock()
		defer mu.Unlock()
		for _, m := range ms {
			if m == nil {
				t.Errorf("%s has no message", name)
				return
			}
			offsets[name] = append(offsets[name], m.Offset)
		}
	}
	s := start(t, reg, cfg, func(o *Options) {
		o.EmitStarts = true
		o.Emit = func(e racecar.Event) {
			switch e := e.(type) {
			case event.StartProcessBatch:
				note(e.EventName(), e.Messages)
			case event.ProcessBatch:
				note(e.EventName(), e.Messages)
			}
		}
	})
	waitFor(t, "the commit", func() bool { return b.Committed(group, topic, 0) == 3 })
	s.stop()
	mu.Lock()
	defer mu.Unlock()
	for _, name := range []string{"start_process_batch", "process_batch"} {
		if len(offsets[name]) != 3 {
			t.Errorf("%s: offsets %v", name, offsets[name])
		}
	}
}
