package supervisor

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/racecar-go/racecar/internal/appmetrics"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/fleet"
	"github.com/racecar-go/racecar/supervisor/process"
)

// numbered is a process of which nothing is asked but its number.
type numbered struct{ process.Process }

func (numbered) PID() int { return 7 }

// A process that has exited may have left messages that are read after its exit, when the
// loop was busy. Its metrics would make it one that runs and is silent for ever.
func TestMessagesReadAfterTheExitAreIgnored(t *testing.T) {
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "parcels_total"})
	registry.MustRegister(counter)
	counter.Add(3)
	encoded, err := appmetrics.GathererOf(registry).Gather()
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(wire.Metrics{Encoded: encoded})
	if err != nil {
		t.Fatal(err)
	}
	store := appmetrics.NewStore(func(family, reason string) { t.Errorf("%s is left out: %s", family, reason) })
	c := &child{id: 1, consumer: "A", name: "A[0]", version: 1, process: numbered{}}
	s := &Supervisor{opts: Options{AppMetrics: store}, workers: map[fleet.ProcID]*child{1: c}}
	last := message{c, wire.Envelope{Kind: wire.KindMetrics, Body: body}}
	s.received(time.Now(), last)
	delete(s.workers, c.id)
	s.stopMetrics(c)
	s.received(time.Now(), last)
	families, silent := store.Families()
	if len(silent) != 0 || len(families) != 1 || families[0].GetMetric()[0].GetCounter().GetValue() != 3 {
		t.Errorf("metrics %v, silent %v; want what it counted, once", families, silent)
	}
}
