// Package appmetrics carries the metrics of consumer code from the workers to the
// supervisor's /metrics.
//
// Consumer code registers them with prometheus.DefaultRegisterer, as any Go program
// does, and has no page of its own: each worker is a process, and comes and goes. A
// worker gathers them (Gather) and sends them to its supervisor, which adds the labels
// consumer and worker and adds up what the processes of one slot have counted one after
// the other (Store).
package appmetrics

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// MaxSize is the most bytes of a worker's encoded metrics. A worker whose metrics take
// more sends none: so many series are somebody's mistake.
const MaxSize = 4 << 20

// encoding is length-delimited protocol buffers, which keep what the text format loses.
var encoding = expfmt.NewFormat(expfmt.TypeProtoDelim)

// Gatherer gathers the metrics of consumer code. It is for one goroutine at a time.
type Gatherer struct {
	from prometheus.Gatherer
	// runtime are the names of the families that the default registry has of itself, about
	// Go's runtime and the process: the supervisor reports a worker's memory and CPU time.
	runtime map[string]bool
}

// NewGatherer returns a Gatherer of prometheus.DefaultGatherer.
func NewGatherer() (*Gatherer, error) {
	own := prometheus.NewRegistry()
	own.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	families, err := own.Gather()
	if err != nil {
		return nil, err
	}
	g := &Gatherer{from: prometheus.DefaultGatherer, runtime: map[string]bool{}}
	for _, f := range families {
		g.runtime[f.GetName()] = true
	}
	return g, nil
}

// GathererOf returns a Gatherer of another registry, all of which is consumer code's.
func GathererOf(from prometheus.Gatherer) *Gatherer { return &Gatherer{from: from} }

// Families returns the metrics as they are now. The error joins those of single
// collectors: the other metrics are returned beside it.
func (g *Gatherer) Families() ([]*dto.MetricFamily, error) {
	families, err := g.from.Gather()
	return slices.DeleteFunc(families, func(f *dto.MetricFamily) bool { return g.runtime[f.GetName()] }), err
}

// Gather is Families, encoded; empty: there are none.
func (g *Gatherer) Gather() ([]byte, error) {
	families, err := g.Families()
	var out bytes.Buffer
	encoder := expfmt.NewEncoder(&out, encoding)
	for _, f := range families {
		if err := encoder.Encode(f); err != nil {
			return nil, fmt.Errorf("metric %s: %w", f.GetName(), err)
		}
		if out.Len() > MaxSize {
			return nil, fmt.Errorf("the metrics of consumer code take more than %d MiB: reduce the number of label values", MaxSize>>20)
		}
	}
	return out.Bytes(), err
}

// decode is the inverse of Gather's encoding.
func decode(encoded []byte) ([]*dto.MetricFamily, error) {
	if len(encoded) > MaxSize {
		return nil, fmt.Errorf("metrics of %d bytes, more than %d", len(encoded), MaxSize)
	}
	var families []*dto.MetricFamily
	decoder := expfmt.NewDecoder(bytes.NewReader(encoded), encoding)
	for {
		f := &dto.MetricFamily{}
		switch err := decoder.Decode(f); {
		case errors.Is(err, io.EOF):
			return families, nil
		case err != nil:
			return nil, fmt.Errorf("metrics: %w", err)
		}
		families = append(families, f)
	}
}

// Ours begins the names of Racecar's own metrics.
const Ours = "racecar_"

// refused says why a family is left out; empty: it is not.
func refused(f *dto.MetricFamily) string {
	if strings.HasPrefix(f.GetName(), Ours) {
		return "names that begin with " + Ours + " are Racecar's own"
	}
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == labelConsumer || l.GetName() == labelWorker {
				return fmt.Sprintf("Racecar sets the label %q itself", l.GetName())
			}
		}
	}
	return ""
}
