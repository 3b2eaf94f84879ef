package fleet

import (
	"log/slog"
	"slices"
	"time"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

const (
	// firstProbeAfter is the pause before the first probe of an outage, and the least
	// before a worker that returned a lease may have another.
	firstProbeAfter = time.Second
	// probeJitter is the random share of a pause between probes.
	probeJitter = 0.1
	// maxDependencies is how many names of dependencies a consumer may have; further ones
	// count as "". Each is a series of the metrics.
	maxDependencies = 16
	// scopeConsumer is the value of outage_scope that holds the whole consumer.
	scopeConsumer = "consumer"
)

// outage is a dependency of a consumer: whether it is unavailable, who holds something
// because of it, and the one lease for probing it. It is kept when the outage has ended,
// because another may be its continuation.
type outage struct {
	dependency string
	holders    []*holder
	open       bool
	since      time.Time // of the outage, or of the one that it continues
	opened     time.Time
	ended      time.Time     // the last one; zero: there was none
	total      time.Duration // of those that ended
	pause      time.Duration // between probes
	due        time.Time     // of the next probe, if no lease is out
	lease      *lease        // nil: none is out
	probes     int           // that ended with a result
	err        string
	informed   map[ProcID]bool // of the state as it is
	informedAt time.Time
}

// holder is a process that has reported the dependency, under the name that it uses.
type holder struct {
	proc    *proc
	name    string
	held    int
	wants   bool   // a lease
	calls   uint64 // that found it unavailable
	granted uint64 // the last lease that it was granted
	after   time.Time
}

// lease is a probe that a holder may make.
type lease struct {
	id     uint64
	holder *holder
	until  time.Time
}

func (e OutageReported) apply(f *Fleet) {
	p := f.procs[e.Proc]
	if p == nil || p.stopping != "" {
		return
	}
	p.lastSeen = f.now
	o := p.slot.consumer.outage(e.Outage.Dependency)
	h := o.holder(p, e.Outage.Dependency)
	failed := e.Outage.Calls > h.calls
	if !failed && !o.open { // written before it knew of the end
		return
	}
	h.held, h.wants, h.calls = e.Outage.Held, e.Outage.Wants && e.Outage.Held > 0, e.Outage.Calls
	if h.held == 0 || !failed {
		return
	}
	if e.Outage.Error != "" {
		o.err = e.Outage.Error
	}
	if !o.open {
		f.openOutage(o, p)
	}
	if e.Outage.Pause > 0 {
		o.due = f.now.Add(e.Outage.Pause)
	}
}

func (e ProbeEnded) apply(f *Fleet) {
	p := f.procs[e.Proc]
	if p == nil {
		return
	}
	p.lastSeen = f.now
	c, probed := p.slot.consumer, e.Probed
	o := c.outage(probed.Dependency)
	if o.open && probed.Result == wire.ProbeAvailable { // whatever became of the lease
		o.probes++
		f.endOutage(c, o, "available again")
		return
	}
	if o.lease == nil || o.lease.id != probed.Lease || o.lease.holder.proc != p {
		return
	}
	h := o.lease.holder
	if probed.Result == wire.ProbeReturned {
		h.after = f.now.Add(firstProbeAfter)
		o.takeBack(f.now)
		return
	}
	o.lease = nil
	o.probes++
	if probed.Result == wire.ProbeUnavailable {
		o.pause = min(2*o.pause, c.maxPause())
		o.err = probed.Error
	}
	o.due = f.now.Add(f.jittered(o.pause))
	if probed.Pause > 0 {
		o.due = f.now.Add(probed.Pause)
	}
	o.informed = nil
}

// takeBack ends the lease that is out; the next one is due at once.
func (o *outage) takeBack(now time.Time) {
	o.lease, o.due, o.informed = nil, now, nil
}

// jittered is a pause with its random share.
func (f *Fleet) jittered(pause time.Duration) time.Duration {
	return pause - time.Duration(probeJitter*f.draw()*float64(pause))
}

// outage finds that of a dependency.
func (c *consumer) outage(dependency string) *outage {
	find := func(o *outage) bool { return o.dependency == dependency }
	named := 0
	for _, o := range c.outages {
		if o.dependency != "" {
			named++
		}
	}
	if named >= maxDependencies && !slices.ContainsFunc(c.outages, find) {
		dependency = ""
	}
	if i := slices.IndexFunc(c.outages, find); i >= 0 {
		return c.outages[i]
	}
	o := &outage{dependency: dependency}
	c.outages = append(c.outages, o)
	return o
}

// holder finds what a process holds under a name.
func (o *outage) holder(p *proc, name string) *holder {
	for _, h := range o.holders {
		if h.proc == p && h.name == name {
			return h
		}
	}
	h := &holder{proc: p, name: name}
	o.holders = append(o.holders, h)
	return h
}

// held is how much all holders hold.
func (o *outage) held() int {
	n := 0
	for _, h := range o.holders {
		n += h.held
	}
	return n
}

// maxPause is the longest pause between probes.
func (c *consumer) maxPause() time.Duration { return c.release.config().OutageMaxPause }

// openOutage begins an outage, or continues one that has just ended: whoever was released
// has found the dependency unavailable again.
func (f *Fleet) openOutage(o *outage, by *proc) {
	c := by.slot.consumer
	message := "outage continues"
	if o.ended.IsZero() || f.now.Sub(o.ended) >= 2*o.pause {
		message = "outage started"
		o.since, o.pause, o.probes = f.now, min(firstProbeAfter, c.maxPause()), 0
	}
	o.open, o.opened, o.informed = true, f.now, nil
	o.due = f.now.Add(f.jittered(o.pause))
	f.log(slog.LevelWarn, message, by.slot, map[string]any{"consumer": c.name, "dependency": o.dependency, "error": o.err})
}

// endOutage ends an outage, and tells those that hold something.
func (f *Fleet) endOutage(c *consumer, o *outage, why string) {
	o.open, o.lease, o.ended = false, nil, f.now
	o.total += f.now.Sub(o.opened)
	for p, name := range f.concerned(c, o) {
		f.do(OutageState{p.id, wire.OutageState{Dependency: name, Ended: true, Since: o.since, Pause: o.pause, Probes: o.probes}})
	}
	for _, h := range o.holders {
		h.held, h.wants, h.after = 0, false, time.Time{}
	}
	f.log(slog.LevelInfo, "outage ended", nil, map[string]any{
		"consumer": c.name, "dependency": o.dependency, "reason": why, "seconds": f.now.Sub(o.since).Seconds(), "probes": o.probes,
	})
}

// concerned yields the processes that have to know of an outage, with their name of the
// dependency: those that hold something, or with outage_scope consumer all.
func (f *Fleet) concerned(c *consumer, o *outage) func(yield func(*proc, string) bool) {
	return func(yield func(*proc, string) bool) {
		for _, h := range o.holders {
			if h.held > 0 && !yield(h.proc, h.name) {
				return
			}
		}
		if c.release.config().OutageScope != scopeConsumer {
			return
		}
		for _, s := range c.slots {
			p := s.active
			if !s.up() || p.stopping != "" || slices.ContainsFunc(o.holders, func(h *holder) bool { return h.proc == p && h.held > 0 }) {
				continue
			}
			if !yield(p, o.dependency) {
				return
			}
		}
	}
}

// advanceOutages grants leases that are due, and takes back those of processes that stop
// or are gone.
func (f *Fleet) advanceOutages() {
	if f.shutdown != nil {
		return
	}
	for _, c := range f.consumers {
		for _, o := range c.outages {
			f.advanceOutage(c, o)
		}
	}
}

func (f *Fleet) advanceOutage(c *consumer, o *outage) {
	o.holders = slices.DeleteFunc(o.holders, func(h *holder) bool { return f.procs[h.proc.id] == nil || h.proc.stopping != "" })
	if !o.open {
		return
	}
	if l := o.lease; l != nil && (!slices.Contains(o.holders, l.holder) || l.holder.held == 0 || !f.now.Before(l.until)) {
		o.takeBack(f.now)
	}
	if o.held() == 0 {
		f.endOutage(c, o, "no worker holds anything for it")
		return
	}
	if at, h := o.next(); o.lease == nil && h != nil && !f.now.Before(at) {
		f.lastLease++
		within := h.proc.release.config().MaxPollInterval
		o.lease = &lease{f.lastLease, h, f.now.Add(within)}
		h.granted, o.informed = f.lastLease, nil
		f.do(Lease{h.proc.id, wire.Lease{Dependency: h.name, ID: f.lastLease, Within: within}})
	}
	f.inform(c, o)
}

// next is when a lease may be granted next, and to whom: of those that want one, who may
// have it first, and among equals who had none for the longest time. nil: nobody wants one.
func (o *outage) next() (at time.Time, next *holder) {
	for _, h := range o.holders {
		if !h.wants {
			continue
		}
		may := o.due
		if h.after.After(may) {
			may = h.after
		}
		if next == nil || may.Before(at) || may.Equal(at) && h.granted < next.granted {
			at, next = may, h
		}
	}
	return at, next
}

// inform tells processes how the outage goes on: at each change, and often enough for
// them to know that we are there.
func (f *Fleet) inform(c *consumer, o *outage) {
	if o.informed == nil || !f.now.Before(o.informedAt.Add(c.maxPause())) {
		o.informed, o.informedAt = map[ProcID]bool{}, f.now
	}
	st := wire.OutageState{Since: o.since, Pause: o.pause, Probes: o.probes}
	if o.lease != nil {
		st.Prober = o.lease.holder.proc.name()
	} else {
		st.Next = max(0, o.due.Sub(f.now))
	}
	told := map[ProcID]bool{}
	for p, name := range f.concerned(c, o) {
		if !o.informed[p.id] {
			st.Dependency, told[p.id] = name, true
			f.do(OutageState{p.id, st})
		}
	}
	for id := range told { // a process may know the dependency by two names
		o.informed[id] = true
	}
}

// wakeAt is when something is due for the outage; zero: nothing is.
func (o *outage) wakeAt(maxPause time.Duration) time.Time {
	if !o.open {
		return time.Time{}
	}
	at := o.informedAt.Add(maxPause)
	due, h := o.next()
	if o.lease != nil {
		due, h = o.lease.until, o.lease.holder
	}
	if h != nil && due.Before(at) {
		at = due
	}
	return at
}

// reportOutages is what the status says about the outages of a consumer.
func (f *Fleet) reportOutages(c *consumer, st *status.Consumer) {
	for _, o := range c.outages {
		total := o.total
		if o.open {
			total += f.now.Sub(o.opened)
			one := status.Outage{
				Dependency: o.dependency, Since: o.since, Held: o.held(), Probes: o.probes, Pause: o.pause.Seconds(), Error: o.err,
				NotReady: c.release.config().OutageNotReady,
			}
			if o.lease != nil {
				one.Prober = o.lease.holder.proc.name()
			}
			st.Outages = append(st.Outages, one)
		}
		if !o.since.IsZero() {
			if st.OutageSeconds == nil {
				st.OutageSeconds = map[string]float64{}
			}
			st.OutageSeconds[o.dependency] = total.Seconds()
		}
	}
}

// outages are the dependencies for which a process holds something.
func (p *proc) outages() []string {
	var names []string
	for _, o := range p.slot.consumer.outages {
		if o.open && slices.ContainsFunc(o.holders, func(h *holder) bool { return h.proc == p && h.held > 0 }) {
			names = append(names, o.dependency)
		}
	}
	return names
}
