package fleet

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

// Random lives, in which everything goes wrong that can: whatever happens, a slot has at
// most one active process and one that stands by, each process is known, no process runs
// a release that nobody chose, just the images in use are open, counters never go back,
// no slot goes below one that has to run, no rollout hangs, never more than one lease is out
// for a dependency of a consumer, and a shutdown ends in bounded time.
func TestRandomLives(t *testing.T) {
	for seed := range uint64(400) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { newLife(t, seed).run() })
	}
}

type life struct {
	*world
	rand    *rand.Rand
	begun   int // rollouts
	handled uint64
	history []string
	out     map[string]*outLease // by consumer and dependency
}

func newLife(t *testing.T, seed uint64) *life {
	l := &life{rand: rand.New(rand.NewPCG(seed, 1)), out: map[string]*outLease{}}
	membership := []config.Membership{config.MembershipRun, config.MembershipHost, config.MembershipDynamic}[l.rand.IntN(3)]
	limit := []int{5, config.NeverGiveUp, 1, 0}[min(3, l.rand.IntN(12))]
	change := func(c *config.Config) {
		c.Membership, c.WorkerRestartLimit = membership, limit
		c.WorkerMemoryLimit = []int64{0, 100 << 20}[l.rand.IntN(2)]
		c.OutageScope = []string{"reporter", "consumer"}[l.rand.IntN(2)]
	}
	l.world = newWorld(t, consumerOf("A", 1+l.rand.IntN(3), change), consumerOf("B", 1+l.rand.IntN(2), change))
	l.boot, l.construct, l.observer = l.bootSomehow, l.constructSomehow, l.watchLeases
	l.spawn = func(Spawn) error {
		if l.chance(30) {
			return []error{syscall.EAGAIN, syscall.ENOEXEC}[l.rand.IntN(2)]
		}
		return nil
	}
	return l
}

func (l *life) chance(oneIn int) bool { return l.rand.IntN(oneIn) == 0 }

func (l *life) bootSomehow(f *fake) {
	f.unresponsive, f.ignoresQuit, f.lingers, f.hangsAtExit = l.chance(6), l.chance(6), l.chance(3), l.chance(4)
	switch l.rand.IntN(10) {
	case 0:
		f.exits(Exit{Code: 1})
	case 1: // silent
	case 2:
		f.says(status.Waiting)
	case 3, 4:
		f.says(status.Joining)
	default:
		f.runs()
	}
}

func (l *life) constructSomehow(f *fake) {
	switch l.rand.IntN(8) {
	case 0:
		f.exits(Exit{Code: 1})
	case 1: // its constructor does not return
		f.says(status.Starting)
	default:
		f.says(status.Standby)
	}
}

func (l *life) run() {
	l.start()
	for range 60 {
		if l.finished != nil {
			break
		}
		l.next()
		l.check()
	}
	if l.finished == nil && l.chance(2) {
		l.recover()
	}
	if l.finished == nil {
		l.note("stop")
		l.step(Shutdown{Signal: true})
		for range 40 {
			if l.finished != nil {
				break
			}
			l.endDying()
			l.pass(time.Second)
			l.check()
		}
	}
	if l.finished == nil || len(l.alive) != 0 {
		l.t.Errorf("not finished: %d processes left", len(l.alive))
	}
	if len(l.rollouts) != l.begun {
		l.t.Errorf("%d rollouts begun, %d ended", l.begun, len(l.rollouts))
	}
	if l.t.Failed() {
		l.t.Log(l.history)
	}
}

// recover lets everything go well for a while: then all that is desired runs.
func (l *life) recover() {
	l.note("recover")
	l.boot, l.construct, l.spawn = func(f *fake) { f.rss = 0; f.runs() }, nil, nil
	for range 60 {
		for _, f := range l.sorted() {
			f.unresponsive, f.ignoresQuit, f.lingers, f.hangsAtExit, f.unread, f.inHand, f.rss = false, false, false, false, false, nil, 0
			l.probeWell(f)
			switch {
			case l.alive[f.p.id] == nil || f.p.stopping != "":
			case f.standsBy():
				f.says(status.Standby)
			case f.state != "":
				f.runs()
			}
		}
		l.endDying()
		l.pass(30 * time.Second)
		l.check()
	}
	if l.f.rollout != nil {
		l.t.Error("a rollout hangs")
	}
	for _, c := range l.report().Consumers {
		if len(c.Outages) > 0 {
			l.t.Errorf("outages of %s do not end: %+v", c.Name, c.Outages)
		}
	}
	for s := range l.f.slots() {
		switch {
		case s.desired == pending:
			l.t.Errorf("%s waits for no rollout", s.name())
		case s.desired == running && (s.active == nil || s.active.frame.State != status.Running || s.standby != nil):
			l.t.Errorf("%s does not run", s.name())
		case s.desired == running && (s.active.release != s.target || s.target != s.lastGood):
			l.t.Errorf("%s runs another release than was chosen", s.name())
		}
	}
}

func (l *life) note(what string) { l.history = append(l.history, what) }

// endDying ends processes that were killed some time ago.
func (l *life) endDying() {
	for _, f := range l.sorted() {
		if f.dying {
			f.exits(killed)
		}
	}
}

// anyProcess picks a process, in an order that depends on the seed alone.
func (l *life) anyProcess() *fake {
	all := l.sorted()
	if len(all) == 0 {
		return nil
	}
	return all[l.rand.IntN(len(all))]
}

// plan is what runs, with now and then another number of workers or one more consumer.
func (l *life) plan() wire.Plan {
	plan := wire.Plan{Consumers: l.f.LoopState().Consumers}
	if l.chance(4) {
		plan.Consumers[0].Config.ParallelWorkers = 1 + l.rand.IntN(4)
		plan.Consumers[0].Digest = fmt.Sprint(l.rand.IntN(3))
	}
	if len(plan.Consumers) == 2 && l.chance(6) {
		plan.Consumers = append(plan.Consumers, consumerOf("C", 1+l.rand.IntN(3)))
	}
	return plan
}

func (l *life) next() {
	f := l.anyProcess()
	switch n := l.rand.IntN(30); {
	case n < 4:
		d := []time.Duration{time.Millisecond, time.Second, 20 * time.Second, 7 * time.Minute}[l.rand.IntN(4)]
		l.note("pass " + d.String())
		l.endDying()
		l.pass(d)
	case n == 4, n == 14:
		c := l.f.consumers[l.rand.IntN(len(l.f.consumers))]
		workers := 1 + l.rand.IntN(4)
		l.note(fmt.Sprintf("scale %s %d", c.name, workers))
		_ = l.scale(c.name, workers) // refused for one that has stopped permanently
	case n == 5, n == 15:
		l.note("rollout")
		rolling, ended := l.f.rollout != nil, len(l.rollouts)
		_ = l.tryRollout(fmt.Sprint(l.rand.IntN(5)), Rollout{Plan: l.plan(), IfChanged: l.chance(2)}) // refused while there is one
		if !rolling && (l.f.rollout != nil || len(l.rollouts) > ended) {
			l.begun++
		}
	case f == nil:
	case n == 6:
		l.note("crash " + f.name)
		f.exits(Exit{Code: 2})
	case n == 7:
		l.note("kill " + f.name)
		f.exits(killed)
	case n == 8:
		l.note("exits " + f.name)
		f.exits(Exit{})
	case n == 9 && l.chance(3), n == 16 && l.chance(2):
		l.note("permanent " + f.name)
		f.exits(Exit{Code: wire.ExitPermanent})
	case n >= 17:
		l.outage(f)
	case f.standsBy():
		f.lingers, f.unresponsive = l.chance(2), l.chance(2)
		f.says(status.Standby)
	case n == 10:
		l.note("runs " + f.name)
		f.work.Add(status.Work{Counters: map[string]uint64{status.CountMessages: 1}})
		f.runs()
	case n == 11:
		l.note("freezes " + f.name)
		f.state, f.stopped = "", l.chance(2)
	case n == 12:
		l.note("takes a message " + f.name)
		f.inHand = []scoreboard.Call{call(0, int64(l.rand.IntN(3)), 2, l.chance(2))}
	case n == 13:
		l.note("grows " + f.name)
		f.rss = 200 << 20
	}
}

func (l *life) check() {
	l.t.Helper()
	known := map[ProcID]bool{}
	refs := map[*release]int{}
	for p := range l.f.ordered() {
		known[p.id] = true
		refs[p.release]++
		if p.release != p.slot.target && p.release != p.slot.lastGood && p.stopping == "" {
			l.t.Fatalf("%s runs a release that nobody chose, after %v", p.name(), l.history)
		}
	}
	for id, f := range l.alive {
		if !known[id] {
			l.t.Fatalf("a process of %s is unknown, after %v", f.name, l.history)
		}
	}
	if len(known) != len(l.alive) || len(known) != len(l.f.procs) {
		l.t.Fatalf("processes are known that have ended, after %v", l.history)
	}
	for s := range l.f.slots() {
		refs[s.target]++
		refs[s.lastGood]++
		l.checkSlot(s)
	}
	for _, c := range l.f.consumers {
		refs[c.release]++
		goes := false
		for _, s := range c.slots {
			if goes = goes || s.desired == removed; goes && s.desired == running {
				l.t.Fatalf("a slot below %s goes, after %v", s.name(), l.history)
			}
		}
	}
	if ro := l.f.rollout; ro != nil {
		for _, rel := range ro.targets {
			refs[rel]++
		}
	}
	open := map[Image]bool{}
	for rel, n := range refs {
		open[rel.image] = true
		if rel.refs != n {
			l.t.Fatalf("a release is counted %d times and referred to %d times, after %v", rel.refs, n, l.history)
		}
	}
	if !maps.Equal(open, l.open) {
		l.t.Fatalf("images open: %v, in use: %v, after %v", l.open, open, l.history)
	}
	total := l.report().Totals[status.CountMessages]
	if total < l.handled {
		l.t.Fatalf("messages counted: %d, %d before, after %v", total, l.handled, l.history)
	}
	l.handled = total
	l.checkOutages()
}

func (l *life) checkSlot(s *slot) {
	l.t.Helper()
	ro := l.f.rollout
	inTurn := ro != nil && ro.current == s
	queued := ro != nil && slices.Contains(ro.queue, s)
	switch {
	case s.standby != nil && s.standby.stopping == "" && !inTurn:
		l.t.Fatalf("%s stands by for no rollout, after %v", s.name(), l.history)
	case s.target != s.lastGood && !inTurn:
		l.t.Fatalf("%s is taken to a release by no rollout, after %v", s.name(), l.history)
	case s.desired == running && s.active == nil && s.restartAt.IsZero() && s.standby == nil:
		l.t.Fatalf("%s is desired and never started, after %v", s.name(), l.history)
	case s.desired == pending && !queued:
		l.t.Fatalf("%s waits for no rollout, after %v", s.name(), l.history)
	case s.desired != running && s.active != nil && s.active.stopping == "":
		l.t.Fatalf("%s has a process that nobody desires, after %v", s.name(), l.history)
	}
}
