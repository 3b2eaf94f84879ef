package supervisor

import (
	"fmt"
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

// stop orders the end of everything, and settles.
func (w *world) stop(o stopOrder) {
	w.r.now = w.now
	w.r.end(o)
	w.settle()
}

func TestStopEndsWorkersAndLeavesTheGroupsOnce(t *testing.T) {
	w := startWorld(t, consumerOf("A", 2), consumerOf("B", 1))
	stopped := w.worker("A[0]")
	w.stop(stopOrder{})
	w.checkEnd(0, "")
	w.checkSignals()
	w.checkLeft("A[0] A[1]; B[0]")
	if cmd := stopped.last(wire.CommandStop); cmd.Grace != 25*time.Second || cmd.Leave {
		t.Errorf("%+v", cmd)
	}
}

// A worker that has stopped stays until all have and their members are removed: until
// then it can still leave by itself should the supervisor be killed.
func TestWorkersStayUntilTheirMembersAreRemoved(t *testing.T) {
	w := startWorld(t, consumerOf("A", 3), consumerOf("B", 1))
	first, slow := w.worker("A[0]"), w.worker("A[1]")
	slow.stubborn = true
	w.stop(stopOrder{})
	w.pass(10 * time.Second)
	if len(w.alive) != 4 || len(w.leaves) != 0 || !first.last(wire.CommandStop).Stay {
		t.Fatalf("%d processes, left %v", len(w.alive), w.leaves)
	}
	w.kill("A[2]", remains{exit: fleet.Exit{Code: -1, Signal: syscall.SIGKILL}}) // it had nothing left to do
	slow.says(status.Exited)
	w.settle()
	w.checkLeft("A[0] A[1] A[2]; B[0]")
	w.checkSignals()
	w.checkEnd(0, "")
	if first.count(wire.CommandExit) != 1 {
		t.Errorf("commands %+v", first.commands)
	}
}

// Nothing is lost with a worker that has not begun: a stop does not wait for it.
func TestStopOfAWorkerThatStarts(t *testing.T) {
	for name, boot := range map[string]func(*fake){
		"silent":      func(f *fake) { f.stubborn = true },
		"constructor": func(f *fake) { f.says(status.Starting); f.stubborn = true },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, consumerOf("A", 1))
			w.boot = boot
			w.begin()
			w.stop(stopOrder{})
			w.pass(startingGrace)
			w.checkSignals("A[0] killed")
			w.checkEnd(0, "")
		})
	}
}

// One that has stopped and does not exit is killed, and nothing is lost by that.
func TestStoppedWorkerThatDoesNotExitIsKilled(t *testing.T) {
	w := startWorld(t, consumerOf("A", 1))
	w.worker("A[0]").hangsAtExit = true
	w.stop(stopOrder{})
	w.checkLeft("A[0]")
	w.pass(exitWithin)
	w.checkSignals("A[0] killed")
	w.checkEnd(0, "")
}

func TestStopWhileASlotWaitsToStartAgain(t *testing.T) {
	w := startWorld(t, consumerOf("A", 1))
	w.crash("A[0]")
	w.crash("A[0]")
	w.checkState("A[0]", status.Backoff)
	w.stop(stopOrder{})
	w.checkEnd(0, "")
	w.checkLeft("A[0]")
}

func TestPlacesStayOrGoByTheMembership(t *testing.T) {
	for _, c := range []struct {
		membership config.Membership
		order      stopOrder
		byItself   bool
		left       string
	}{
		{config.MembershipRun, stopOrder{}, false, "A[0]"},
		{config.MembershipHost, stopOrder{}, false, ""},
		{config.MembershipHost, stopOrder{leave: true}, false, "A[0]"},
		{config.MembershipDynamic, stopOrder{}, true, ""},
	} {
		w := startWorld(t, consumerOf("A", 1, func(cfg *config.Config) { cfg.Membership = c.membership }))
		f := w.worker("A[0]")
		w.stop(c.order)
		w.checkEnd(0, "")
		w.checkLeft(c.left)
		if got := f.last(wire.CommandStop).Leave; got != c.byItself {
			t.Errorf("%s: leaves by itself: %v", c.membership, got)
		}
	}
}

func TestWhatDoesNotStopInTimeIsKilled(t *testing.T) {
	w := startWorld(t, consumerOf("A", 2))
	f := w.worker("A[1]")
	f.stubborn = true
	f.inHand = []scoreboard.Call{call(2, 9, 9, true)}
	w.stop(stopOrder{})
	w.pass(25*time.Second - time.Millisecond)
	w.checkSignals()
	w.pass(time.Millisecond)
	w.checkSignals("A[1] killed")
	w.checkEnd(1, "killed")
	if got := w.state("A[1]").LastExit; got != "killed: did not stop within 25s; t/2 offset 9 in hand" {
		t.Error(got)
	}
}

func TestSecondOrderToStopForces(t *testing.T) {
	w := startWorld(t, consumerOf("A", 1))
	w.worker("A[0]").stubborn = true
	w.stop(stopOrder{})
	w.pass(100 * time.Millisecond)
	w.stop(stopOrder{}) // of the same Ctrl-C
	w.checkSignals()
	w.pass(time.Second)
	w.stop(stopOrder{})
	w.checkSignals("A[0] killed")
	w.checkEnd(1, "killed")
}

func TestForcedStopKillsAtOnce(t *testing.T) {
	w := startWorld(t, consumerOf("A", 2))
	for _, f := range w.alive {
		f.stubborn = true
	}
	w.stop(stopOrder{force: true})
	w.checkEnd(1, "killed")
}

// One that is already on the ladder for another reason does not delay the end.
func TestForcedStopOfAStuckWorker(t *testing.T) {
	w := startWorld(t, consumerOf("A", 1))
	f := w.worker("A[0]")
	f.deaf, f.stubborn = true, true
	f.inHand = []scoreboard.Call{call(2, 9, 9, true)}
	w.pass(5*time.Minute + tick)
	w.stop(stopOrder{})
	w.pass(time.Second)
	w.stop(stopOrder{})
	w.checkSignals("A[0] killed")
	w.checkEnd(1, "handler stuck")
}

func TestCrashWhileStopping(t *testing.T) {
	w := startWorld(t, consumerOf("A", 2))
	w.worker("A[0]").stubborn = true
	w.stop(stopOrder{})
	w.crash("A[0]")
	w.checkEnd(1, "A[0]: exited with status 1")
	w.checkLeft("A[0] A[1]")
}

func TestScale(t *testing.T) {
	w := startWorld(t, consumerOf("A", 3))
	c := w.r.consumers[0]
	scale := func(n int) {
		t.Helper()
		if err := w.r.scale(w.now, c, n); err != nil {
			t.Fatal(err)
		}
		w.settle()
	}
	top := w.worker("A[2]")
	scale(1)
	if len(c.slots) != 1 || !top.last(wire.CommandStop).Leave {
		t.Errorf("%d slots, %+v", len(c.slots), top.commands)
	}
	w.checkLeft("") // they left by themselves
	scale(4)
	if !slices.Equal(w.spawned[3:], []string{"A[1]", "A[2]", "A[3]"}) {
		t.Errorf("started %v", w.spawned)
	}
	// Down and up again before the process has ended: its successor waits for it.
	w.worker("A[3]").stubborn = true
	scale(3)
	scale(4)
	if n := len(w.spawned); n != 6 {
		t.Errorf("%d started", n)
	}
	w.worker("A[3]").ends(fleet.Exit{})
	w.settle()
	w.checkState("A[3]", status.Running)
	for _, n := range []int{0, -1, maxWorkers + 1} {
		if err := w.r.scale(w.now, c, n); err == nil {
			t.Errorf("scaled to %d", n)
		}
	}
	if w.end != nil {
		t.Error("ended")
	}
}

// Each order to scale has an answer: once its workers have settled, or why they
// never will.
func TestScaledAnswersEachOrder(t *testing.T) {
	w := startWorld(t, consumerOf("A", 2), consumerOf("B", 1))
	c := w.r.consumers[0]
	answer := func(n int) string {
		t.Helper()
		settled, err := w.r.scaled(c, n)
		if err != nil {
			return err.Error()
		}
		return fmt.Sprint(settled)
	}
	check := func(n int, want string) {
		t.Helper()
		if got := answer(n); got != want {
			t.Errorf("scale %d: %s, want %s", n, got, want)
		}
	}
	check(2, "true")
	check(3, "superseded by a later scale (2 workers)")
	w.worker("A[1]").stubborn = true
	w.scale(0, 1)
	check(2, "superseded by a later scale (1 worker)")
	check(1, "false") // A[1] still stops
	w.worker("A[1]").ends(fleet.Exit{})
	w.settle()
	check(1, "true")
	w.boot = func(f *fake) { f.says(status.Joining) }
	w.scale(0, 2)
	check(2, "false")
	w.worker("A[1]").runs()
	check(2, "true")
	w.kill("A[1]", remains{exit: fleet.Exit{Code: wire.ExitPermanent}, headline: "no access"})
	check(2, "true") // given up is settled: status says so
	w.kill("A[0]", remains{exit: fleet.Exit{Code: wire.ExitPermanent}, headline: "no access"})
	check(2, "A was given up: exited with status 3: no access")
	w.worker("B[0]").stubborn = true
	w.stop(stopOrder{})
	check(2, "racecar is stopping")
}

// A worker that is killed while it is scaled away leaves its place behind.
func TestScaledAwayWorkerThatDies(t *testing.T) {
	w := startWorld(t, consumerOf("A", 2))
	w.worker("A[1]").stubborn = true
	if err := w.r.scale(w.now, w.r.consumers[0], 1); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.crash("A[1]")
	w.checkLeft("A[1]")
	if n := len(w.r.consumers[0].slots); n != 1 {
		t.Errorf("%d slots", n)
	}
}

// A worker that was already on its way out has no more time than the rest.
func TestStopShortensAnEarlierOne(t *testing.T) {
	w := startWorld(t, consumerOf("A", 2))
	w.worker("A[1]").stubborn = true
	if err := w.r.scale(w.now, w.r.consumers[0], 1); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.pass(time.Second)
	w.stop(stopOrder{grace: 2 * time.Second})
	w.pass(2 * time.Second)
	w.checkSignals("A[1] killed")
	w.checkEnd(1, "did not stop within 2s")
}
