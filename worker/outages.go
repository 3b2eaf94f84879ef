package worker

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/racecar-go/racecar/internal/outage"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
)

// defaultOutagePause stands in for outage_max_pause in a configuration that was not loaded.
const defaultOutagePause = 30 * time.Second

// outages hold partitions whose dependency is unavailable (racecar.Unavailable): they join the
// model of package outage with the scheduler, the supervisor and the observers. All is guarded
// by scheduler.mu. What they hold are partitions; the model would hold something smaller as well.
type outages struct {
	t     *scheduler
	wide  bool // outage_scope consumer
	set   *outage.Set[*partition]
	timer stopper   // calls changed; nil: nothing is due
	due   time.Time // when it does

	shared  bool                   // with a supervisor that knows outages
	changed func()                 // called when something was begun or released by time
	errs    map[string]error       // the newest of each dependency
	held    map[string]time.Time   // since when something is held for it
	sent    map[string]wire.Outage // what the supervisor knows
}

func newOutages(t *scheduler, options outage.Options, changed func()) *outages {
	return &outages{
		t: t, wide: options.Wide, shared: options.Shared, changed: changed, set: outage.NewSet[*partition](options),
		errs: map[string]error{}, held: map[string]time.Time{}, sent: map[string]wire.Outage{},
	}
}

// outageOptions are those of this worker. Without a supervisor that knows outages it probes
// by itself.
func (w *worker) outageOptions() outage.Options {
	version, err := wire.Agree(w.opts.Handshake.Versions, wire.Supported())
	return outage.Options{
		Longest: cmp.Or(w.cfg.OutageMaxPause, defaultOutagePause), Random: rand.Float64,
		Shared: w.opts.Conn != nil && err == nil && version >= wire.VersionOutages,
		Wide:   w.cfg.OutageScope == "consumer" && !w.inLanes(), // in lanes keys wait, and no success would end it
	}
}

// unavailable holds p, whose call has found a dependency unavailable. The executor owns p.
func (w *worker) unavailable(p *partition, call span, a action) {
	o, text := w.scheduler.outages, oneLine(a.err)
	var dependency string
	var report bool
	w.scheduler.change(func() {
		now := w.scheduler.clock.now()
		dependency, report = o.set.Report(now, p, a.needs, a.pause, text)
		o.errs[dependency] = a.err
		o.holdAll()
		o.update()
	})
	if report {
		w.noteFailure(p, call, a.err, a.attempts+1).WithField("dependency", dependency).
			Warn("a dependency is unavailable: messages that need it are held and tried one at a time, without counting attempts")
	}
}

// holdAll holds all partitions where an outage concerns the whole consumer.
func (o *outages) holdAll() {
	if !o.wide {
		return
	}
	for p := range o.t.claims {
		if p.served && !p.holds.has(holdLeaving) { // a released one was forgotten, and nobody would do that again
			o.set.Hold(p)
		}
	}
}

// update begins and releases what is due, and brings the holds of partitions up to date.
func (o *outages) update() {
	now := o.t.clock.now()
	next := o.set.Tick(now, o.probeable)
	for _, p := range o.set.Changed() {
		dependency, waits := o.set.Waits(p)
		if p.probe = o.set.Probes(p); waits {
			o.t.hold(p, heldBy{hold: holdOutage, reason: o.reason(dependency)})
		} else {
			o.t.unhold(p, holdOutage)
		}
	}
	if o.timer != nil && !next.Equal(o.due) {
		o.timer.Stop()
		o.timer = nil
	}
	if o.timer == nil && !next.IsZero() && !o.t.stopped {
		o.due, o.timer = next, o.t.clock.after(next.Sub(now), func() {
			o.t.change(func() { o.timer = nil })
			o.changed()
		})
	}
}

// stop begins and releases nothing more. Called with mu held.
func (o *outages) stop() {
	if o.timer != nil {
		o.timer.Stop()
		o.timer = nil
	}
}

// reason is why a partition waits for a dependency.
func (o *outages) reason(dependency string) string {
	reason := "waiting for " + named(dependency)
	if err := o.errs[dependency]; err != nil {
		reason += ": " + oneLine(err)
	}
	return reason
}

// named is a dependency as texts have it.
func named(dependency string) string {
	if dependency == "" {
		return "a dependency that is unavailable"
	}
	return "the dependency " + dependency + ", which is unavailable"
}

// probeable reports whether p could make a call at once if it were no longer held.
func (o *outages) probeable(p *partition) bool {
	if !p.served || p.busy || p.isLeaving() || len(o.t.holds) > 0 || p.inst.delivery.committing() {
		return false
	}
	p.holds.expire(o.t.clock.now())
	if slices.ContainsFunc(p.holds, func(h heldBy) bool { return h.hold != holdOutage }) {
		return false
	}
	_, pending := p.cursor.waiting()
	return pending || p.bufferedBytes > 0 || p.notified || p.deadLetters != nil
}

// serve has p held as well if an outage concerns the whole consumer.
func (o *outages) serve(p *partition) {
	if o.set.Hold(p) {
		o.update()
	}
}

// forget has p wait for no dependency.
func (o *outages) forget(p *partition) {
	o.set.Forget(o.t.clock.now(), p)
	o.update()
}

// probed notes how a quantum of p ended in which it could make one call. called: it made
// one. The executor owns p.
func (w *worker) probed(p *partition, called bool, f *failedCall) {
	w.scheduler.change(func() {
		o, now := w.scheduler.outages, w.scheduler.clock.now()
		switch {
		case f == nil && called:
			o.set.Succeeded(now, p)
		case f == nil || f.action.step == stepAgain:
			o.set.Idle(p)
		case f.action.step != stepAwait: // else it is reported
			o.set.Failed(now, p, oneLine(f.action.err))
		}
		o.update()
	})
	p.probing = false
}

// receiveOutage handles what the supervisor says of outages; false if it is something else.
func (w *worker) receiveOutage(e wire.Envelope) bool {
	var lease wire.Lease
	var state wire.OutageState
	var err error
	switch e.Kind {
	case wire.KindLease:
		err = e.Decode(&lease)
	case wire.KindOutageState:
		err = e.Decode(&state)
	default:
		return false
	}
	if err != nil {
		w.log.WithError(err).Error("reading commands")
		return true
	}
	w.scheduler.change(func() {
		o, now := w.scheduler.outages, w.scheduler.clock.now()
		if e.Kind == wire.KindLease {
			o.set.Lease(now, lease.Dependency, lease.ID, o.probeable)
		} else {
			o.set.Received(now, state.Dependency, state.Ended, state.Probes)
			o.holdAll()
		}
		o.update()
	})
	w.outagesChanged()
	return true
}

// outageNews is what supervisor and observers do not know yet.
type outageNews struct {
	probed  []wire.Probed
	outages []wire.Outage
	events  []racecar.Event
}

// outagesChanged reports what has changed about outages. No lock is held.
func (w *worker) outagesChanged() {
	var news outageNews
	w.scheduler.change(func() {
		w.scheduler.outages.update()
		news = w.scheduler.outages.news(w)
	})
	if w.scheduler.outages.shared {
		w.sender.sendOutages(news.probed, news.outages)
	}
	for _, e := range news.events {
		if ended, ok := e.(event.OutageEnded); ok {
			w.log.WithField("dependency", ended.Dependency).WithField("after", ended.Duration.Round(time.Millisecond).String()).Info("nothing is held for the dependency any more")
		}
		w.emit(e)
	}
}

// news collects what has changed since the last time.
func (o *outages) news(w *worker) outageNews {
	var n outageNews
	now := o.t.clock.now()
	for _, r := range o.set.Results() {
		n.probed = append(n.probed, wire.Probed{
			Dependency: r.Dependency, Lease: r.Lease, Result: wire.ProbeResult(r.Kind), Pause: max(0, r.Asked), Error: r.Err,
		})
	}
	for _, s := range o.set.States(now, o.probeable) {
		since, was := o.held[s.Dependency]
		switch {
		case s.Held > 0 && !was:
			o.held[s.Dependency] = now
			n.events = append(n.events, event.OutageStarted{Consumer: w.reg.Name(), Group: w.group, Dependency: s.Dependency, Err: o.err(s)})
		case s.Held == 0 && was:
			delete(o.held, s.Dependency)
			n.events = append(n.events, event.OutageEnded{Consumer: w.reg.Name(), Group: w.group, Dependency: s.Dependency, Duration: now.Sub(since)})
		}
		m := wire.Outage{
			Dependency: s.Dependency, Held: s.Held, Wants: s.Wants && !s.Local, Calls: s.Calls, Pause: max(0, s.Asked), Error: s.Err,
		}
		if old, ok := o.sent[s.Dependency]; old != m && (ok || m.Held > 0) {
			o.sent[s.Dependency] = m
			n.outages = append(n.outages, m)
		}
	}
	return n
}

// err is why something is held; the supervisor does not say it of other workers.
func (o *outages) err(s outage.State) error {
	if err := o.errs[s.Dependency]; err != nil {
		return err
	}
	return errors.New(named(s.Dependency))
}
