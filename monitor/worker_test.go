package monitor

import (
	"testing"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/racecar"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

func TestWorkerWithoutSubscribersHasNoEmit(t *testing.T) {
	log, _ := logtest.NewNullLogger()
	c := config.Default()
	w, err := NewWorker(&c, nil, log)
	if err != nil {
		t.Fatal(err)
	}
	if w.Emit() != nil || w.Starts() || w.Datadog() != nil {
		t.Error("it takes events that nobody wants")
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func TestWorkerReportsToDatadogAndSubscribers(t *testing.T) {
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
	want := expected("racecar")
	if got := agent.lines(t, len(want)); len(got) != len(want) {
		t.Errorf("datadog got %d metrics of %d", len(got), len(want))
	}
}
