package appmetrics

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

// process is a worker's process with metrics of its own.
type process struct {
	*prometheus.Registry
	t *testing.T
}

func newProcess(t *testing.T) process { return process{prometheus.NewPedanticRegistry(), t} }

func (p process) encoded() []byte {
	p.t.Helper()
	b, err := GathererOf(p.Registry).Gather()
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

func (p process) counter(name string, v float64, labels ...string) process {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: "h"}, names(labels))
	p.MustRegister(c)
	c.WithLabelValues(values(labels)...).Add(v)
	return p
}

func (p process) gauge(name string, v float64) process {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: "h"})
	p.MustRegister(g)
	g.Set(v)
	return p
}

func (p process) histogram(name string, bounds []float64, samples ...float64) process {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: "h", Buckets: bounds})
	p.MustRegister(h)
	for _, v := range samples {
		h.Observe(v)
	}
	return p
}

func (p process) summary(name string, samples ...float64) process {
	s := prometheus.NewSummary(prometheus.SummaryOpts{Name: name, Help: "h"})
	p.MustRegister(s)
	for _, v := range samples {
		s.Observe(v)
	}
	return p
}

func names(labels []string) (all []string) {
	for _, l := range labels {
		name, _, _ := strings.Cut(l, "=")
		all = append(all, name)
	}
	return all
}

func values(labels []string) (all []string) {
	for _, l := range labels {
		_, value, _ := strings.Cut(l, "=")
		all = append(all, value)
	}
	return all
}

var (
	a0 = Slot{"A", "A[0]"}
	a1 = Slot{"A", "A[1]"}
)

// bed is a Store with a clock and the warnings it gave.
type bed struct {
	*Store
	t      *testing.T
	clock  time.Time
	warned []string
}

func newBed(t *testing.T) *bed {
	b := &bed{t: t, clock: time.Unix(100, 0)}
	b.Store = NewStore(func(family, reason string) { b.warned = append(b.warned, family+": "+reason) })
	b.now = func() time.Time { return b.clock }
	return b
}

func (b *bed) update(k Slot, pid int, p process) {
	b.t.Helper()
	if err := b.Update(k, pid, p.encoded()); err != nil {
		b.t.Fatal(err)
	}
}

// expect compares the metrics as a scrape would show them, without comments.
func (b *bed) expect(want ...string) {
	b.t.Helper()
	families, _ := b.Families()
	var got []string
	for _, f := range families {
		var text strings.Builder
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			b.t.Fatal(err)
		}
		for line := range strings.Lines(text.String()) {
			if !strings.HasPrefix(line, "#") {
				got = append(got, strings.TrimSpace(line))
			}
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		b.t.Error(d)
	}
}

func TestWorkersHaveTheirOwnLabels(t *testing.T) {
	b := newBed(t)
	b.update(a0, 1, newProcess(t).counter("orders_total", 3, "kind=x").gauge("pool", 2))
	b.update(a1, 2, newProcess(t).counter("orders_total", 4, "kind=x"))
	b.expect(
		`orders_total{consumer="A",kind="x",worker="A[0]"} 3`,
		`orders_total{consumer="A",kind="x",worker="A[1]"} 4`,
		`pool{consumer="A",worker="A[0]"} 2`,
	)
}

func TestCountersOutliveTheProcess(t *testing.T) {
	b := newBed(t)
	b.update(a0, 1, newProcess(t).counter("orders_total", 3).gauge("pool", 2).
		histogram("seconds", []float64{1, 2}, 0.5, 1.5, 9).summary("size", 10, 20))
	for _, step := range []struct {
		name string
		do   func()
		want []string
	}{
		{"the end of a process", func() { b.Stop(a0, 1) }, []string{
			`orders_total{consumer="A",worker="A[0]"} 3`,
			`seconds_bucket{consumer="A",worker="A[0]",le="1"} 1`, `seconds_bucket{consumer="A",worker="A[0]",le="2"} 2`, `seconds_bucket{consumer="A",worker="A[0]",le="+Inf"} 3`,
			`seconds_sum{consumer="A",worker="A[0]"} 11`, `seconds_count{consumer="A",worker="A[0]"} 3`,
			`size_sum{consumer="A",worker="A[0]"} 30`, `size_count{consumer="A",worker="A[0]"} 2`,
		}},
		{"the next one", func() {
			b.update(a0, 2, newProcess(t).counter("orders_total", 1).histogram("seconds", []float64{1, 2}, 1.5))
		}, []string{
			`orders_total{consumer="A",worker="A[0]"} 4`,
			`seconds_bucket{consumer="A",worker="A[0]",le="1"} 1`, `seconds_bucket{consumer="A",worker="A[0]",le="2"} 3`, `seconds_bucket{consumer="A",worker="A[0]",le="+Inf"} 4`,
			`seconds_sum{consumer="A",worker="A[0]"} 12.5`, `seconds_count{consumer="A",worker="A[0]"} 4`,
			`size_sum{consumer="A",worker="A[0]"} 30`, `size_count{consumer="A",worker="A[0]"} 2`,
		}},
		{"one that nobody ended", func() {
			b.update(a0, 3, newProcess(t).counter("orders_total", 5).histogram("seconds", []float64{0.5, 2, 3}, 0.1))
		}, []string{
			`orders_total{consumer="A",worker="A[0]"} 9`,
			`seconds_bucket{consumer="A",worker="A[0]",le="0.5"} 1`, `seconds_bucket{consumer="A",worker="A[0]",le="2"} 4`, `seconds_bucket{consumer="A",worker="A[0]",le="3"} 4`,
			`seconds_bucket{consumer="A",worker="A[0]",le="+Inf"} 5`,
			`seconds_sum{consumer="A",worker="A[0]"} 12.6`, `seconds_count{consumer="A",worker="A[0]"} 5`,
			`size_sum{consumer="A",worker="A[0]"} 30`, `size_count{consumer="A",worker="A[0]"} 2`,
		}},
	} {
		step.do()
		t.Run(step.name, func(t *testing.T) { b.t = t; b.expect(step.want...) })
	}
}

// In a rolling restart the new process sends metrics while the old one still does.
func TestTwoProcessesOfOneSlot(t *testing.T) {
	b := newBed(t)
	for i := range 3 {
		b.update(a0, 1, newProcess(t).counter("orders_total", float64(3+i)).gauge("pool", 1))
		b.update(a0, 2, newProcess(t).counter("orders_total", 1).gauge("pool", 7))
	}
	b.expect(`orders_total{consumer="A",worker="A[0]"} 6`, `pool{consumer="A",worker="A[0]"} 7`)
	b.Stop(a0, 1)
	b.Stop(a0, 1)
	b.Stop(a1, 9)
	b.expect(`orders_total{consumer="A",worker="A[0]"} 6`, `pool{consumer="A",worker="A[0]"} 7`)
	b.Stop(a0, 2)
	b.expect(`orders_total{consumer="A",worker="A[0]"} 6`)
}

func TestSilentWorkersAreLeftOut(t *testing.T) {
	b := newBed(t)
	b.update(a0, 1, newProcess(t).counter("orders_total", 3))
	b.clock = b.clock.Add(freshFor)
	b.update(a1, 2, newProcess(t).counter("orders_total", 4))
	if _, silent := b.Families(); silent != nil {
		t.Errorf("silent at once: %v", silent)
	}
	b.clock = b.clock.Add(time.Millisecond)
	if _, silent := b.Families(); len(silent) != 1 || silent[0] != a0 {
		t.Errorf("silent: %v", silent)
	}
	b.expect(`orders_total{consumer="A",worker="A[1]"} 4`)
	b.Stop(a0, 1) // what has ended is not silent: it says no more
	b.expect(`orders_total{consumer="A",worker="A[0]"} 3`, `orders_total{consumer="A",worker="A[1]"} 4`)
}

func TestFamiliesThatCannotBeShown(t *testing.T) {
	b := newBed(t)
	for range 2 {
		b.update(a0, 1, newProcess(t).counter("racecar_orders_total", 1).counter("labelled_total", 1, "worker=x").counter("both_total", 1, "consumer=x").counter("good_total", 1).gauge("thing", 1))
		b.update(a1, 2, newProcess(t).counter("thing", 1))
	}
	b.expect(`good_total{consumer="A",worker="A[0]"} 1`, `thing{consumer="A",worker="A[0]"} 1`)
	want := []string{
		`both_total: Racecar sets the label "consumer" itself`,
		`labelled_total: Racecar sets the label "worker" itself`,
		`racecar_orders_total: names that begin with racecar_ are Racecar's own`,
		`thing: it is a gauge in one worker and a counter in another`,
	}
	if d := cmp.Diff(want, b.warned); d != "" {
		t.Error(d)
	}
}

func TestNonsenseIsRefused(t *testing.T) {
	b := newBed(t)
	b.update(a0, 1, newProcess(t).counter("orders_total", 3))
	for _, bad := range [][]byte{[]byte("\x05abc"), make([]byte, MaxSize+1), []byte("\xff\xff\xff\xff\x0fabc")} {
		if err := b.Update(a0, 1, bad); err == nil {
			t.Errorf("%d bytes of nonsense were taken", len(bad))
		}
	}
	b.expect(`orders_total{consumer="A",worker="A[0]"} 3`)
}

func TestGather(t *testing.T) {
	g, err := NewGatherer()
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := g.Gather() // of the default registry, which has metrics of Go and the process
	if err != nil || len(encoded) != 0 {
		families, _ := decode(encoded)
		t.Errorf("without metrics of consumer code: %v, %v", families, err)
	}
	p := newProcess(t).counter("orders_total", 3).counter("process_orders_total", 2)
	p.MustRegister(broken{})
	g.from = p.Registry
	encoded, err = g.Gather()
	if err == nil || !strings.Contains(err.Error(), "does not work") {
		t.Errorf("a collector that fails: %v", err)
	}
	families, derr := decode(encoded)
	if derr != nil || len(families) != 2 {
		t.Errorf("%v, %v beside it", families, derr)
	}
	many := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "many"}, []string{"id"})
	for i := range 60000 {
		many.WithLabelValues(fmt.Sprintf("%0100d", i)).Set(1)
	}
	p = newProcess(t)
	p.MustRegister(many)
	g.from = p.Registry
	if encoded, err = g.Gather(); err == nil || encoded != nil || !strings.Contains(err.Error(), "reduce the number of label values") {
		t.Errorf("%d bytes, %v", len(encoded), err)
	}
}

// broken is a collector that fails.
type broken struct{}

func (broken) Describe(chan<- *prometheus.Desc) {}
func (broken) Collect(out chan<- prometheus.Metric) {
	out <- prometheus.NewInvalidMetric(prometheus.NewDesc("bad", "h", nil, nil), errors.New("does not work"))
}
