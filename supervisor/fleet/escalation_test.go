package fleet

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

func (w *world) checkSignals(want ...string) {
	w.t.Helper()
	if !slices.Equal(w.signals, want) {
		w.t.Errorf("signals %q, want %q", w.signals, want)
	}
}

func (w *world) checkReason(name string, reason escalationKind, text string) {
	w.t.Helper()
	if got := w.state(name).LastExit; !strings.Contains(got, text) {
		w.t.Errorf("%s: last exit %q, want %q", name, got, text)
	}
	if w.f.restartsBy[string(reason)] != 1 {
		w.t.Errorf("counted %v, want one %q", w.f.restartsBy, reason)
	}
}

func TestSilentWorkerIsKilledAfterTheBootTimeout(t *testing.T) {
	w := newWorld(t, consumerOf("A", 1))
	w.boot = func(f *fake) { f.ignoresQuit = true }
	w.start()
	w.pass(59 * time.Second)
	w.checkSignals()
	w.boot = nil
	w.pass(time.Second)
	w.checkSignals("A[0] quit")
	w.pass(3 * time.Second)
	w.checkSignals("A[0] quit", "A[0] killed")
	w.checkState("A[0]", status.Running)
	w.checkReason("A[0]", bootTimeout, "no sign of life within worker_boot_timeout (1m0s)")
}

// A constructor that does not return is a crash, with stacks, although the process sends
// frames.
func TestConstructorThatDoesNotReturnIsACrash(t *testing.T) {
	w := newWorld(t, consumerOf("A", 1))
	w.boot = func(f *fake) { f.says(status.Starting) }
	w.start()
	f := w.worker("A[0]")
	f.ignoresQuit = true
	w.pass(time.Minute - time.Second)
	w.checkSignals()
	w.boot = nil
	w.pass(10 * time.Second)
	w.checkSignals("A[0] quit", "A[0] killed")
	if f.count(wire.CommandDump) != 1 {
		t.Errorf("commands %+v", f.commands)
	}
	if got := w.state("A[0]"); got.State != status.Running || got.LastExit != "the constructor has not returned within worker_boot_timeout (1m0s)" {
		t.Errorf("%+v", got)
	}
}

func TestWaitingWorkerIsNotTimedOut(t *testing.T) {
	w := newWorld(t, consumerOf("A", 1))
	w.boot = func(f *fake) { f.says(status.Waiting) }
	w.start()
	w.pass(2 * time.Hour)
	w.checkSignals()
}

func TestFrozenWorker(t *testing.T) {
	w := startWorld(t, consumerOf("A", 2))
	f := w.worker("A[0]")
	f.state, f.ignoresQuit = "", true
	w.pass(14 * time.Second)
	w.checkSignals()
	w.pass(time.Second)
	w.checkSignals("A[0] quit")
	w.pass(3 * time.Second)
	w.checkSignals("A[0] quit", "A[0] killed")
	w.checkState("A[0]", status.Running)
	w.checkReason("A[0]", frozen, "frozen: no sign of life for 15s (worker_timeout 15s)")
}

func TestStoppedWorkerIsKilledAtOnce(t *testing.T) {
	w := startWorld(t, consumerOf("A", 2))
	f := w.worker("A[0]")
	f.state, f.stopped = "", true
	f.inHand = []scoreboard.Call{call(0, 1, 1, true)}
	w.pass(15 * time.Second)
	w.checkSignals("A[0] killed")
	w.checkState("A[0]", status.Running)
	w.checkReason("A[0]", frozenStopped, "stopped by a signal")
	checkSuspects(t, &w.f.consumers[0].suspects) // not the message, but whoever stopped the process
}

func TestUnreadMessagesAreSignsOfLife(t *testing.T) {
	w := startWorld(t, consumerOf("A", 1))
	f := w.worker("A[0]")
	f.state, f.unread = "", true
	w.pass(time.Minute)
	w.checkSignals()
	f.unread = false
	w.pass(ObserveEvery)
	w.checkSignals("A[0] quit")
}

func TestSuspendedSupervisorDoesNotTimeOutWorkers(t *testing.T) {
	w := newWorld(t, consumerOf("A", 2))
	w.boot = func(f *fake) {
		if f.name == "A[0]" {
			f.runs()
		}
	}
	w.start()
	w.worker("A[0]").state = ""
	w.pass(10 * time.Second)
	w.now = w.now.Add(time.Hour)
	w.step(Suspended(time.Hour))
	w.observe()
	w.pass(4 * time.Second)
	w.checkSignals()
	w.pass(time.Second)
	w.checkSignals("A[0] quit")
	w.pass(45 * time.Second)
	if !slices.Contains(w.signals, "A[1] quit") {
		t.Errorf("signals %q", w.signals)
	}
}

// Time in which the supervisor was stopped does not count against a worker that stops.
func TestSuspendedSupervisorDoesNotShortenTheGrace(t *testing.T) {
	w := startWorld(t, consumerOf("A", 1))
	w.worker("A[0]").unresponsive = true
	w.stop(Shutdown{Signal: true})
	w.pass(20 * time.Second)
	w.now = w.now.Add(time.Hour)
	w.step(Suspended(time.Hour))
	w.pass(4 * time.Second)
	w.checkSignals()
	w.pass(time.Second)
	w.checkSignals("A[0] killed")
}

func TestStuckHandlerIsEscalated(t *testing.T) {
	w := startWorld(t, consumerOf("A", 2))
	f := w.worker("A[1]")
	f.ignoresQuit = true
	f.inHand = []scoreboard.Call{call(3, 41, 41, true)}
	w.pass(5 * time.Minute)
	if f.count(wire.CommandCancel) != 0 {
		t.Error("cancelled too early")
	}
	begun := w.now
	w.pass(ObserveEvery)
	if f.count(wire.CommandCancel) != 1 {
		t.Fatal("not cancelled")
	}
	w.pass(999 * time.Millisecond)
	if f.count(wire.CommandDump) != 0 {
		t.Error("its stacks are asked for too early")
	}
	w.pass(time.Millisecond)
	if f.count(wire.CommandDump) != 1 {
		t.Error("its stacks are not asked for")
	}
	w.pass(999 * time.Millisecond)
	w.checkSignals()
	w.pass(time.Millisecond)
	w.checkSignals("A[1] quit")
	w.pass(3 * time.Second)
	w.checkSignals("A[1] quit", "A[1] killed")
	w.checkState("A[1]", status.Running)
	w.checkReason("A[1]", stuck, "handler stuck: t/3 offset 41 in hand for more than max_poll_interval (5m0s)")
	if took := w.now.Sub(begun); took > 6*time.Second {
		t.Errorf("took %v", took)
	}
	checkSuspects(t, &w.f.consumers[0].suspects, wire.Suspect{Topic: "t", Partition: 3, FirstOffset: 41, LastOffset: 41, Deaths: 1, Reason: w.state("A[1]").LastExit})
}

func TestHandlerThatReturnsWhenCancelled(t *testing.T) {
	w := startWorld(t, consumerOf("A", 1))
	f := w.worker("A[0]")
	f.inHand = []scoreboard.Call{call(3, 41, 41, true)}
	w.pass(5*time.Minute + ObserveEvery)
	f.inHand = nil
	w.pass(time.Minute)
	w.checkSignals()
	f.inHand = []scoreboard.Call{call(3, 42, 42, true)}
	w.pass(5*time.Minute + ObserveEvery)
	if f.count(wire.CommandCancel) != 2 {
		t.Error("the next one is not cancelled")
	}
}

// Each call that takes too long is cancelled by its name and has all steps of an
// escalation: a call that returned does not shorten the next one's.
func TestEachStuckCallIsEscalatedByItself(t *testing.T) {
	w := startWorld(t, consumerOf("A", 1))
	f := w.worker("A[0]")
	f.ignoresQuit = true
	first, second := call(3, 41, 41, false), call(4, 7, 9, false)
	f.inHand = []scoreboard.Call{first}
	w.pass(500 * time.Millisecond)
	f.inHand = append(f.inHand, second)
	w.pass(5*time.Minute + ObserveEvery)
	if c := f.last(wire.CommandCancel); f.count(wire.CommandCancel) != 1 || c.Call == nil || *c.Call != (wire.Call{Consumer: "A", Topic: "t", Partition: 3, FirstOffset: 41}) {
		t.Fatalf("%d times cancelled, last %+v", f.count(wire.CommandCancel), c.Call)
	}
	f.inHand = f.inHand[1:] // it has returned
	w.pass(ObserveEvery)
	if c := f.last(wire.CommandCancel); f.count(wire.CommandCancel) != 2 || c.Call == nil || *c.Call != (wire.Call{Consumer: "A", Topic: "t", Partition: 4, FirstOffset: 7}) {
		t.Fatalf("%d times cancelled, last %+v", f.count(wire.CommandCancel), c.Call)
	}
	w.pass(time.Second)
	w.checkSignals()
	w.pass(time.Second)
	w.checkSignals("A[0] quit")
}

func TestJoinThatDoesNotEnd(t *testing.T) {
	w := startWorld(t, consumerOf("A", 1))
	w.worker("A[0]").says(status.Joining)
	w.pass(5*time.Minute + 30*time.Second)
	w.checkSignals()
	w.pass(ObserveEvery)
	w.checkSignals("A[0] quit")
	w.checkReason("A[0]", joinStuck, "joining the group for more than max_poll_interval + 30s (5m30s)")
}

func TestWorkersAboveTheirMemoryAreReplacedOneAtATime(t *testing.T) {
	w := startWorld(t, consumerOf("A", 3, func(c *config.Config) { c.WorkerMemoryLimit = 100 << 20 }))
	for _, f := range w.alive {
		f.rss, f.unresponsive = 101<<20, true
	}
	w.worker("A[1]").rss = 100 << 20
	w.boot = func(f *fake) { f.says(status.Joining) }
	w.pass(ObserveEvery)
	going := func() (names []string) {
		for _, s := range w.report().Workers {
			if s.State == status.Stopping {
				names = append(names, s.Name())
			}
		}
		return names
	}
	first := going()
	if len(first) != 1 || first[0] == "A[1]" {
		t.Fatalf("stopping: %v", first)
	}
	w.worker(first[0]).exits(Exit{})
	w.pass(2 * ObserveEvery)
	if got := going(); len(got) != 0 {
		t.Errorf("while its successor joins: %v", got)
	}
	w.worker(first[0]).runs()
	w.pass(ObserveEvery)
	if got := going(); len(got) != 1 || got[0] == "A[1]" || got[0] == first[0] {
		t.Errorf("then: %v", got)
	}
	w.checkReason(first[0], escalationKind(stopMemory), "memory: 101 MiB, more than worker_memory_limit (100 MiB)")
}

// A limit below what an idle worker takes must not become a restart loop.
func TestMemoryLimitThatIsTooLow(t *testing.T) {
	w := newWorld(t, consumerOf("A", 1, func(c *config.Config) { c.WorkerMemoryLimit = 1 << 20 }))
	w.boot = func(f *fake) { f.rss = 50 << 20; f.runs() }
	w.start()
	w.pass(10 * time.Minute)
	if n := len(w.spawned); n < 5 || n > 11 {
		t.Errorf("%d starts in ten minutes", n)
	}
	w.checkState("A[0]", status.Running)
}

func TestDeathsThatMakeSuspects(t *testing.T) {
	inHand := []scoreboard.Call{call(0, 7, 7, true)}
	for name, e := range map[string]Exited{
		"killed by somebody": {Exit: Exit{Code: -1, Signal: syscall.SIGKILL}, InHand: inHand},
		"terminated":         {Exit: Exit{Code: -1, Signal: syscall.SIGTERM}, InHand: inHand},
		"permanent":          {Exit: Exit{Code: wire.ExitPermanent}, InHand: inHand},
		"nothing in hand":    {Exit: Exit{Code: 2}},
	} {
		w := startWorld(t, consumerOf("A", 2))
		w.kill("A[0]", e)
		if got := w.f.consumers[0].suspects.list(); len(got) != 0 {
			t.Errorf("%s: suspects %v", name, got)
		}
	}
	for name, e := range map[string]Exited{
		"out of memory": {Exit: Exit{Code: -1, Signal: syscall.SIGKILL}, OOM: true, InHand: inHand},
		"os.Exit(0)":    {Exit: Exit{}, InHand: inHand},
		"panic":         {Exit: Exit{Code: 2}, InHand: inHand},
		"segfault in C": {Exit: Exit{Code: -1, Signal: syscall.SIGSEGV}, InHand: inHand},
	} {
		w := startWorld(t, consumerOf("A", 2))
		w.kill("A[0]", e)
		if got := w.f.consumers[0].suspects.list(); len(got) != 1 || got[0].Deaths != 1 {
			t.Errorf("%s: suspects %v", name, got)
		}
	}
}
