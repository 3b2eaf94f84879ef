package access

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rcrowley/go-metrics"
)

// Metrics is the registry that sarama counts in.
func (a *Access) Metrics() metrics.Registry { return a.traffic }

// saramaMetrics is sarama's registry of metrics. It keeps a few figures of each broker and
// drops all others: its own meters and histograms
// cost memory per broker and topic, are never collected while a meter runs
// (go-metrics keeps them in a global list), and would leak with each client that
// is rebuilt. The alternative, metrics.UseNilMetrics, is a switch for the whole
// process, users' own use of that library included.
type saramaMetrics struct {
	mu      sync.Mutex
	brokers map[int32]*brokerTraffic
}

var _ metrics.Registry = (*saramaMetrics)(nil)

// GetOrRegister returns a metric of the type the caller's constructor would make;
// the constructor is not called, since the one of a meter registers it globally.
func (t *saramaMetrics) GetOrRegister(name string, metric any) any {
	if b, kind := t.broker(name); b != nil {
		switch kind {
		case "outgoing-byte-rate":
			return &b.sent
		case "incoming-byte-rate":
			return &b.received
		case "request-rate":
			return &b.requests
		case "response-rate":
			return &b.responses
		case "requests-in-flight":
			return &b.inFlight
		case "request-latency-in-ms":
			return &b.latency
		}
	}
	switch m := metric.(type) {
	case func() metrics.Meter:
		return metrics.NilMeter{}
	case func() metrics.Counter:
		return metrics.NilCounter{}
	case func() metrics.Histogram:
		return metrics.NilHistogram{}
	case func() metrics.Timer:
		return metrics.NilTimer{}
	case func() metrics.Gauge:
		return metrics.NilGauge{}
	default:
		return m
	}
}

// broker finds the broker of a metric by the metric's name: "request-rate-for-broker-1".
func (t *saramaMetrics) broker(name string) (*brokerTraffic, string) {
	kind, number, ok := strings.Cut(name, "-for-broker-")
	if !ok {
		return nil, ""
	}
	id, err := strconv.ParseInt(number, 10, 32)
	if err != nil {
		return nil, ""
	}
	return t.entry(int32(id)), kind
}

func (*saramaMetrics) Each(func(string, any))                    {}
func (*saramaMetrics) Get(string) any                            { return nil }
func (*saramaMetrics) GetAll() map[string]map[string]interface{} { return nil }
func (*saramaMetrics) Register(string, any) error                { return nil }
func (*saramaMetrics) RunHealthchecks()                          {}
func (*saramaMetrics) Unregister(string)                         {}
func (*saramaMetrics) UnregisterAll()                            {}

// meter counts; it has no rates.
type meter struct {
	metrics.NilMeter
	n atomic.Int64
}

func (m *meter) Mark(n int64) { m.n.Add(n) }
func (m *meter) Count() int64 { return m.n.Load() }

type counter struct {
	metrics.NilCounter
	n atomic.Int64
}

func (c *counter) Inc(n int64)  { c.n.Add(n) }
func (c *counter) Dec(n int64)  { c.n.Add(-n) }
func (c *counter) Count() int64 { return c.n.Load() }

// latency keeps mean and maximum of milliseconds.
type latency struct {
	metrics.NilHistogram
	mu              sync.Mutex
	n, sum, longest int64
}

func (l *latency) Update(ms int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	l.sum += ms
	l.longest = max(l.longest, ms)
}

// take returns both and resets them.
func (l *latency) take() (mean, longest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n > 0 {
		mean = time.Duration(l.sum) * time.Millisecond / time.Duration(l.n)
	}
	longest = time.Duration(l.longest) * time.Millisecond
	l.n, l.sum, l.longest = 0, 0, 0
	return mean, longest
}
