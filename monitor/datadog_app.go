package monitor

import (
	"math"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/racecar-go/racecar/internal/appmetrics"
)

// appSink sends the metrics that consumer code has registered with Prometheus' default
// registerer to Datadog as well: counters as counts, gauges as gauges, of histograms and
// summaries .count and .sum as counts. It asks from a goroutine of its own, since a
// collector is consumer code and may take long.
type appSink struct {
	datadog  *Datadog
	gatherer *appmetrics.Gatherer
	sent     map[string]float64 // of each count: the value that Datadog has
	stop     chan struct{}
	done     chan struct{}
	once     sync.Once
}

func newAppSink(d *Datadog, g *appmetrics.Gatherer) *appSink {
	a := &appSink{datadog: d, gatherer: g, sent: map[string]float64{}, stop: make(chan struct{}), done: make(chan struct{})}
	go a.loop()
	return a
}

// close sends what is left, if that does not take longer than wait.
func (a *appSink) close(wait time.Duration) {
	a.once.Do(func() { close(a.stop) })
	select {
	case <-a.done:
	case <-time.After(wait):
	}
}

func (a *appSink) loop() {
	defer close(a.done)
	tick := time.NewTicker(flushInterval)
	defer tick.Stop()
	for last := false; !last; {
		select {
		case <-tick.C:
		case <-a.stop:
			last = true
		}
		if a.datadog.agent.client.Load() == nil {
			continue // what is counted meanwhile is sent once there is an agent
		}
		families, err := a.gatherer.Families()
		if err != nil {
			a.datadog.log.WithError(err).Debug("metrics of consumer code could not be gathered")
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				a.send(f.GetName(), f.GetType(), m)
			}
		}
	}
}

func (a *appSink) send(name string, kind dto.MetricType, m *dto.Metric) {
	var tags []string
	for _, l := range m.GetLabel() {
		tags = append(tags, tag(l.GetName()+":"+l.GetValue()))
	}
	switch kind {
	case dto.MetricType_COUNTER:
		a.count(name, m.GetCounter().GetValue(), tags)
	case dto.MetricType_GAUGE:
		a.datadog.gauge(name, m.GetGauge().GetValue(), tags)
	case dto.MetricType_HISTOGRAM:
		a.count(name+".count", float64(m.GetHistogram().GetSampleCount()), tags)
		a.count(name+".sum", m.GetHistogram().GetSampleSum(), tags)
	case dto.MetricType_SUMMARY:
		a.count(name+".count", float64(m.GetSummary().GetSampleCount()), tags)
		a.count(name+".sum", m.GetSummary().GetSampleSum(), tags)
	case dto.MetricType_UNTYPED:
		a.datadog.gauge(name, m.GetUntyped().GetValue(), tags)
	}
}

// count sends what has been added since the last time, in whole numbers, as Datadog's
// protocol has them; the rest waits for the next.
func (a *appSink) count(name string, v float64, tags []string) {
	key := name
	for _, t := range tags {
		key += "|" + t
	}
	if n := math.Floor(v - a.sent[key]); n > 0 {
		a.datadog.count(name, int64(n), tags)
		a.sent[key] += n
	}
}
