// Package schedule draws what goes wrong in a run, and when, from a seed: the
// same seed gives the same schedule.
package schedule

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/racecar-go/racecar/config"
)

// Fault names something that goes wrong.
type Fault string

// The faults. Those with a duration end by themselves after For.
const (
	TermWorker      Fault = "term-worker"
	TermAllWorkers  Fault = "term-all-workers"
	KillWorker      Fault = "kill-worker"
	KillAllWorkers  Fault = "kill-all-workers"
	StopWorker      Fault = "stop-worker"      // SIGSTOP, CONT after For
	StopAllWorkers  Fault = "stop-all-workers" // the same with all of them
	BootExit        Fault = "boot-exit"        // constructors exit for For, beginning with a kill
	Exit            Fault = "exit"             // os.Exit in the middle of a call
	Panic           Fault = "panic"
	Fail            Fault = "fail" // a call returns an error
	Slow            Fault = "slow" // a call takes a second
	Hang            Fault = "hang" // a call waits for its ctx
	Spin            Fault = "endless-loop"
	Memory          Fault = "memory"      // a worker keeps more than worker_memory_limit
	StderrFull      Fault = "stderr-full" // nobody reads stderr for For while a worker writes 1 MiB
	FDLimit         Fault = "fd-limit"    // the supervisor can open nothing for For, beginning with a kill
	KillSupervisor  Fault = "kill-supervisor"
	StopSupervisor  Fault = "stop-supervisor" // SIGSTOP, CONT after For
	Quiet           Fault = "quiet"           // TSTP, CONT after For
	HangUp          Fault = "hang-up"         // HUP: nothing has changed
	KillBroker      Fault = "kill-broker"     // back after For
	StopBroker      Fault = "stop-broker"     // SIGSTOP, CONT after For
	RollBrokers     Fault = "roll-brokers"
	MoveCoordinator Fault = "move-coordinator" // the group's coordinator restarts
	CutConnections  Fault = "cut-connections"  // every 0.5–1.5 s for For
	Latency         Fault = "latency"          // 100 ms for For
	NarrowBandwidth Fault = "narrow-bandwidth" // for For
	BlackHole       Fault = "black-hole"       // a broker's connections swallow everything for For
	AddPartitions   Fault = "add-partitions"
	RollingRestart  Fault = "rolling-restart"
	ScaleUp         Fault = "scale-up"
	ScaleDown       Fault = "scale-down"
)

// Faults are all of them.
var Faults = []Fault{
	TermWorker, TermAllWorkers, KillWorker, KillAllWorkers, StopWorker, StopAllWorkers, BootExit, Exit, Panic, Fail, Slow, Hang,
	Spin, Memory, StderrFull, FDLimit, KillSupervisor, StopSupervisor, Quiet, HangUp, KillBroker, StopBroker, RollBrokers, MoveCoordinator, CutConnections, Latency,
	NarrowBandwidth, BlackHole, AddPartitions, RollingRestart, ScaleUp, ScaleDown,
}

// clean faults are orders and changes that a graceful product takes without
// processing anything twice.
var clean = []Fault{
	TermWorker, TermAllWorkers, RollingRestart, ScaleUp, ScaleDown, KillSupervisor, StopSupervisor, Quiet, HangUp, AddPartitions, StderrFull,
	Panic, Fail, Slow, Hang, Memory,
}

// calm faults are those that do not change who is in the group: nobody rebalances
// for them where a place outlives its process.
var calm = []Fault{KillWorker, KillWorker, KillAllWorkers, Exit, Panic, Slow, StopSupervisor, Quiet, HangUp, StderrFull, FDLimit}

// Clean reports whether nothing may be processed twice for it.
func (f Fault) Clean() bool { return slices.Contains(clean, f) }

// OfBrokers reports whether it hurts the cluster or the way there: whoever is in
// the group then may lose its place, and process again what it could not commit.
func (f Fault) OfBrokers() bool {
	return slices.Contains([]Fault{KillBroker, StopBroker, RollBrokers, MoveCoordinator, CutConnections, Latency, NarrowBandwidth, BlackHole}, f)
}

// Event is a fault at its time.
type Event struct {
	At     time.Duration `json:"at"`
	Fault  Fault         `json:"fault"`
	Target int           `json:"target"` // a worker's or broker's number, modulo how many there are
	For    time.Duration `json:"for,omitempty"`
}

func (e Event) String() string {
	s := fmt.Sprintf("%5.1fs %s #%d", e.At.Seconds(), e.Fault, e.Target)
	if e.For > 0 {
		s += fmt.Sprintf(" for %.1fs", e.For.Seconds())
	}
	return s
}

// Mode is how the product under test is set up.
type Mode struct {
	Name          string `json:"name"`
	Strategy      string `json:"strategy"`
	Membership    string `json:"membership"`
	Concurrency   int    `json:"concurrency"`
	Batch         bool   `json:"batch,omitempty"`
	Transactional bool   `json:"transactional,omitempty"`
	// Ordering is what the consumer is promised, as the key of the configuration calls it;
	// empty: the order of partitions.
	Ordering config.Ordering `json:"ordering,omitempty"`
	Faults   []Fault         `json:"-"` // that may be drawn; nil: all
	// Settled says that none of the faults may make the group rebalance.
	Settled bool `json:"settled,omitempty"`
}

// Modes are all of them.
var Modes = []Mode{
	{Name: "eager", Strategy: "range,roundrobin", Membership: "run", Concurrency: 1},
	{Name: "cooperative", Strategy: "cooperative-sticky", Membership: "run", Concurrency: 1},
	{Name: "host", Strategy: "range,roundrobin", Membership: "host", Concurrency: 1},
	{Name: "dynamic", Strategy: "range,roundrobin", Membership: "dynamic", Concurrency: 1},
	{Name: "concurrent", Strategy: "range,roundrobin", Membership: "run", Concurrency: 4},
	{Name: "cooperative-dynamic", Strategy: "cooperative-sticky", Membership: "dynamic", Concurrency: 4},
	{Name: "batch", Strategy: "cooperative-sticky", Membership: "host", Concurrency: 4, Batch: true},
	{Name: "clean", Strategy: "cooperative-sticky", Membership: "run", Concurrency: 1, Faults: clean},
	{Name: "clean-dynamic", Strategy: "range,roundrobin", Membership: "dynamic", Concurrency: 4, Faults: clean},
	{Name: "calm", Strategy: "range,roundrobin", Membership: "run", Concurrency: 1, Faults: calm, Settled: true},
	{Name: "transactional", Strategy: "range,roundrobin", Membership: "run", Concurrency: 1, Transactional: true},
	{Name: "transactional-concurrent", Strategy: "cooperative-sticky", Membership: "run", Concurrency: 4, Transactional: true},
	{Name: "by-key", Strategy: "range,roundrobin", Membership: "run", Concurrency: 16, Ordering: config.OrderingKey},
	{Name: "by-key-batch", Strategy: "cooperative-sticky", Membership: "host", Concurrency: 8, Batch: true, Ordering: config.OrderingKey},
}

// Find returns the mode of that name.
func Find(name string) (Mode, error) {
	var names []string
	for _, m := range Modes {
		if m.Name == name {
			return m, nil
		}
		names = append(names, m.Name)
	}
	return Mode{}, fmt.Errorf("no mode %q; there are %s", name, strings.Join(names, ", "))
}

// Schedule is a run to be made.
type Schedule struct {
	Seed   uint64        `json:"seed"`
	Mode   Mode          `json:"mode"`
	Length time.Duration `json:"length"`
	Events []Event       `json:"events"`
	// Forced stops with a second TERM instead of in order.
	Forced bool `json:"forced,omitempty"`
	// Delay is what each message takes, so that there is one in hand whenever
	// something happens; the fewer are fed.
	Delay time.Duration `json:"delay,omitempty"`
	// LogFull has the log on a full disk.
	LogFull bool `json:"log_full,omitempty"`
	// PidfileFull begins with a start whose pidfile is on a full disk: it must be
	// refused, and leave nothing that stands in the way of the next one.
	PidfileFull bool `json:"pidfile_full,omitempty"`
}

// settle is left quiet at the end: a fault that ends the run shows little.
const settle = 4 * time.Second

// Draw makes the schedule of a seed: faults every few seconds, with quiet gaps,
// for at most length.
func Draw(seed uint64, mode Mode, length time.Duration) Schedule {
	name := fnv.New64a()
	name.Write([]byte(mode.Name)) //nolint:errcheck // a hash never fails
	r := rand.New(rand.NewPCG(seed, name.Sum64()))
	s := Schedule{Seed: seed, Mode: mode, Length: length}
	s.Forced = r.IntN(5) == 0 && mode.Faults == nil
	s.LogFull = r.IntN(8) == 0
	s.PidfileFull = r.IntN(4) == 0
	if r.IntN(3) == 0 {
		s.Delay = 2 * time.Millisecond
		if mode.Ordering != "" { // many messages are in hand at once
			s.Delay *= 10
		}
	}
	faults := mode.Faults
	if faults == nil {
		faults = Faults
	}
	at := time.Duration(1000+r.IntN(2000)) * time.Millisecond
	added := false
	for at < length-settle {
		e := Event{At: at, Fault: faults[r.IntN(len(faults))], Target: r.IntN(64)}
		if e.Fault == AddPartitions {
			if added { // once is enough: the topic only grows
				continue
			}
			added = true
		}
		e.For = duration(r, e.Fault)
		s.Events = append(s.Events, e)
		// A burst now and then, else a gap of some seconds.
		if r.IntN(4) == 0 {
			at += time.Duration(r.IntN(500)) * time.Millisecond
		} else {
			at += e.For/2 + time.Duration(1500+r.IntN(5000))*time.Millisecond
		}
	}
	return s
}

// duration draws how long a fault lasts; 0 for those that only happen.
func duration(r *rand.Rand, f Fault) time.Duration {
	seconds := func(from, to int) time.Duration {
		return time.Duration(from*1000+r.IntN((to-from)*1000)) * time.Millisecond
	}
	switch f {
	case StopWorker, StopAllWorkers:
		return seconds(1, 6)
	case BootExit, FDLimit, StderrFull, Quiet:
		return seconds(1, 4)
	case StopSupervisor:
		return seconds(2, 8)
	case KillBroker, StopBroker:
		return seconds(2, 8)
	case CutConnections, Latency, NarrowBandwidth, BlackHole:
		return seconds(3, 8)
	}
	return 0
}

// Shrink looks for a smaller schedule that still fails: fails is called with
// candidates, each with some events left out, until none of them can go.
func Shrink(s Schedule, fails func(Schedule) bool) Schedule {
	for size := max(1, len(s.Events)/2); size >= 1; size /= 2 {
		for i := 0; i+size <= len(s.Events); {
			smaller := s
			smaller.Events = slices.Concat(s.Events[:i], s.Events[i+size:])
			if fails(smaller) {
				s = smaller
				continue
			}
			i += size
		}
	}
	return s
}
