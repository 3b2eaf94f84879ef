package monitor

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/racecar-go/racecar/internal/appmetrics"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/sirupsen/logrus"
)

// metric describes a metric of ours. Dashboards depend on the names, so they do not change.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func counter(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("racecar_"+name, help, labels, nil), prometheus.CounterValue}
}

func gauge(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("racecar_"+name, help, labels, nil), prometheus.GaugeValue}
}

// The metrics, in the order of docs.
var (
	metricStart      = gauge("start_time_seconds", "When the supervisor started, in seconds since the epoch.")
	metricSupervisor = gauge("supervisor_memory_bytes", "Resident memory of the supervisor.")
	metricRestarts   = counter("worker_restarts_total", "Workers that were replaced, by reason.", "reason")
	metricDesired    = gauge("workers_desired", "Desired number of workers of a consumer.", "consumer", "group")
	metricStates     = gauge("workers", "Workers of a consumer, by state.", "consumer", "group", "state")
	metricTimes      = prometheus.NewDesc("racecar_process_seconds", "How long calls of Process or ProcessBatch took.", []string{"consumer", "group"}, nil)
	metricCPU        = counter("cpu_seconds_total", "CPU time of a consumer's workers.", "consumer", "group")
	metricFatal      = gauge("consumer_fatal", "1 if a consumer has stopped permanently.", "consumer", "group")
	metricOutage     = gauge("consumer_outage", "1 while consumer code finds a dependency unavailable.", "consumer", "dependency")
	metricInOutage   = counter("consumer_outage_seconds_total", "How long consumer code has found a dependency unavailable.", "consumer", "dependency")
	metricLive       = gauge("worker_live", "1 while no call of a worker takes longer than max_poll_interval.", "consumer", "worker")
	metricMemory     = gauge("worker_memory_bytes", "Resident memory of a worker.", "consumer", "worker")
	metricSince      = gauge("worker_start_time_seconds", "When a worker's process started, in seconds since the epoch.", "consumer", "worker")
	metricReported   = gauge("worker_reported", "0 if a worker did not report in time; its partitions are missing then.", "consumer", "worker")
	metricMissed     = counter("worker_metrics_missed_total", "Scrapes without the metrics of a worker's consumer code, since the worker had not sent them in time.", "consumer", "worker")
	metricInHand     = gauge("worker_calls_in_hand", "Calls of Process or ProcessBatch that a worker has in hand.", "consumer", "worker")
	metricConcurrent = gauge("worker_concurrency", "How many calls a worker can have in hand.", "consumer", "worker")
	metricLag        = gauge("partition_lag_messages", "Messages between the position and the end of the partition.", partitionLabels...)
	metricLagSeconds = gauge("partition_lag_seconds", "Age of the next message to be processed; 0 without lag.", partitionLabels...)
	metricPosition   = gauge("partition_position", "Offset of the next message to be processed.", partitionLabels...)
	metricCommitted  = gauge("partition_committed", "Committed offset.", partitionLabels...)
	metricEnd        = gauge("partition_end", "Offset at the end of the partition.", partitionLabels...)
	metricInFlight   = gauge("partition_in_flight", "Messages whose output is not acknowledged yet.", partitionLabels...)
	metricAttempts   = gauge("partition_failed_attempts", "Failed attempts at the next message to be processed.", partitionLabels...)
	metricStalled    = gauge("partition_stalled", "1 if there is lag and the position has not moved for stall_timeout.", partitionLabels...)
	metricBeyond     = gauge("partition_finished_beyond", "Messages finished beyond the position; ordering key or none.", partitionLabels...)
	metricWaiting    = gauge("partition_waiting_keys", "Keys whose next message has failed and waits; ordering key or none.", partitionLabels...)
	metricWindowFull = gauge("partition_window_full", "1 while no message can begin before the one at the position is finished; ordering key or none.", partitionLabels...)
	metricNotRunning = gauge("partition_stopped", "1 for a partition that is not running, by state: paused, backoff, poisoned, blocked.", append(slices.Clone(partitionLabels), "state")...)
	partitionLabels  = []string{"consumer", "group", "topic", "partition"}
	consumerCounters = map[string]metric{ // by the name in status.Consumer.Totals
		status.CountMessages:        counter("messages_total", "Messages done: processed, skipped and dead-lettered.", "consumer", "group"),
		status.CountBatches:         counter("batches_total", "Batches processed.", "consumer", "group"),
		status.CountErrors:          counter("errors_total", "Calls of Process or ProcessBatch that failed.", "consumer", "group"),
		status.CountSkipped:         counter("skipped_total", "Messages skipped.", "consumer", "group"),
		status.CountDeadLetters:     counter("dead_letters_total", "Messages sent to the dead-letter topic.", "consumer", "group"),
		status.CountProduced:        counter("produced_total", "Messages produced.", "consumer", "group"),
		status.CountAcknowledged:    counter("acknowledged_total", "Produced messages that brokers have acknowledged.", "consumer", "group"),
		status.CountProduceErrors:   counter("produce_errors_total", "Produced messages that could not be delivered.", "consumer", "group"),
		status.CountCommits:         counter("commits_total", "Commits of offsets.", "consumer", "group"),
		status.CountCommitErrors:    counter("commit_errors_total", "Commits that failed; those that can succeed are retried.", "consumer", "group"),
		status.CountRebalances:      counter("rebalances_total", "Rebalances of the group seen by workers.", "consumer", "group"),
		status.CountJoins:           counter("joins_total", "Joins of the group.", "consumer", "group"),
		status.CountPauses:          counter("pauses_total", "Pauses of a partition after a failure.", "consumer", "group"),
		status.CountOffsetGaps:      counter("offset_gaps_total", "Committed offsets that were out of range.", "consumer", "group"),
		status.CountUnknownMessages: counter("unknown_messages_total", "Messages between supervisor and workers of different releases that the receiver did not know and ignored.", "consumer", "group"),
	}
)

// states are always sent, with 0 for those that no worker is in, so that a graph has no
// gaps.
var states = []status.State{
	status.Starting, status.Waiting, status.Joining, status.Running, status.Quiet, status.Stopping, status.Backoff, status.Fatal,
}

// collector makes metrics of a status at each scrape. The supervisor adds up the counters of
// all processes; if one answer overtakes another, the counters still do not go back.
type collector struct {
	ask func(context.Context) (status.Status, error)
	log logrus.FieldLogger

	mu     sync.Mutex
	missed map[appmetrics.Slot]float64
	seen   map[string]float64 // the highest value sent of each counter
}

// metricsHandler serves /metrics: ours, and with app those of consumer code.
func metricsHandler(ask func(context.Context) (status.Status, error), app *appmetrics.Store, log logrus.FieldLogger) http.Handler {
	c := &collector{ask: ask, log: log, seen: map[string]float64{}, missed: map[appmetrics.Slot]float64{}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		st, err := ask(r.Context())
		if err != nil {
			http.Error(w, fmt.Sprintf("the supervisor does not answer: %v", err), http.StatusServiceUnavailable)
			return
		}
		reg := prometheus.NewRegistry()
		if err := reg.Register(snapshot{c, st}); err != nil {
			log.WithError(err).Error("Metrics cannot be made")
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		sources := prometheus.Gatherers{reg}
		if app != nil {
			families, silent := app.Families()
			c.miss(silent)
			sources = append(sources, prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return families, nil }))
		}
		// A metric of consumer code that cannot be encoded does not hide the others.
		promhttp.HandlerFor(sources, promhttp.HandlerOpts{ErrorLog: log, ErrorHandling: promhttp.ContinueOnError}).ServeHTTP(w, r)
	})
}

// miss counts a scrape without the metrics of these workers.
func (c *collector) miss(silent []appmetrics.Slot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range silent {
		c.missed[k]++
	}
}

// snapshot is one scrape.
type snapshot struct {
	c  *collector
	st status.Status
}

// Describe sends nothing: which metrics there are depends on what runs.
func (s snapshot) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics of the status.
func (s snapshot) Collect(out chan<- prometheus.Metric) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	st := s.st
	s.send(out, metricStart, seconds(st.StartedAt))
	s.send(out, metricSupervisor, float64(st.RSS))
	for reason, n := range st.RestartsBy {
		s.send(out, metricRestarts, float64(n), reason)
	}
	for _, c := range st.Consumers {
		s.consumer(out, c)
	}
	for _, w := range st.Workers {
		s.worker(out, w)
	}
	for k, n := range s.c.missed {
		s.send(out, metricMissed, n, k.Consumer, k.Worker)
	}
	s.partitions(out)
}

func (s snapshot) consumer(out chan<- prometheus.Metric, c status.Consumer) {
	s.send(out, metricDesired, float64(c.Workers), c.Name, c.Group)
	s.send(out, metricCPU, c.CPU, c.Name, c.Group)
	s.send(out, metricFatal, oneIf(c.State == status.Fatal), c.Name, c.Group)
	for name, m := range consumerCounters {
		s.send(out, m, float64(c.Totals[name]), c.Name, c.Group)
	}
	for dependency, total := range c.OutageSeconds {
		now := slices.ContainsFunc(c.Outages, func(o status.Outage) bool { return o.Dependency == dependency })
		s.send(out, metricOutage, oneIf(now), c.Name, dependency)
		s.send(out, metricInOutage, total, c.Name, dependency)
	}
	count := map[status.State]int{}
	for _, w := range s.st.Workers {
		if w.Consumer == c.Name {
			count[w.State]++
		}
	}
	for _, state := range states {
		s.send(out, metricStates, float64(count[state]), c.Name, c.Group, string(state))
	}
	buckets, calls := map[float64]uint64{}, uint64(0)
	for i, n := range c.Times.Counts {
		calls += n
		if i < len(c.Times.Bounds) {
			buckets[c.Times.Bounds[i]] = calls
		}
	}
	out <- prometheus.MustNewConstHistogram(metricTimes, calls, c.Times.Sum, buckets, text([]string{c.Name, c.Group})...)
}

func (s snapshot) worker(out chan<- prometheus.Metric, w status.Worker) {
	name := w.Name()
	s.send(out, metricLive, oneIf(w.Live), w.Consumer, name)
	s.send(out, metricReported, oneIf(w.Report != nil), w.Consumer, name)
	if w.StartedAt != nil {
		s.send(out, metricSince, seconds(*w.StartedAt), w.Consumer, name)
	}
	if w.Report != nil {
		s.send(out, metricMemory, float64(w.Report.RSS), w.Consumer, name)
		if w.Report.Concurrency > 0 {
			s.send(out, metricInHand, float64(w.Report.InHand), w.Consumer, name)
			s.send(out, metricConcurrent, float64(w.Report.Concurrency), w.Consumer, name)
		}
	}
}

// partitionKey names a partition of a consumer.
type partitionKey struct {
	consumer, topic string
	number          int32
}

// ownedPartition is a partition as the worker that has it reports it.
type ownedPartition struct {
	status.Partition
	group    string
	ordering string // key or none; empty: the order of partitions
}

// ownedPartitions returns each partition once. While one moves, two workers may have reported
// it; the report with the higher position counts.
func ownedPartitions(st status.Status) map[partitionKey]ownedPartition {
	all := map[partitionKey]ownedPartition{}
	for _, w := range st.Workers {
		if w.Report == nil {
			continue
		}
		for _, p := range w.Report.Partitions {
			k := partitionKey{w.Consumer, p.Topic, p.Partition}
			if other, twice := all[k]; !twice || other.Position < p.Position {
				all[k] = ownedPartition{p, w.Group, w.Report.Ordering}
			}
		}
	}
	return all
}

func (s snapshot) partitions(out chan<- prometheus.Metric) {
	for k, p := range ownedPartitions(s.st) {
		labels := []string{k.consumer, p.group, k.topic, fmt.Sprint(k.number)}
		s.known(out, metricLag, p.Lag, labels)
		s.known(out, metricPosition, p.Position, labels)
		s.known(out, metricCommitted, p.Committed, labels)
		s.known(out, metricEnd, p.End, labels)
		if p.Lag >= 0 {
			s.send(out, metricLagSeconds, p.LagSeconds, labels...)
		}
		s.send(out, metricInFlight, float64(p.InFlight), labels...)
		s.send(out, metricAttempts, float64(p.Retries), labels...)
		s.send(out, metricStalled, oneIf(p.Stalled), labels...)
		if p.ordering != "" {
			s.send(out, metricBeyond, float64(p.Beyond), labels...)
			s.send(out, metricWaiting, float64(p.WaitingKeys), labels...)
			s.send(out, metricWindowFull, oneIf(p.WindowFull != nil), labels...)
		}
		if p.State != status.PartitionRunning && p.State != "" {
			s.send(out, metricNotRunning, 1, append(labels, string(p.State))...)
		}
	}
}

// known sends a figure unless it is unknown, which is -1.
func (s snapshot) known(out chan<- prometheus.Metric, m metric, v int64, labels []string) {
	if v >= 0 {
		s.send(out, m, float64(v), labels...)
	}
}

func (s snapshot) send(out chan<- prometheus.Metric, m metric, v float64, labels ...string) {
	if m.kind == prometheus.CounterValue {
		key := m.desc.String() + fmt.Sprint(labels)
		v = max(v, s.c.seen[key])
		s.c.seen[key] = v
	}
	out <- prometheus.MustNewConstMetric(m.desc, m.kind, v, text(labels)...)
}

// text makes label values of names, which may be any bytes: Prometheus refuses a scrape with
// a value that is not UTF-8.
func text(labels []string) []string {
	for i, l := range labels {
		labels[i] = strings.ToValidUTF8(l, "\uFFFD")
	}
	return labels
}

func seconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
