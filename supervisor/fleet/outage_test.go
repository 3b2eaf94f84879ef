package fleet

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

// The status has each outage with its details, and how long there have been any.
func TestStatusOfOutages(t *testing.T) {
	w := startWorld(t, consumerOf("A", 2, func(c *config.Config) { c.OutageNotReady, c.OutageMaxPause = true, 3*time.Second }))
	began := w.now
	f := w.worker("A[0]")
	f.reports("db", 2, true, 0)
	for range 4 {
		w.pass(3 * time.Second)
		f.probed("db", wire.ProbeUnavailable, 0)
	}
	w.pass(3 * time.Second) // outage_max_pause: more than 2 s, and less than the next doubling
	st := w.report()
	want := status.Outage{Dependency: "db", Since: began, Held: 2, Probes: 4, Pause: 3, Prober: "A[0]", Error: "db is away", NotReady: true}
	if c := st.Consumers[0]; len(c.Outages) != 1 || c.Outages[0] != want || c.OutageSeconds["db"] != 15 || c.State != status.Running {
		t.Errorf("%s, %+v, %v", c.State, c.Outages, c.OutageSeconds)
	}
	if a, b := w.state("A[0]").Outages, w.state("A[1]").Outages; !slices.Equal(a, []string{"db"}) || b != nil {
		t.Errorf("A[0] %v, A[1] %v", a, b)
	}
	f.probed("db", wire.ProbeAvailable, 0)
	w.pass(time.Minute)
	if c := w.report().Consumers[0]; len(c.Outages) != 0 || c.OutageSeconds["db"] != 15 || w.state("A[0]").Outages != nil {
		t.Errorf("at the end: %+v, %v", c.Outages, c.OutageSeconds)
	}
}

// outLease is a lease that a process has been granted and not given back.
type outLease struct {
	wire.Lease
	fake  *fake
	until time.Time
}

// key names the outage that a process means by a dependency.
func (l *life) key(f *fake, dependency string) string {
	c := f.p.slot.consumer
	return c.name + " " + c.outage(dependency).dependency
}

// watchLeases sees each effect before it is carried out, and that no lease is granted
// while another one is out.
func (l *life) watchLeases(effect Effect) {
	switch e := effect.(type) {
	case Lease:
		f := l.alive[e.Proc]
		if f == nil || f.p.stopping != "" {
			return // decided before its end was, and taken back
		}
		key := l.key(f, e.Lease.Dependency)
		if had := l.out[key]; had != nil && l.alive[had.fake.p.id] != nil && had.fake.p.stopping == "" && l.now.Before(had.until) {
			l.t.Fatalf("%s: %s and %s have leases, after %v", key, had.fake.name, f.name, l.history)
		}
		l.out[key] = &outLease{e.Lease, f, l.now.Add(e.Lease.Within)}
	case OutageState:
		if f := l.alive[e.Proc]; f != nil && e.State.Ended {
			delete(l.out, l.key(f, e.State.Dependency))
		}
	}
}

// names are some dependencies, with more than a consumer may have.
func (l *life) name() string {
	if l.chance(10) {
		return fmt.Sprint("d", l.rand.IntN(20))
	}
	return []string{"", "db", "db", "db"}[l.rand.IntN(4)]
}

// outage has a process report something about a dependency.
func (l *life) outage(f *fake) {
	if f.standsBy() {
		return
	}
	name := l.name()
	for _, out := range l.out {
		if out.fake == f && l.chance(2) {
			name = out.Dependency
		}
	}
	f.paused = l.chance(5)
	switch l.rand.IntN(4) {
	case 0, 1:
		l.note("unavailable " + f.name + " " + name)
		f.reports(name, 1+l.rand.IntN(3), true, []time.Duration{0, 0, time.Minute}[l.rand.IntN(3)])
		l.pass(time.Duration(l.rand.IntN(3)) * time.Second)
	case 2:
		held := l.rand.IntN(2)
		l.note(fmt.Sprint("holds ", f.name, " ", name, " ", held))
		if out := l.out[l.key(f, name)]; held == 0 && out != nil && out.fake == f && out.Dependency == name {
			delete(l.out, l.key(f, name)) // what it was for is gone
		}
		f.reports(name, held, false, 0)
	default:
		results := []wire.ProbeResult{wire.ProbeAvailable, wire.ProbeUnavailable, wire.ProbeFailed, wire.ProbeReturned, "unknown"}
		l.probe(f, name, results[l.rand.IntN(len(results))])
	}
}

// probe gives the lease back that a process has, or reports a probe without one.
func (l *life) probe(f *fake, name string, result wire.ProbeResult) {
	l.note(fmt.Sprintf("probed %s %s %s", f.name, name, result))
	e := ProbeEnded{f.p.id, wire.Probed{Dependency: name, Result: result}}
	if out := l.out[l.key(f, name)]; out != nil && out.fake == f {
		e.Probed.Lease = out.ID
		delete(l.out, l.key(f, name))
	}
	l.step(e)
}

// probeWell has a process find everything available that it may probe, and hold nothing
// that it cannot probe.
func (l *life) probeWell(f *fake) {
	for _, out := range l.out {
		if out.fake == f && l.alive[f.p.id] != nil && f.p.stopping == "" {
			l.probe(f, out.Dependency, wire.ProbeAvailable)
		}
	}
	for _, o := range f.p.slot.consumer.outages {
		for _, h := range o.holders {
			if h.proc == f.p && h.held > 0 && !h.wants {
				f.paused = false
				f.reports(h.name, h.held, false, 0)
			}
		}
	}
}

// checkOutages checks what holds between events.
func (l *life) checkOutages() {
	l.t.Helper()
	for _, c := range l.f.consumers {
		if len(c.outages) > maxDependencies+1 {
			l.t.Fatalf("%s has %d dependencies, after %v", c.name, len(c.outages), l.history)
		}
		for _, o := range c.outages {
			switch {
			case l.f.shutdown != nil:
			case o.open && o.held() == 0:
				l.t.Fatalf("an outage of %s that nobody is in, after %v", c.name, l.history)
			case o.open && (o.pause < firstProbeAfter || o.pause > c.maxPause()):
				l.t.Fatalf("pause %v, after %v", o.pause, l.history)
			case o.lease != nil && (!o.open || l.alive[o.lease.holder.proc.id] == nil || o.lease.holder.held == 0 || o.lease.holder.proc.stopping != ""):
				l.t.Fatalf("%s does not take a lease back, after %v", c.name, l.history)
			case o.open && o.lease == nil && o.wakeAt(c.maxPause()).IsZero():
				l.t.Fatalf("an outage of %s that nothing is due for, after %v", c.name, l.history)
			}
		}
	}
}
