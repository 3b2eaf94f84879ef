package main

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"
)

// row is one measurement, of one contestant or of several side by side.
type row struct {
	name string
	what string // one line for people
	run  func(ctx context.Context, b *bench, r *row, e entrant) (sample, error)
	who  []entrant
	// main is the metric for comparison and chart.
	main metric

	topic    topic         // to consume; no partitions: none
	out      int           // partitions of the topic to produce to; 0: none
	share    float64       // of --messages; 0: all
	size     int           // of produced messages
	codec    string        // of what racecar and franz-go produce; empty: none
	rate     int           // messages per second that are produced during the measurement
	delay    time.Duration // duration of a message of partition 0
	extra    bool          // only with --only or --all
	named    bool          // only with --only
	targets  []target
	interval time.Duration // duration of the measurement if there is a rate
}

// entrant is a contestant of a row with its settings.
type entrant struct {
	contestant string
	label      string // default: the contestant's name
	mode       string
	flags      []string // racecar's
	workers    int      // racecar's; 0: one
	topic      topic    // replaces the row's; no partitions: the row's
}

// topicOf returns the topic that an entrant consumes.
func (r *row) topicOf(e entrant) topic {
	if e.topic.partitions > 0 {
		return e.topic
	}
	return r.topic
}

func (e entrant) name() string {
	if e.label != "" {
		return e.label
	}
	return e.contestant
}

// topic is a topic that is filled before it is consumed. Rows with equal topics share one.
type topic struct {
	size       int
	partitions int
	codec      string // empty: none
	bare0      bool   // partition 0 is empty
}

func (t topic) String() string {
	codec := t.codec
	if codec == "" {
		codec = "none"
	}
	name := fmt.Sprintf("%s-%d-%s", sizeName(t.size), t.partitions, codec)
	if t.bare0 {
		name += "-bare0"
	}
	return name
}

func sizeName(n int) string {
	if n >= 1024 && n%1024 == 0 {
		return fmt.Sprintf("%dk", n/1024)
	}
	return fmt.Sprint(n)
}

// metric is a figure of a sample.
type metric struct {
	key, title string
	unit       string
	lower      bool // lower is better
	decimals   int
}

// The metrics.
var (
	rate      = metric{key: "rate", title: "messages/s"}
	cpu       = metric{key: "cpu", title: "CPU s/million", lower: true, decimals: 2}
	peak      = metric{key: "peak", title: "peak RSS", unit: "MiB", lower: true, decimals: 1}
	pss       = metric{key: "pss", title: "PSS", unit: "MiB", lower: true, decimals: 1}
	allocs    = metric{key: "allocs", title: "allocations/message", lower: true, decimals: 2}
	allocated = metric{key: "allocated", title: "bytes allocated/message", lower: true}
	p50       = metric{key: "p50", title: "p50", unit: "ms", lower: true, decimals: 2}
	p99       = metric{key: "p99", title: "p99", unit: "ms", lower: true, decimals: 2}
	p999      = metric{key: "p999", title: "p99.9", unit: "ms", lower: true, decimals: 2}
	first     = metric{key: "first", title: "exec to first message", unit: "s", lower: true, decimals: 2}
	took      = metric{key: "took", title: "took", unit: "s", lower: true, decimals: 3}
	stopTook  = metric{key: "stop", title: "stop", unit: "s", lower: true, decimals: 3}
	pause     = metric{key: "pause", title: "longest pause of the others", unit: "s", lower: true, decimals: 3}
	boss      = metric{key: "boss", title: "supervisor PSS", unit: "MiB", lower: true, decimals: 1}
	shareCPU  = metric{key: "share", title: "CPU of all", unit: "%", lower: true, decimals: 2}
	bossCPU   = metric{key: "bosscpu", title: "supervisor CPU", unit: "%", lower: true, decimals: 2}
	worker    = metric{key: "worker", title: "largest process, peak RSS", unit: "MiB", lower: true, decimals: 1}
	repeats   = metric{key: "repeats", title: "repeats", lower: true}
	fast      = metric{key: "fast", title: "fast partition, messages/s"}
	slowRate  = metric{key: "slow", title: "slow partition, messages/s", decimals: 1}
	metrics   = []metric{rate, fast, slowRate, took, stopTook, pause, p50, p99, p999, cpu, peak, worker, pss, shareCPU, boss, bossCPU, allocs, allocated, first, repeats}
)

// sample has the results of one run of an entrant, by metric.
type sample map[string]float64

// target is a goal: the metric of one entrant compared with factor times that of another, or with
// a fixed limit.
type target struct {
	of, than string // entrants; than empty: factor is the limit
	metric   metric
	factor   float64
	atLeast  bool // else at most
}

// selectRows returns the rows whose names match one of the patterns.
func selectRows(all []*row, only string, everything bool) ([]*row, error) {
	var chosen []*row
	if only == "" {
		for _, r := range all {
			if !r.named && (everything || !r.extra) {
				chosen = append(chosen, r)
			}
		}
		return chosen, nil
	}
	for pattern := range strings.SplitSeq(only, ",") {
		n := len(chosen)
		for _, r := range all {
			ok, err := path.Match(pattern, r.name)
			if err != nil {
				return nil, fmt.Errorf("--only %q: %w", pattern, err)
			}
			if ok {
				chosen = append(chosen, r)
			}
		}
		if len(chosen) == n {
			return nil, fmt.Errorf("--only: no row is called %q; --list shows all", pattern)
		}
	}
	return chosen, nil
}
