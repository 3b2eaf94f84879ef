package fleet

import (
	"slices"
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

func TestMembershipDecidesWhetherMembersAreRemoved(t *testing.T) {
	for _, c := range []struct {
		membership config.Membership
		order      Shutdown
		byItself   bool
		left       string
	}{
		{config.MembershipRun, Shutdown{}, false, "A[0]"},
		{config.MembershipHost, Shutdown{}, false, ""},
		{config.MembershipHost, Shutdown{LeaveGroups: true}, false, "A[0]"},
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

// The members have been removed meanwhile, and the supervisor has not read that yet.
func TestSuspendedSupervisorDoesNotGiveUpRemovingMembers(t *testing.T) {
	w := startWorld(t, consumerOf("A", 1))
	worker := w.worker("A[0]").p.id
	find := func(effects []Effect, wanted func(Effect) bool) {
		t.Helper()
		if !slices.ContainsFunc(effects, wanted) {
			t.Fatalf("effects: %v", effects)
		}
	}
	w.f.Step(w.now, Shutdown{})
	stopped := FrameReceived{worker, wire.Frame{State: status.Exited, Live: true}}
	find(w.f.Step(w.now, stopped), func(e Effect) bool { r, ok := e.(RemoveMembers); return ok && r.Final })
	later := w.now.Add(time.Minute)
	if effects := w.f.Step(later, Suspended(time.Minute)); len(effects) != 0 {
		t.Errorf("effects: %v", effects)
	}
	find(w.f.Step(later, MembersRemoved{}), func(e Effect) bool { c, ok := e.(Command); return ok && c.Command.Kind == wire.CommandExit })
	find(w.f.Step(later, Exited{Proc: worker}), func(e Effect) bool { return e == Effect(Finished{}) })
}
