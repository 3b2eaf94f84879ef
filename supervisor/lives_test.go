package supervisor

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
	"github.com/racecar-go/racecar/supervisor/fleet"
)

// Lives drawn at random, in which everything goes wrong that can: whatever
// happens, a slot never has more processes than one and one that stands by, each
// process is known, counters never go back, no roll hangs, and an order to stop
// ends it all in bounded time.
func TestRandomLives(t *testing.T) {
	for seed := range uint64(400) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { newLife(t, seed).run() })
	}
}

type life struct {
	*world
	rand    *rand.Rand
	rolls   int // begun
	handled uint64
	history []string
}

func newLife(t *testing.T, seed uint64) *life {
	l := &life{rand: rand.New(rand.NewPCG(seed, 1))}
	membership := []config.Membership{config.MembershipRun, config.MembershipHost, config.MembershipDynamic}[l.rand.IntN(3)]
	limit := []int{5, config.NeverGiveUp, 1, 0}[min(3, l.rand.IntN(12))]
	change := func(c *config.Config) {
		c.Membership, c.WorkerRestartLimit = membership, limit
		c.WorkerMemoryLimit = []int64{0, 100 << 20}[l.rand.IntN(2)]
	}
	l.world = newWorld(t, consumerOf("A", 1+l.rand.IntN(3), change), consumerOf("B", 1+l.rand.IntN(2), change))
	l.boot, l.construct = l.comeUp, l.comeToStandBy
	l.spawn = func(*proc) error {
		if l.chance(30) {
			return []error{syscall.EAGAIN, syscall.ENOEXEC}[l.rand.IntN(2)]
		}
		return nil
	}
	return l
}

func (l *life) chance(oneIn int) bool { return l.rand.IntN(oneIn) == 0 }

// comeUp is what a process does when it is greeted.
func (l *life) comeUp(f *fake) {
	f.stubborn, f.deaf, f.lingers = l.chance(6), l.chance(6), l.chance(3)
	switch l.rand.IntN(10) {
	case 0:
		f.ends(fleet.Exit{Code: 1})
	case 1: // says nothing
	case 2:
		f.says(status.Waiting)
	case 3, 4:
		f.says(status.Joining)
	default:
		f.runs()
	}
}

// comeToStandBy is what one does that is to stand by.
func (l *life) comeToStandBy(f *fake) {
	switch l.rand.IntN(8) {
	case 0:
		f.ends(fleet.Exit{Code: 1})
	case 1: // its constructor does not return
		f.says(status.Starting)
	default:
		f.says(status.Standby)
	}
}

func (l *life) run() {
	l.begin()
	for range 60 {
		if l.end != nil {
			break
		}
		l.step()
		l.check()
	}
	if l.end == nil && l.chance(2) {
		l.peace()
	}
	if l.end == nil {
		l.note("stop")
		l.stop(stopOrder{})
		for range 40 {
			if l.end != nil {
				break
			}
			l.bury()
			l.pass(time.Second)
			l.check()
		}
	}
	l.bury() // a process that nobody knows of is not waited for
	if l.end == nil || len(l.alive) != 0 {
		l.t.Errorf("not ended: %d processes left", len(l.alive))
	}
	if len(l.world.rolls) != l.rolls {
		l.t.Errorf("%d rolls begun, %d ended", l.rolls, len(l.world.rolls))
	}
	if l.t.Failed() {
		l.t.Log(l.history)
	}
}

// peace lets everything go well for a while: then all that is wanted runs.
func (l *life) peace() {
	l.note("peace")
	l.boot, l.construct, l.spawn = func(f *fake) { f.rss = 0; f.runs() }, nil, nil
	for range 60 {
		for _, f := range l.alive {
			f.stubborn, f.deaf, f.lingers, f.unread, f.inHand, f.rss = false, false, false, false, nil, 0
			switch {
			case f.p.stopping != "":
			case f.p.slot.next == f.p:
				f.says(status.Standby)
			case f.state != "":
				f.runs()
			}
		}
		l.settle()
		l.bury()
		l.pass(30 * time.Second)
		l.check()
	}
	if l.r.roll != nil {
		l.t.Error("a roll hangs")
	}
	for s := range l.r.slots() {
		if s.wanted && (s.cur == nil || s.cur.frame.State != status.Running || s.next != nil) {
			l.t.Errorf("%s does not run", s.name())
		}
	}
}

func (l *life) note(what string) { l.history = append(l.history, what) }

// bury ends those that were killed some time ago.
func (l *life) bury() {
	l.r.now = l.now
	for _, f := range l.byName() {
		if f.dying {
			f.ends(fleet.Exit{Code: -1, Signal: syscall.SIGKILL})
		}
	}
	l.settle()
}

// byName are all processes, in an order that depends on the seed alone.
func (l *life) byName() []*fake {
	all := slices.Collect(maps.Values(l.alive))
	slices.SortFunc(all, func(a, b *fake) int { return a.p.pid - b.p.pid })
	return all
}

// someone picks a process, in an order that depends on the seed alone.
func (l *life) someone() *fake {
	var all []*fake
	for p := range l.r.procs() {
		if f := l.alive[p]; f != nil {
			all = append(all, f)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[l.rand.IntN(len(all))]
}

func (l *life) step() {
	l.r.now = l.now
	f := l.someone()
	switch n := l.rand.IntN(17); {
	case n < 4:
		d := []time.Duration{time.Millisecond, time.Second, 20 * time.Second, 7 * time.Minute}[l.rand.IntN(4)]
		l.note("pass " + d.String())
		l.bury()
		l.pass(d)
	case n == 4, n == 14:
		c := l.r.consumers[l.rand.IntN(len(l.r.consumers))]
		k := 1 + l.rand.IntN(4)
		l.note(fmt.Sprintf("scale %s %d", c.name, k))
		_ = l.r.scale(l.now, c, k) // refused for one that was given up
	case n == 5, n == 15:
		l.note("roll")
		plan := wire.Plan{}
		for _, c := range l.r.consumers {
			plan.Consumers = append(plan.Consumers, c.rel.consumer)
		}
		if l.tryRoll(plan, fakeImage(fmt.Sprint(len(l.history))), "", l.chance(2)) == nil {
			l.rolls++
		}
	case f == nil:
	case n == 6:
		l.note("crash " + f.p.name())
		f.ends(fleet.Exit{Code: 2})
	case n == 7:
		l.note("kill " + f.p.name())
		f.ends(fleet.Exit{Code: -1, Signal: syscall.SIGKILL})
	case n == 8:
		l.note("ends by itself " + f.p.name())
		f.ends(fleet.Exit{})
	case n == 9 && l.chance(3), n == 16 && l.chance(2):
		l.note("permanent " + f.p.name())
		f.ends(fleet.Exit{Code: wire.ExitPermanent})
	case f.p.slot.next == f.p:
		f.lingers, f.stubborn = l.chance(2), l.chance(2)
		f.says(status.Standby)
	case n == 10:
		l.note("runs " + f.p.name())
		f.work.Add(status.Work{Counters: map[string]uint64{status.CountMessages: 1}})
		f.runs()
	case n == 11:
		l.note("freezes " + f.p.name())
		f.state, f.stopped = "", l.chance(2)
	case n == 12:
		l.note("takes a message " + f.p.name())
		f.inHand = []scoreboard.Call{call(0, int64(l.rand.IntN(3)), 2, l.chance(2))}
	case n == 13:
		l.note("grows " + f.p.name())
		f.rss = 200 << 20
	}
	l.settle()
	l.r.due(l.now)
	l.settle()
}

func (l *life) check() {
	l.t.Helper()
	known := map[*proc]bool{}
	for p := range l.r.procs() {
		known[p] = true
	}
	for p, f := range l.alive {
		if !known[p] && !f.dying {
			l.t.Fatalf("nobody knows a process of %s after %v", p.name(), l.history)
		}
	}
	for p := range known {
		if l.alive[p] == nil {
			l.t.Fatalf("a process of %s is known that has ended, after %v", p.name(), l.history)
		}
	}
	for s := range l.r.slots() {
		if s.next != nil && s.next.stopping == "" && (l.r.roll == nil || l.r.roll.cur != s) {
			l.t.Fatalf("%s stands by for no roll, after %v", s.name(), l.history)
		}
		if s.cur == nil && s.wanted && s.restartAt.IsZero() && s.next == nil && !l.isQueued(s) {
			l.t.Fatalf("%s is wanted and never started, after %v", s.name(), l.history)
		}
	}
	total := l.r.status(func(*proc) bool { return false }).Totals[status.CountMessages]
	if total < l.handled {
		l.t.Fatalf("messages counted: %d, %d before, after %v", total, l.handled, l.history)
	}
	l.handled = total
}

// isQueued says that a roll will come to the slot.
func (l *life) isQueued(s *slot) bool {
	return l.r.roll != nil && slices.Contains(l.r.roll.queue, s)
}
