package monitor

import (
	"context"
	"testing"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/racecar"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

func rebalance(n int) racecar.Event { return racecar.RebalanceEvent{Generation: int32(n)} }

func TestSubscribersGetEventsInOrder(t *testing.T) {
	log, _ := logtest.NewNullLogger()
	var first, second []int32
	note := func(to *[]int32) func(racecar.Event) {
		return func(e racecar.Event) { *to = append(*to, e.(racecar.RebalanceEvent).Generation) }
	}
	d := newDispatcher([]func(racecar.Event){note(&first), note(&second)}, log)
	for i := range 1000 {
		d.emit(rebalance(i))
	}
	d.close(t.Context()) // delivers what is queued
	for _, got := range [][]int32{first, second} {
		if len(got) != 1000 {
			t.Fatalf("%d events of 1000", len(got))
		}
		for i, g := range got {
			if int(g) != i {
				t.Fatalf("event %d is %d", i, g)
			}
		}
	}
}

func TestAPanickingSubscriberIsCalledAgainAndHurtsNobody(t *testing.T) {
	log, hook := logtest.NewNullLogger()
	calls, other := 0, 0
	d := newDispatcher([]func(racecar.Event){
		func(racecar.Event) { calls++; panic("oops") },
		func(racecar.Event) { other++ },
	}, log)
	d.emit(rebalance(1))
	for range 99 {
		d.emit(rebalance(2))
	}
	d.close(t.Context())
	if calls != 100 || other != 100 {
		t.Errorf("called %d and %d times, want 100 and 100", calls, other)
	}
	if last := hook.LastEntry(); len(hook.Entries) != 2 || last.Data["panics"] != uint64(99) { // not a line for each
		t.Errorf("%d lines, the last %+v", len(hook.Entries), last)
	}
	e := hook.Entries[0]
	if e.Level != logrus.ErrorLevel || e.Data["panic"] != "oops" || e.Data["event"] != "rebalance" || e.Data["stack"] == "" {
		t.Errorf("log: %+v", e)
	}
}

func TestABlockingSubscriberHoldsUpNobody(t *testing.T) {
	log, hook := logtest.NewNullLogger()
	release := make(chan struct{})
	begun := make(chan struct{}, 1)
	d := newDispatcher([]func(racecar.Event){func(racecar.Event) {
		select {
		case begun <- struct{}{}:
		default:
		}
		<-release
	}}, log)
	d.emit(rebalance(0))
	<-begun
	for i := range queueSize + 10 { // were it to block, the test would hang
		d.emit(rebalance(i))
	}
	if lost := d.subscribers[0].lost.Load(); lost != 10 {
		t.Errorf("%d lost, want 10", lost)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	d.close(ctx) // does not wait for it
	if e := hook.LastEntry(); e == nil || e.Data["events"] != queueSize {
		t.Errorf("log at the end: %+v", e)
	}
	close(release)
	d.wg.Wait()
	found := false
	for _, e := range hook.AllEntries() {
		found = found || e.Data["events"] == uint64(10)
	}
	if !found {
		t.Error("nothing was said about the lost events")
	}
}

func TestWorkerWithoutListenersCostsNothing(t *testing.T) {
	log, _ := logtest.NewNullLogger()
	c := config.Default()
	w, err := NewWorker(&c, nil, log)
	if err != nil {
		t.Fatal(err)
	}
	if w.Emit() != nil || w.Starts() || w.Datadog() != nil {
		t.Error("it listens to events that nobody wants")
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func TestWorkerTellsDatadogAndSubscribers(t *testing.T) {
	agent, c := udpAgent(t)
	log, _ := logtest.NewNullLogger()
	var seen []string
	w, err := NewWorker(&c, []func(racecar.Event){func(e racecar.Event) { seen = append(seen, e.EventName()) }}, log)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range everything(time.Now()) {
		w.Emit()(e)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if len(seen) != len(everything(time.Now())) || !w.Starts() {
		t.Errorf("the subscriber saw %d of %d events", len(seen), len(everything(time.Now())))
	}
	want := wanted("racecar")
	if got := agent.lines(t, len(want)); len(got) != len(want) {
		t.Errorf("datadog got %d metrics of %d", len(got), len(want))
	}
}
