package dispatch

import (
	"context"
	"testing"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

type rebalance int

func (rebalance) EventName() string { return "rebalance" }

func TestSubscribersGetEventsInOrder(t *testing.T) {
	log, _ := logtest.NewNullLogger()
	var first, second []rebalance
	note := func(to *[]rebalance) func(rebalance) {
		return func(e rebalance) { *to = append(*to, e) }
	}
	d := New([]func(rebalance){note(&first), note(&second)}, log)
	for i := range 1000 {
		d.Emit(rebalance(i))
	}
	d.Close(t.Context()) // delivers what is queued
	for _, got := range [][]rebalance{first, second} {
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
	d := New([]func(rebalance){
		func(rebalance) { calls++; panic("oops") },
		func(rebalance) { other++ },
	}, log)
	d.Emit(rebalance(1))
	for range 99 {
		d.Emit(rebalance(2))
	}
	d.Close(t.Context())
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
	d := New([]func(rebalance){func(rebalance) {
		select {
		case begun <- struct{}{}:
		default:
		}
		<-release
	}}, log)
	d.Emit(rebalance(0))
	<-begun
	for i := range queueSize + 10 { // were it to block, the test would hang
		d.Emit(rebalance(i))
	}
	if lost := d.subscribers[0].lost.Load(); lost != 10 {
		t.Errorf("%d lost, want 10", lost)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	d.Close(ctx) // does not wait for it
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

func TestInCall(t *testing.T) {
	var in bool
	var deep func(int)
	deep = func(n int) {
		if in = InCall(); n > 0 {
			deep(n - 1)
		}
	}
	if deep(0); in {
		t.Error("nobody called us")
	}
	Call(func() { deep(100) })
	if !in {
		t.Error("called, and does not know it")
	}
}
