package event_test

import (
	"context"
	"log/slog"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
	"github.com/racecar-go/racecar/racecartest"
)

var events = []racecar.Event{
	event.StartMainLoop{}, event.MainLoop{}, event.StartProcessMessage{}, event.ProcessMessage{}, event.StartProcessBatch{}, event.ProcessBatch{},
	event.JoinGroup{}, event.LeaveGroup{}, event.PollRetry{}, event.PauseStatus{}, event.PartitionsAssigned{}, event.PartitionsRevoked{},
	event.Rebalance{}, event.OffsetGap{}, event.CommitFailed{}, event.DeadLetter{}, event.Poisoned{}, event.OutageStarted{}, event.OutageEnded{}, event.ShutDown{},
	event.ProduceMessage{}, event.DeliverMessages{}, event.ProduceSync{}, event.ProduceAsync{}, event.AcknowledgedMessage{}, event.ProduceDeliveryError{},
	event.WorkerStarted{}, event.WorkerExited{}, event.WorkerStoppedPermanently{},
}

// An event's name is its type's in upstream's spelling, and a literal can set all of its
// fields.
func TestEvents(t *testing.T) {
	upper := regexp.MustCompile(`\B[A-Z]`)
	for _, e := range events {
		kind := reflect.TypeOf(e)
		if want := strings.ToLower(upper.ReplaceAllString(kind.Name(), "_$0")); e.EventName() != want {
			t.Errorf("%s is called %s, want %s", kind.Name(), e.EventName(), want)
		}
		for i := range kind.NumField() {
			if f := kind.Field(i); !f.IsExported() || f.Anonymous {
				t.Errorf("%s.%s cannot be set by its name", kind.Name(), f.Name)
			}
		}
	}
}

// A standalone producer's events have the types of this package.
func TestEventsOfAStandaloneProducer(t *testing.T) {
	b := racecartest.NewBroker(t)
	b.Topic("out", 1)
	var mu sync.Mutex
	var got []racecar.Event
	racecar.Observe(func(e racecar.Event) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, e)
	})
	c := config.Default()
	c.Brokers, c.Logger, c.MessageTimeout = b.Addrs(), slog.New(slog.DiscardHandler), time.Second
	p, err := racecar.NewStandaloneProducer(t.Context(), &c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	key := []byte("k")
	if err := p.ProduceSync(ctx, racecar.ProducerMessage{Topic: "out", Key: key, Value: []byte("12345")}); err != nil {
		t.Fatal(err)
	}
	nowhere := int32(7)
	if err := p.ProduceAsync(ctx, racecar.ProducerMessage{Topic: "out", Partition: &nowhere, Value: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	_ = p.Close(ctx) // its error counts the message to partition 7, if that has not failed before
	mu.Lock()
	defer mu.Unlock()
	seen := map[string]racecar.Event{}
	for _, e := range got {
		seen[e.EventName()] = e
	}
	if e, ok := seen["produce_sync"].(event.ProduceSync); !ok || e.Topic != "out" || string(e.Key) != "k" || e.MessageSize != 5 || e.Duration <= 0 || e.Err != nil {
		t.Errorf("%#v", seen["produce_sync"])
	}
	if e, ok := seen["produce_async"].(event.ProduceAsync); !ok || e.Topic != "out" || e.MessageSize != 1 || e.Err != nil {
		t.Errorf("%#v", seen["produce_async"])
	}
	if e, ok := seen["acknowledged_message"].(event.AcknowledgedMessage); !ok || e != (event.AcknowledgedMessage{Topic: "out"}) {
		t.Errorf("%#v", seen["acknowledged_message"])
	}
	if e, ok := seen["produce_delivery_error"].(event.ProduceDeliveryError); !ok || e.Topic != "out" || e.Err == nil {
		t.Errorf("%#v", seen["produce_delivery_error"])
	}
}
