package appmetrics

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

const (
	labelConsumer = "consumer"
	labelWorker   = "worker"
)

// freshFor is how old a worker's metrics may be: it sends them once a second.
const freshFor = 3 * time.Second

// Slot names one of a consumer's workers, whichever process it is.
type Slot struct {
	Consumer string
	Worker   string // as in Racecar's own metrics: UserBanConsumer[0]
}

// Store holds what the workers have sent last. Its methods may be called concurrently.
type Store struct {
	warn func(family, reason string)
	now  func() time.Time

	mu     sync.Mutex
	slots  map[Slot]*slot
	types  map[string]dto.MetricType // of each family, by whoever sent it first
	warned map[string]bool
}

// slot is what is known of one.
type slot struct {
	ended   snapshot         // what processes had counted when they ended
	running map[int]*running // by pid; in a rolling restart there are two for a moment
	begun   int
}

// running is a process that runs.
type running struct {
	snapshot
	n        int       // the higher, the later it began to send
	received time.Time // when it last sent its metrics
}

// snapshot is a set of metric families by name.
type snapshot map[string]*family

// family is a metric family as one slot has it.
type family struct {
	help   string
	unit   *string
	kind   dto.MetricType
	series map[string]*dto.Metric // by labels
}

// NewStore returns an empty Store. warn is called once for each family that is left out,
// with the Store locked: it must not call it, nor block.
func NewStore(warn func(family, reason string)) *Store {
	return &Store{warn: warn, now: time.Now, slots: map[Slot]*slot{}, types: map[string]dto.MetricType{}, warned: map[string]bool{}}
}

// Update takes what a process in a slot says: all of its metrics.
func (s *Store) Update(k Slot, pid int, encoded []byte) error {
	families, err := decode(encoded)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sl := s.slots[k]
	if sl == nil {
		sl = &slot{ended: snapshot{}, running: map[int]*running{}}
		s.slots[k] = sl
	}
	r := sl.running[pid]
	if r == nil {
		sl.begun++
		r = &running{n: sl.begun}
		sl.running[pid] = r
	}
	r.received, r.snapshot = s.now(), snapshot{}
	for _, f := range families {
		if reason := s.refused(f); reason != "" {
			s.leaveOut(f.GetName(), reason)
			continue
		}
		r.take(f)
	}
	return nil
}

// Stop says that a process has ended: what it counted stays, its gauges go.
func (s *Store) Stop(k Slot, pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sl := s.slots[k]
	if sl == nil || sl.running[pid] == nil {
		return
	}
	for name, f := range sl.running[pid].snapshot {
		if f.kind == dto.MetricType_GAUGE || f.kind == dto.MetricType_UNTYPED {
			delete(sl.running[pid].snapshot, name)
		}
	}
	sl.ended.add(sl.running[pid].snapshot)
	delete(sl.running, pid)
}

// refused says why a family is left out, and remembers its type.
func (s *Store) refused(f *dto.MetricFamily) string {
	if reason := refused(f); reason != "" {
		return reason
	}
	kind, known := s.types[f.GetName()]
	if known && kind != f.GetType() {
		return fmt.Sprintf("it is a %s in one worker and a %s in another", typeName(kind), typeName(f.GetType()))
	}
	s.types[f.GetName()] = f.GetType()
	return ""
}

func typeName(t dto.MetricType) string { return strings.ToLower(t.String()) }

func (s *Store) leaveOut(name, reason string) {
	if !s.warned[name] {
		s.warned[name] = true
		s.warn(name, reason)
	}
}

func (s snapshot) take(in *dto.MetricFamily) {
	f := &family{help: in.GetHelp(), unit: in.Unit, kind: in.GetType(), series: map[string]*dto.Metric{}}
	for _, m := range in.GetMetric() {
		f.series[labelKey(m.GetLabel())] = m
	}
	s[in.GetName()] = f
}

// add adds the metrics of a process that began later: counts are added up, of all else
// its own count.
func (s snapshot) add(later snapshot) {
	for name, f := range later {
		sum := s[name]
		if sum == nil {
			sum = &family{kind: f.kind, series: map[string]*dto.Metric{}}
			s[name] = sum
		}
		sum.help, sum.unit = f.help, f.unit
		for key, m := range f.series {
			sum.series[key] = addMetrics(f.kind, sum.series[key], m)
		}
	}
}

func labelKey(labels []*dto.LabelPair) string {
	var b strings.Builder
	for _, l := range labels {
		fmt.Fprintf(&b, "%q=%q,", l.GetName(), l.GetValue())
	}
	return b.String()
}

// Families are the metrics of all workers together, sorted by name. Silent are the
// workers that run and have said nothing lately: their metrics are left out.
func (s *Store) Families() (all []*dto.MetricFamily, silent []Slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	byName := map[string]*dto.MetricFamily{}
	for _, k := range slices.SortedFunc(maps.Keys(s.slots), func(a, b Slot) int { return strings.Compare(a.Worker, b.Worker) }) {
		all, fresh := s.slots[k].now(s.now().Add(-freshFor))
		if !fresh {
			silent = append(silent, k)
			continue
		}
		for name, f := range all {
			if byName[name] == nil {
				byName[name] = &dto.MetricFamily{Name: proto.String(name), Help: proto.String(f.help), Type: f.kind.Enum(), Unit: f.unit}
			}
			byName[name].Metric = append(byName[name].Metric, f.metrics(k)...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		all = append(all, byName[name])
	}
	return all, silent
}

// now is what all processes of a slot say together; fresh is false when one of them has
// not sent its metrics since then.
func (sl *slot) now(since time.Time) (all snapshot, fresh bool) {
	all = snapshot{}
	all.add(sl.ended)
	for _, r := range slices.SortedFunc(maps.Values(sl.running), func(a, b *running) int { return a.n - b.n }) {
		if r.received.Before(since) {
			return nil, false
		}
		all.add(r.snapshot)
	}
	return all, true
}

// metrics are the family's of one slot, with its labels.
func (f *family) metrics(k Slot) (all []*dto.Metric) {
	for _, key := range slices.Sorted(maps.Keys(f.series)) {
		m := f.series[key]
		labels := append(slices.Clone(m.GetLabel()),
			&dto.LabelPair{Name: proto.String(labelConsumer), Value: proto.String(k.Consumer)},
			&dto.LabelPair{Name: proto.String(labelWorker), Value: proto.String(k.Worker)})
		slices.SortFunc(labels, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
		all = append(all, &dto.Metric{Label: labels, Counter: m.Counter, Gauge: m.Gauge, Summary: m.Summary, Untyped: m.Untyped, Histogram: m.Histogram})
	}
	return all
}

// addMetrics adds what a later process says to what earlier ones have counted, if
// anything. What is no count is the later one's.
func addMetrics(kind dto.MetricType, before, later *dto.Metric) *dto.Metric {
	if before == nil {
		return later
	}
	sum := &dto.Metric{Label: later.GetLabel()}
	switch kind {
	case dto.MetricType_COUNTER:
		sum.Counter = &dto.Counter{
			Value:            proto.Float64(before.GetCounter().GetValue() + later.GetCounter().GetValue()),
			CreatedTimestamp: before.GetCounter().GetCreatedTimestamp(),
		}
	case dto.MetricType_HISTOGRAM:
		sum.Histogram = sumHistograms(before.GetHistogram(), later.GetHistogram())
	case dto.MetricType_SUMMARY:
		a, b := before.GetSummary(), later.GetSummary()
		sum.Summary = &dto.Summary{
			SampleCount: proto.Uint64(a.GetSampleCount() + b.GetSampleCount()), SampleSum: proto.Float64(a.GetSampleSum() + b.GetSampleSum()), Quantile: b.GetQuantile(),
		}
	default:
		return later
	}
	return sum
}

// sumHistograms adds classic buckets. Where another release has other bounds, those that
// both have are added, and the earlier counts of the others are in the next bound above
// that both have. Native buckets are not carried over.
func sumHistograms(a, b *dto.Histogram) *dto.Histogram {
	sum := &dto.Histogram{SampleCount: proto.Uint64(a.GetSampleCount() + b.GetSampleCount()), SampleSum: proto.Float64(a.GetSampleSum() + b.GetSampleSum())}
	for _, bucket := range b.GetBucket() {
		bound, n := bucket.GetUpperBound(), a.GetSampleCount()
		if !math.IsInf(bound, 1) {
			n = below(a.GetBucket(), bound)
		}
		sum.Bucket = append(sum.Bucket, &dto.Bucket{UpperBound: proto.Float64(bound), CumulativeCount: proto.Uint64(n + bucket.GetCumulativeCount())})
	}
	return sum
}

// below is how many samples certainly lie at or below a bound.
func below(buckets []*dto.Bucket, bound float64) (n uint64) {
	for _, b := range buckets {
		if b.GetUpperBound() <= bound {
			n = max(n, b.GetCumulativeCount())
		}
	}
	return n
}
