package fleet

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
)

func TestShutdownRemovesMembersOnce(t *testing.T) {
	w := startWorld(t, consumerOf("A", 2), consumerOf("B", 1))
	stopped := w.worker("A[0]")
	w.stop(Shutdown{Signal: true})
	w.checkFinished(0, "")
	w.checkSignals()
	w.checkRemoved("A[0] A[1]; B[0]")
	if cmd := stopped.last(wire.CommandStop); cmd.Grace != 25*time.Second || cmd.Leave {
		t.Errorf("%+v", cmd)
	}
}

// A worker that has stopped stays until all have and their members are removed: until
// then it can still leave by itself should the supervisor be killed.
func TestWorkersStayUntilTheirMembersAreRemoved(t *testing.T) {
	w := startWorld(t, consumerOf("A", 3), consumerOf("B", 1))
	first, slow := w.worker("A[0]"), w.worker("A[1]")
	slow.unresponsive = true
	w.stop(Shutdown{Signal: true})
	w.pass(10 * time.Second)
	if len(w.alive) != 4 || len(w.removals) != 0 || !first.last(wire.CommandStop).Stay {
		t.Fatalf("%d processes, left %v", len(w.alive), w.removals)
	}
	w.kill("A[2]", Exited{Exit: Exit{Code: -1, Signal: syscall.SIGKILL}}) // it had nothing left to do
	slow.says(status.Exited)
	w.checkRemoved("A[0] A[1] A[2]; B[0]")
	w.checkSignals()
	w.checkFinished(0, "")
	if first.count(wire.CommandExit) != 1 {
		t.Errorf("commands %+v", first.commands)
	}
}

// Nothing is lost with a worker that has not begun: a stop does not wait for it.
func TestStopOfAWorkerThatStarts(t *testing.T) {
	for name, boot := range map[string]func(*fake){
		"silent":      func(f *fake) { f.unresponsive = true },
		"constructor": func(f *fake) { f.says(status.Starting); f.unresponsive = true },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, consumerOf("A", 1))
			w.boot = boot
			w.start()
			w.stop(Shutdown{Signal: true})
			w.pass(startingGrace)
			w.checkSignals("A[0] killed")
			w.checkFinished(0, "")
		})
	}
}

// One that has stopped and does not exit is killed, and nothing is lost by that.
func TestStoppedWorkerThatDoesNotExitIsKilled(t *testing.T) {
	w := startWorld(t, consumerOf("A", 1))
	w.worker("A[0]").hangsAtExit = true
	w.stop(Shutdown{Signal: true})
	w.checkRemoved("A[0]")
	w.pass(exitWithin)
	w.checkSignals("A[0] killed")
	w.checkFinished(0, "")
}

func TestStopDuringABackoff(t *testing.T) {
	w := startWorld(t, consumerOf("A", 1))
	w.crash("A[0]")
	w.crash("A[0]")
	w.checkState("A[0]", status.Backoff)
	w.stop(Shutdown{Signal: true})
	w.checkFinished(0, "")
	w.checkRemoved("A[0]")
}

func TestMembershipDecidesWhetherMembersAreRemoved(t *testing.T) {
	for _, c := range []struct {
		membership config.Membership
		order      Shutdown
		byItself   bool
		left       string
	}{
		{config.MembershipRun, Shutdown{}, false, "A[0]"},
		{config.MembershipHost, Shutdown{}, false, ""},
		{config.MembershipHost, Shutdown{Leave: true}, false, "A[0]"},
		{config.MembershipDynamic, Shutdown{}, true, ""},
	} {
		w := startWorld(t, consumerOf("A", 1, func(cfg *config.Config) { cfg.Membership = c.membership }))
		f := w.worker("A[0]")
		w.stop(c.order)
		w.checkFinished(0, "")
		w.checkRemoved(c.left)
		if got := f.last(wire.CommandStop).Leave; got != c.byItself {
			t.Errorf("%s: leaves by itself: %v", c.membership, got)
		}
	}
}

func TestWorkerThatDoesNotStopInTimeIsKilled(t *testing.T) {
	w := startWorld(t, consumerOf("A", 2))
	f := w.worker("A[1]")
	f.unresponsive = true
	f.inHand = []scoreboard.Call{call(2, 9, 9, true)}
	w.stop(Shutdown{Signal: true})
	w.pass(25*time.Second - time.Millisecond)
	w.checkSignals()
	w.pass(time.Millisecond)
	w.checkSignals("A[1] killed")
	w.checkFinished(1, "killed")
	if got := w.state("A[1]").LastExit; got != "killed: did not stop within 25s; t/2 offset 9 in hand" {
		t.Error(got)
	}
}

func TestSecondSignalKills(t *testing.T) {
	w := startWorld(t, consumerOf("A", 1))
	w.worker("A[0]").unresponsive = true
	w.stop(Shutdown{Signal: true})
	w.pass(100 * time.Millisecond)
	w.stop(Shutdown{Signal: true}) // of the same Ctrl-C
	w.checkSignals()
	w.pass(time.Second)
	w.stop(Shutdown{Signal: true})
	w.checkSignals("A[0] killed")
	w.checkFinished(1, "killed")
}

func TestForcedStopKillsAtOnce(t *testing.T) {
	w := startWorld(t, consumerOf("A", 2))
	for _, f := range w.alive {
		f.unresponsive = true
	}
	w.stop(Shutdown{Force: true})
	w.checkFinished(1, "killed")
}

// One that is already on the ladder for another reason does not delay the end.
func TestForcedStopOfAStuckWorker(t *testing.T) {
	w := startWorld(t, consumerOf("A", 1))
	f := w.worker("A[0]")
	f.ignoresQuit, f.unresponsive = true, true
	f.inHand = []scoreboard.Call{call(2, 9, 9, true)}
	w.pass(5*time.Minute + ObserveEvery)
	w.stop(Shutdown{Signal: true})
	w.pass(time.Second)
	w.stop(Shutdown{Signal: true})
	w.checkSignals("A[0] killed")
	w.checkFinished(1, "handler stuck")
}

func TestCrashWhileStopping(t *testing.T) {
	w := startWorld(t, consumerOf("A", 2))
	w.worker("A[0]").unresponsive = true
	w.stop(Shutdown{Signal: true})
	w.crash("A[0]")
	w.checkFinished(1, "A[0]: exited with status 1")
	w.checkRemoved("A[0] A[1]")
}

func TestScale(t *testing.T) {
	w := startWorld(t, consumerOf("A", 3))
	c := w.f.consumers[0]
	scale := func(n int) {
		t.Helper()
		w.mustScale("A", n)
	}
	top := w.worker("A[2]")
	scale(1)
	if len(c.slots) != 1 || !top.last(wire.CommandStop).Leave {
		t.Errorf("%d slots, %+v", len(c.slots), top.commands)
	}
	w.checkRemoved("") // they left by themselves
	scale(4)
	if !slices.Equal(w.spawned[3:], []string{"A[1]", "A[2]", "A[3]"}) {
		t.Errorf("started %v", w.spawned)
	}
	// Down and up again before the process has ended: its successor waits for it.
	w.worker("A[3]").unresponsive = true
	scale(3)
	scale(4)
	if n := len(w.spawned); n != 6 {
		t.Errorf("%d started", n)
	}
	w.worker("A[3]").exits(Exit{})
	w.checkState("A[3]", status.Running)
	for _, n := range []int{0, -1, maxWorkers + 1} {
		if err := w.scale("A", n); err == nil {
			t.Errorf("scaled to %d", n)
		}
	}
	if w.finished != nil {
		t.Error("finished")
	}
}

// Each order to scale has an answer: once its workers have settled, or why they
// never will.
func TestEachScaleIsAnswered(t *testing.T) {
	w := startWorld(t, consumerOf("A", 2), consumerOf("B", 1))
	c := w.f.consumers[0]
	answer := func(n int) string {
		t.Helper()
		settled, err := w.f.scaled(c, n)
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
	w.worker("A[1]").unresponsive = true
	w.mustScale("A", 1)
	check(2, "superseded by a later scale (1 worker)")
	check(1, "false") // A[1] still stops
	w.worker("A[1]").exits(Exit{})
	check(1, "true")
	w.boot = func(f *fake) { f.says(status.Joining) }
	w.mustScale("A", 2)
	check(2, "false")
	w.worker("A[1]").runs()
	check(2, "true")
	w.kill("A[1]", Exited{Exit: Exit{Code: wire.ExitPermanent}, Headline: "no access"})
	check(2, "true") // given up is settled: status says so
	w.kill("A[0]", Exited{Exit: Exit{Code: wire.ExitPermanent}, Headline: "no access"})
	check(2, "A stopped permanently: exited with status 3: no access")
	w.worker("B[0]").unresponsive = true
	w.stop(Shutdown{Signal: true})
	check(2, "racecar is stopping")
}

// A worker that is killed while it is scaled away leaves its place behind.
func TestRemovedWorkerThatDies(t *testing.T) {
	w := startWorld(t, consumerOf("A", 2))
	w.worker("A[1]").unresponsive = true
	w.mustScale("A", 1)
	w.crash("A[1]")
	w.checkRemoved("A[1]")
	if n := len(w.f.consumers[0].slots); n != 1 {
		t.Errorf("%d slots", n)
	}
}

// A worker that was already on its way out has no more time than the rest.
func TestStopShortensAnEarlierOne(t *testing.T) {
	w := startWorld(t, consumerOf("A", 2))
	w.worker("A[1]").unresponsive = true
	w.mustScale("A", 1)
	w.pass(time.Second)
	w.stop(Shutdown{Grace: 2 * time.Second})
	w.pass(2 * time.Second)
	w.checkSignals("A[1] killed")
	w.checkFinished(1, "did not stop within 2s")
}
