package monitor

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/racecar-go/racecar/internal/appmetrics"
)

func TestDatadogGetsTheMetricsOfConsumerCode(t *testing.T) {
	agent, c := udpAgent(t)
	log, _ := logtest.NewNullLogger()
	d, err := NewDatadog(&c, log)
	if err != nil {
		t.Fatal(err)
	}
	own := prometheus.NewRegistry()
	orders := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "orders_total"}, []string{"kind"})
	pool := prometheus.NewGauge(prometheus.GaugeOpts{Name: "pool"})
	took := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "took_seconds"})
	size := prometheus.NewSummary(prometheus.SummaryOpts{Name: "size"})
	own.MustRegister(orders, pool, took, size)
	orders.WithLabelValues("a|b").Add(2.5)
	pool.Set(1.5)
	took.Observe(1.25)
	took.Observe(2)
	size.Observe(7)
	a := &appSink{datadog: d, gatherer: appmetrics.GathererOf(own), sent: map[string]float64{}, stop: make(chan struct{}), done: make(chan struct{})}
	close(a.stop)
	for range 2 { // what was sent is not sent again
		a.done = make(chan struct{})
		a.loop()
	}
	orders.WithLabelValues("a|b").Add(0.5)
	a.done = make(chan struct{})
	a.loop()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	want := map[string][]float64{
		"racecar.orders_total|c|env:test,kind:a_b": {3}, "racecar.pool|g|env:test": {1.5},
		"racecar.took_seconds.count|c|env:test": {2}, "racecar.took_seconds.sum|c|env:test": {3},
		"racecar.size.count|c|env:test": {1}, "racecar.size.sum|c|env:test": {7},
	}
	if diff := cmp.Diff(want, agent.lines(t, len(want))); diff != "" {
		t.Error(diff)
	}
}
