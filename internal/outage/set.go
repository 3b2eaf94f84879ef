package outage

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// maxName is the most bytes of a dependency's name.
const maxName = 64

// logEvery is how often an outage that goes on is reported.
const logEvery = time.Minute

// startTime is how long a probe may wait for its call to begin before another holder has its
// turn: its message may have to be fetched again first.
const startTime = 5 * time.Second

// retryTime is when to look again where nothing that is held can be probed.
const retryTime = time.Second

// minPause is the shortest pause that an author can ask for: at most ten probes a second.
const minPause = 100 * time.Millisecond

// Options are what a Set needs to know.
type Options struct {
	Longest time.Duration  // outage_max_pause
	Random  func() float64 // in [0, 1)
	// Shared: a supervisor grants leases for probes. Without, and when it is silent, the
	// worker probes by itself.
	Shared bool
	Wide   bool // an outage holds everything (outage_scope consumer)
}

// Set are the outages of one worker. What waits for a dependency is a holder, such as a
// partition. A holder waits for one dependency at a time; one of those that wait for a
// dependency may be its probe, which means that one call of it is made. A Set is not safe
// for concurrent use.
type Set[H comparable] struct {
	o       Options
	list    []*one[H] // in the order of their first reports
	waits   map[H]*wait[H]
	changed []H
	results []Result
}

// one is a dependency that was reported.
type one[H comparable] struct {
	name   string
	local  bool // of this worker alone: it probes by itself
	pauses Pauses
	queue  []H // what is held, in the order in which it is probed

	probing bool
	probe   H
	started time.Time // when its call began; zero: it has not
	granted time.Time // when it became the probe
	lease   uint64    // the supervisor's; 0: none
	probes  int       // of all workers, as the supervisor counts them
	moved   time.Time // when that number last changed, or the outage began

	received time.Time // when the supervisor last sent something about it
	logged   time.Time // when it was last reported
	calls    uint64    // that found it unavailable
	asked    time.Duration
	err      string
}

// wait is what a holder waits for.
type wait[H comparable] struct {
	one *one[H]
	// reported: a call of it found the dependency unavailable. Otherwise its success says
	// nothing: it may not need the dependency.
	reported bool
	release  time.Time // the outage is over, and this is when it is released; zero: it goes on
	until    time.Time // of a local outage: when it is released in any case
}

// ResultKind is what became of a probe.
type ResultKind string

// The kinds of results.
const (
	Available   ResultKind = "available"   // the call succeeded
	Unavailable ResultKind = "unavailable" // the dependency is still unavailable
	Failed      ResultKind = "failed"      // the call failed in another way
	Returned    ResultKind = "returned"    // there was no call, or it ended without a result
)

// Result is what became of a probe, for the supervisor.
type Result struct {
	Dependency string
	Lease      uint64 // 0: the worker has probed by itself
	Kind       ResultKind
	Asked      time.Duration // the pause that the author asked for; negative: none
	Err        string
}

// State is one outage, for the supervisor and the status.
type State struct {
	Dependency string
	Local      bool
	Since      time.Time // zero: there is none any more
	Held       int
	Next       time.Time // when the next probe is due, as far as this worker knows
	Wants      bool      // something can be probed now
	Calls      uint64
	Asked      time.Duration
	Err        string
}

// NewSet returns a Set without outages.
func NewSet[H comparable](o Options) *Set[H] {
	return &Set[H]{o: o, waits: map[H]*wait[H]{}}
}

// named returns the dependency of that name. Of names beyond the first MaxNames it returns
// the one without a name.
func (s *Set[H]) named(name string) *one[H] {
	for len(name) > maxName || !utf8.ValidString(name) {
		name = strings.ToValidUTF8(name[:min(len(name), maxName)], "")
	}
	names := 0
	for _, d := range s.list {
		switch {
		case d.local:
		case d.name == name:
			return d
		case d.name != "":
			names++
		}
	}
	if name != "" && names >= MaxNames {
		return s.named("")
	}
	d := &one[H]{name: name}
	s.list = append(s.list, d)
	return d
}

// Report notes that a call of h found a dependency unavailable, and has h held. asked is the
// pause that the author asked for; negative: none. It returns the name that the dependency
// has here, and whether to report the outage now: at its beginning and once a minute.
func (s *Set[H]) Report(now time.Time, h H, name string, asked time.Duration, err string) (dependency string, report bool) {
	return s.report(now, h, s.named(name), asked, err)
}

// ReportLocal is Report for an outage of this worker alone, for which no supervisor grants
// leases. It holds h until a probe succeeds, but not beyond until.
func (s *Set[H]) ReportLocal(now time.Time, h H, name, err string, until time.Time) (report bool) {
	_, report = s.report(now, h, s.local(name), -1, err)
	s.waits[h].until = until
	return report
}

// StopLocal notes that a local outage is over.
func (s *Set[H]) StopLocal(now time.Time, name string) {
	if d := s.local(name); d.pauses.Active() {
		s.stop(now, d)
	}
}

func (s *Set[H]) local(name string) *one[H] {
	for _, d := range s.list {
		if d.local && d.name == name {
			return d
		}
	}
	d := &one[H]{name: name, local: true}
	s.list = append(s.list, d)
	return d
}

func (s *Set[H]) report(now time.Time, h H, d *one[H], asked time.Duration, err string) (string, bool) {
	if asked >= 0 {
		asked = max(asked, minPause)
	}
	d.calls++
	d.asked, d.err = asked, err
	began := false
	if w := s.waits[h]; w != nil && w.one == d && d.isProbe(h) {
		d.pauses.Unavailable(now, asked, s.o.Longest, s.o.Random())
		s.finish(d, Unavailable, asked, err)
	} else {
		if w != nil && w.one != d {
			s.forget(now, h, Failed, err)
		}
		if !d.pauses.Active() {
			d.received, d.moved = now, now
		}
		began = d.pauses.Report(now, asked, s.o.Longest, s.o.Random())
		s.resume(d)
		s.hold(h, d)
		s.waits[h].reported = true
	}
	if !began && now.Sub(d.logged) < logEvery {
		return d.name, false
	}
	d.logged = now
	return d.name, true
}

// hold has h wait for d.
func (s *Set[H]) hold(h H, d *one[H]) {
	if s.waits[h] == nil {
		s.waits[h] = &wait[H]{one: d}
		d.queue = append(d.queue, h)
		s.changed = append(s.changed, h)
	}
}

// resume has what waits for its release after an outage of d wait for d again: it continues, or
// another one has begun.
func (s *Set[H]) resume(d *one[H]) {
	for _, h := range s.releasing() {
		if w := s.waits[h]; w.one == d {
			w.release = time.Time{}
			d.queue = append(d.queue, h)
		}
	}
}

// releasing returns the holders that wait for their release, in that order.
func (s *Set[H]) releasing() []H {
	var all []H
	for h, w := range s.waits {
		if !w.release.IsZero() {
			all = append(all, h)
		}
	}
	slices.SortFunc(all, func(a, b H) int { return s.waits[a].release.Compare(s.waits[b].release) })
	return all
}

// Hold has h wait where an outage holds everything; false if there is none.
func (s *Set[H]) Hold(h H) bool {
	if !s.o.Wide || s.waits[h] != nil {
		return s.waits[h] != nil
	}
	for _, d := range s.list {
		if d.pauses.Active() && !d.local {
			s.hold(h, d)
			return true
		}
	}
	return false
}

// Waits reports whether h waits for a dependency, and which. A probe does not wait.
func (s *Set[H]) Waits(h H) (dependency string, waits bool) {
	w := s.waits[h]
	if w == nil || w.one.isProbe(h) {
		return "", false
	}
	return w.one.name, true
}

// Probes reports whether h may make a call although it is held.
func (s *Set[H]) Probes(h H) bool {
	w := s.waits[h]
	return w != nil && w.one.isProbe(h)
}

// Since returns since when what h waits for is unavailable; zero if h waits for nothing.
func (s *Set[H]) Since(h H) time.Time {
	if w := s.waits[h]; w != nil {
		return w.one.pauses.Since()
	}
	return time.Time{}
}

func (d *one[H]) isProbe(h H) bool { return d.probing && d.probe == h }

// Began notes that the call of a probe begins; Idle that none was made in the end.
func (s *Set[H]) Began(now time.Time, h H) {
	if s.Probes(h) {
		s.waits[h].one.started = now
	}
}

// Idle notes that h, whose turn as a probe is over, made no call: it still may.
func (s *Set[H]) Idle(h H) {
	if s.Probes(h) {
		s.waits[h].one.started = time.Time{}
	}
}

// Succeeded notes that a call of h succeeded. If h was a probe, that ends the outage.
func (s *Set[H]) Succeeded(now time.Time, h H) (ended bool) {
	if !s.Probes(h) {
		return false
	}
	d := s.waits[h].one
	s.finish(d, Available, -1, "")
	s.detach(h)
	s.stop(now, d)
	return true
}

// Failed notes that a call of h failed in another way. If h was a probe, it is held again.
func (s *Set[H]) Failed(now time.Time, h H, err string) {
	if !s.Probes(h) {
		return
	}
	d := s.waits[h].one
	d.pauses.Failed(now, s.o.Random())
	s.finish(d, Failed, -1, err)
}

// Forget removes h: it is not this worker's any more, or an operator wants it to go on.
func (s *Set[H]) Forget(now time.Time, h H) { s.forget(now, h, Returned, "") }

// forget removes h; result is the one of its probe, if it was one.
func (s *Set[H]) forget(now time.Time, h H, result ResultKind, err string) {
	w := s.waits[h]
	if w == nil {
		return
	}
	d := w.one
	if d.isProbe(h) {
		if result == Returned {
			d.pauses.Returned(now)
		} else {
			d.pauses.Failed(now, s.o.Random())
		}
		s.finish(d, result, -1, err)
	}
	s.detach(h)
	if len(d.queue) == 0 {
		s.stop(now, d)
	}
}

func (s *Set[H]) detach(h H) {
	d := s.waits[h].one
	delete(s.waits, h)
	s.changed = append(s.changed, h)
	d.queue = slices.DeleteFunc(d.queue, func(q H) bool { return q == h })
}

// finish ends the probe of d.
func (s *Set[H]) finish(d *one[H], kind ResultKind, asked time.Duration, err string) {
	if s.o.Shared && !d.local {
		s.results = append(s.results, Result{d.name, d.lease, kind, asked, err})
	}
	s.changed = append(s.changed, d.probe)
	var none H
	d.probing, d.probe, d.lease, d.started = false, none, 0, time.Time{}
}

// stop notes the end of an outage of d. The Set releases what it holds little by little.
func (s *Set[H]) stop(now time.Time, d *one[H]) {
	if d.probing {
		s.finish(d, Returned, -1, "")
	}
	d.pauses.Stop(now)
	for i, h := range d.queue {
		s.waits[h].release = now.Add(ReleaseTime * time.Duration(i+1) / time.Duration(len(d.queue)))
	}
	d.queue = nil
}

// Received notes what the supervisor says of an outage. It ends everywhere at once, and with
// Wide it also begins everywhere. probes is how many there were in all workers.
func (s *Set[H]) Received(now time.Time, name string, ended bool, probes int) {
	d := s.named(name)
	d.received = now
	if probes != d.probes {
		d.probes, d.moved = probes, now
	}
	switch {
	case !ended && s.o.Wide && !d.pauses.Active():
		d.pauses.Report(now, -1, s.o.Longest, s.o.Random())
		d.moved = now
		s.resume(d)
	case ended && d.pauses.Active():
		s.stop(now, d)
	}
}

// candidates narrows able down to what may be the next probe of d. With Wide those that have
// reported the outage are tried; if none has, here or in another worker, any is: the partition
// that did may have been revoked.
func (s *Set[H]) candidates(now time.Time, d *one[H], able func(H) bool) func(H) bool {
	reported := func(h H) bool { return s.waits[h].reported }
	if !slices.ContainsFunc(d.queue, reported) && (!s.o.Shared || now.Sub(d.moved) >= 2*s.o.Longest) {
		return able
	}
	return func(h H) bool { return reported(h) && able(h) }
}

// Lease has the worker probe for the supervisor. able reports whether a holder could make a
// call now. A lease of no use is returned at once.
func (s *Set[H]) Lease(now time.Time, name string, lease uint64, able func(H) bool) {
	d := s.named(name)
	d.received = now
	if !d.probing && d.pauses.Active() && s.begin(now, d, able) {
		d.lease = lease
		return
	}
	s.results = append(s.results, Result{d.name, lease, Returned, -1, ""})
}

// begin makes the next holder that can make a call the probe.
func (s *Set[H]) begin(now time.Time, d *one[H], able func(H) bool) bool {
	i := slices.IndexFunc(d.queue, s.candidates(now, d, able))
	if i < 0 {
		return false
	}
	h := d.queue[i]
	d.queue = append(slices.Delete(d.queue, i, i+1), h)
	d.probing, d.probe, d.granted, d.started, d.lease = true, h, now, time.Time{}, 0
	s.changed = append(s.changed, h)
	return true
}

// Tick begins and releases what is due. It returns when it has to be called again; zero:
// after the next change.
func (s *Set[H]) Tick(now time.Time, able func(H) bool) (next time.Time) {
	at := func(when time.Time) {
		if next.IsZero() || when.Before(next) {
			next = when
		}
	}
	for _, h := range s.releasing() {
		if when := s.waits[h].release; when.After(now) {
			at(when)
			break
		}
		s.detach(h)
		s.Hold(h) // another outage may hold everything
	}
	for _, h := range s.expired(now, at) {
		s.Forget(now, h)
	}
	for _, d := range s.list {
		if !d.pauses.Active() {
			continue
		}
		if late := d.granted.Add(startTime); d.probing && d.started.IsZero() && !late.After(now) {
			d.pauses.Returned(now)
			s.finish(d, Returned, -1, "")
		}
		if !d.probing {
			s.tickPause(now, d, able, at)
		}
		if d.probing && d.started.IsZero() {
			at(d.granted.Add(startTime))
		}
	}
	return next
}

// expired returns what local outages hold no longer.
func (s *Set[H]) expired(now time.Time, at func(time.Time)) []H {
	var all []H
	for h, w := range s.waits {
		switch {
		case w.until.IsZero():
		case w.until.After(now):
			at(w.until)
		default:
			all = append(all, h)
		}
	}
	return all
}

// tickPause begins the next probe, if it is due and this worker's business.
func (s *Set[H]) tickPause(now time.Time, d *one[H], able func(H) bool, at func(time.Time)) {
	due := d.pauses.Next()
	if s.o.Shared && !d.local {
		if alone := d.received.Add(2 * s.o.Longest); due.Before(alone) {
			due = alone
		}
	}
	switch {
	case due.After(now):
		at(due)
	case len(d.queue) == 0: // the supervisor began it, and says no more
		d.pauses.Stop(now)
	case !s.begin(now, d, able):
		at(now.Add(retryTime))
	}
}

// Changed returns the holders of which Waits may have changed since it was called last.
func (s *Set[H]) Changed() []H {
	c := s.changed
	s.changed = nil
	return c
}

// Results returns the results that the supervisor has not been told yet.
func (s *Set[H]) Results() []Result {
	r := s.results
	s.results = nil
	return r
}

// States returns all outages, also those that are over.
func (s *Set[H]) States(now time.Time, able func(H) bool) []State {
	var all []State
	for _, d := range s.list {
		all = append(all, State{
			Dependency: d.name, Local: d.local, Since: d.pauses.Since(), Held: len(d.queue), Next: d.pauses.Next(),
			Wants: !d.probing && slices.ContainsFunc(d.queue, s.candidates(now, d, able)), Calls: d.calls, Asked: d.asked, Err: d.err,
		})
	}
	return all
}
