package kafka

import "github.com/rcrowley/go-metrics"

// noMetrics makes sarama count nothing. Its meters and histograms cost memory
// per broker and topic, are never collected while a meter runs (go-metrics
// keeps them in a global list), and would leak with each client that is
// rebuilt. The alternative, metrics.UseNilMetrics, is a switch for the whole
// process, users' own use of that library included.
type noMetrics struct{}

var _ metrics.Registry = noMetrics{}

// GetOrRegister returns a metric that does nothing, of the type the caller's
// constructor would make; the constructor is not called, since the one of a
// meter registers it globally.
func (noMetrics) GetOrRegister(_ string, metric any) any {
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

func (noMetrics) Each(func(string, any))                    {}
func (noMetrics) Get(string) any                            { return nil }
func (noMetrics) GetAll() map[string]map[string]interface{} { return nil }
func (noMetrics) Register(string, any) error                { return nil }
func (noMetrics) RunHealthchecks()                          {}
func (noMetrics) Unregister(string)                         {}
func (noMetrics) UnregisterAll()                            {}
