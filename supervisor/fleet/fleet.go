package fleet

import (
	"iter"
	"log/slog"
	"time"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

// Options are what the fleet cannot know. Draw is uniform in [0,1), for jitter.
type Options struct {
	Plan  wire.Plan
	Image Image  // that the plan is of
	Nonce string // of this supervisor run, for membership run
	Host  string // for membership host without static_id
	Draw  func() float64
}

// Fleet is all that the supervisor knows and decides. It is not safe for concurrent use.
type Fleet struct {
	now       time.Time // of the event
	consumers []*consumer
	procs     map[ProcID]*proc
	effects   []Effect

	nonce, host string
	draw        func() float64

	started       time.Time
	ready         bool   // see checkReady
	logLevel      string // when changed while running
	shutdown      *shutdown
	rollout       *rollout
	scales        []scaleRequest
	replacing     *slot // last replaced for its memory
	suspectsAsked time.Time
	restartsBy    map[string]uint64
	images        map[Image]int // how many releases have each
	releases      int           // how many there have been
	lastProc      ProcID
	lastLease     uint64
}

// consumer is one consumer with its slots.
type consumer struct {
	name           string
	release        *release         // what new slots run
	slots          []*slot          // by index
	stoppedBecause string           // why it stopped permanently; empty: it did not
	wasReady       bool             // one of its workers has been up
	quiet          bool             // by an operator
	paused         []wire.Partition // by an operator
	suspects       suspects
	outages        []*outage // by dependency, also those that have ended
	// base and restarts are those of slots that were removed.
	base     status.Work
	restarts int
}

// New makes a fleet of a plan. Nothing is started before Start.
func New(now time.Time, o Options) *Fleet {
	f := &Fleet{
		now: now, procs: map[ProcID]*proc{}, nonce: o.Nonce, host: o.Host, draw: o.Draw,
		started: now, restartsBy: map[string]uint64{}, images: map[Image]int{}, releases: 1,
	}
	for _, wc := range o.Plan.Consumers {
		f.add(&release{number: 1, image: o.Image, consumer: wc})
	}
	return f
}

// add adds a consumer with slots that wait.
func (f *Fleet) add(rel *release) *consumer {
	c := &consumer{name: rel.consumer.Name}
	f.setRelease(&c.release, rel)
	for range max(1, rel.config().ParallelWorkers) {
		f.grow(c, pending)
	}
	f.consumers = append(f.consumers, c)
	return c
}

// Step takes an event and returns what has to be done about it.
func (f *Fleet) Step(now time.Time, e Event) []Effect {
	f.now = now
	e.apply(f)
	for s := range f.slots() {
		f.settle(s)
	}
	f.advanceRollout()
	f.removeMembers()
	f.exitLingering()
	f.prune()
	f.checkReady()
	f.advanceOutages()
	f.advanceShutdown()
	f.answerScales()
	effects := f.effects
	f.effects = nil
	return effects
}

func (Start) apply(f *Fleet) {
	for s := range f.slots() {
		s.desired = running
	}
}

func (Tick) apply(f *Fleet) {
	for p := range f.ordered() {
		f.killOverdue(p)
		f.escalate(p)
	}
}

func (f *Fleet) do(e Effect) { f.effects = append(f.effects, e) }

// slots yields all slots of all consumers.
func (f *Fleet) slots() iter.Seq[*slot] {
	return func(yield func(*slot) bool) {
		for _, c := range f.consumers {
			for _, s := range c.slots {
				if !yield(s) {
					return
				}
			}
		}
	}
}

// ordered yields all processes, slot by slot, also those that stand by.
func (f *Fleet) ordered() iter.Seq[*proc] {
	return func(yield func(*proc) bool) {
		for s := range f.slots() {
			for _, p := range [...]*proc{s.lingering, s.active, s.standby} {
				if p != nil && !yield(p) {
					return
				}
			}
		}
	}
}

func (f *Fleet) consumer(name string) *consumer {
	for _, c := range f.consumers {
		if c.name == name {
			return c
		}
	}
	return nil
}

// log logs a line about a slot (nil: about none).
func (f *Fleet) log(level slog.Level, message string, s *slot, fields map[string]any) {
	if fields == nil {
		fields = map[string]any{}
	}
	if s != nil {
		fields["worker"] = s.name()
		if s.active != nil && s.active.pid != 0 && fields["pid"] == nil {
			fields["pid"] = s.active.pid
		}
	}
	f.do(Log{level, message, fields})
}

func (f *Fleet) progress(s *slot, step, detail string) {
	p := Progress{Time: f.now, Step: step, Detail: detail}
	if s != nil {
		p.Worker = s.name()
	}
	f.do(p)
}

func (e Suspended) apply(f *Fleet) {
	d := time.Duration(e)
	if ro := f.rollout; ro != nil && ro.timed != nil {
		ro.due, ro.latest = ro.due.Add(d), ro.latest.Add(d)
	}
	if f.shutdown != nil {
		f.shutdown.removeBy = f.shutdown.removeBy.Add(d)
	}
	for p := range f.ordered() {
		p.lastSeen = p.lastSeen.Add(d)
		p.assigned = p.assigned.Add(d)
		if !p.killAt.IsZero() {
			p.killAt = p.killAt.Add(d)
		}
		if !p.stayUntil.IsZero() {
			p.stayUntil = p.stayUntil.Add(d)
		}
		if p.escalation != nil {
			p.escalation.due = p.escalation.due.Add(d)
		}
		if st := p.frame.State; st == status.Joining || st == status.Starting {
			p.since = p.since.Add(d)
		}
	}
}

// wakeAt is when something is due without an event; zero: nothing is.
func (f *Fleet) wakeAt() time.Time {
	var next time.Time
	at := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for s := range f.slots() {
		if s.active == nil && s.desired == running {
			at(s.restartAt)
		}
	}
	if f.shutdown == nil {
		for _, c := range f.consumers {
			for _, o := range c.outages {
				at(o.wakeAt(c.maxPause()))
			}
		}
	}
	for p := range f.ordered() {
		switch {
		case p.escalation == nil:
			if !p.finished || p.exiting {
				at(p.killAt)
			} else if f.shutdown == nil {
				at(p.stayUntil)
			}
		case len(p.escalation.steps) > 0:
			at(p.escalation.due)
		}
	}
	if ro := f.rollout; ro != nil && ro.failure == "" && ro.current != nil && ro.current.desired == running &&
		ro.timed != nil && ro.timed == ro.current.active && ro.timed.stopping == "" {
		at(ro.due)
	}
	if !f.ready && f.shutdown == nil && f.now.Before(f.readyBy()) {
		at(f.readyBy())
	}
	if d := f.shutdown; d != nil && d.removing && !d.exiting {
		at(d.removeBy)
	}
	return next
}
