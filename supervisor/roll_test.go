package supervisor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/fleet"
	"github.com/racecar-go/racecar/supervisor/process"
)

// rollTo begins a roll to another image.
func (w *world) rollTo(image string, consumers ...wire.Consumer) {
	w.t.Helper()
	if err := w.tryRoll(wire.Plan{Consumers: consumers}, fakeImage(image), "", false); err != nil {
		w.t.Fatal(err)
	}
	w.settle()
}

// tryRoll begins a roll to what a plan says.
func (w *world) tryRoll(plan wire.Plan, image process.Image, only string, ifChanged bool) error {
	err := w.r.rollTo(w.now, plan, image, rollOrder{only: only, ifChanged: ifChanged})
	if err == nil {
		w.held[image] = true
	}
	return err
}

// images are what the processes run, by slot.
func (w *world) images() string {
	var list []string
	for s := range w.r.slots() {
		switch {
		case s.cur == nil:
			list = append(list, string(s.idle))
		case s.cur.stopping != "":
			list = append(list, "stopping")
		default:
			list = append(list, s.cur.rel.image.String())
		}
	}
	return strings.Join(list, " ")
}

func (w *world) checkImages(want string) {
	w.t.Helper()
	if got := w.images(); got != want {
		w.t.Errorf("processes: %s, want %s", got, want)
	}
}

func (w *world) checkRolled(texts ...string) {
	w.t.Helper()
	if len(w.rolls) != len(texts) {
		w.t.Fatalf("rolls ended: %v, want %d", w.rolls, len(texts))
	}
	for i, text := range texts {
		if err := w.rolls[i]; (err == nil) != (text == "") || err != nil && !strings.Contains(err.Error(), text) {
			w.t.Errorf("roll ended with %v, want %q", err, text)
		}
	}
}

func TestRollReplacesOneAfterTheOther(t *testing.T) {
	a, b := consumerOf("A", 2), consumerOf("B", 1)
	w := startWorld(t, a, b)
	old := w.worker("A[0]")
	old.stubborn = true
	w.boot = func(f *fake) { f.says(status.Joining) }
	w.rollTo("new", a, b)
	w.checkImages("stopping old old")
	if len(w.alive) != 4 {
		t.Errorf("%d processes: none stands by", len(w.alive))
	}
	if cmd := old.last(wire.CommandStop); cmd.Leave {
		t.Error("the old one leaves the group")
	}
	old.ends(fleet.Exit{})
	w.settle()
	w.checkImages("new old old")
	if h := w.worker("A[0]").handshake; h == nil || len(h.Predecessors) != 1 {
		t.Errorf("handshake %+v", h)
	}
	w.pass(10 * time.Second)
	w.checkImages("new old old") // it joins
	w.boot = nil
	w.worker("A[0]").runs()
	w.settle()
	w.checkImages("new new new")
	w.checkRolled("")
	w.checkSignals()
	if !slices.Equal(w.spawned[3:], []string{"A[0]", "A[1]", "B[0]"}) {
		t.Errorf("order %v", w.spawned)
	}
	w.crash("B[0]")
	w.checkImages("new new new")
	if st := w.r.status(func(*proc) bool { return false }); st.RestartsBy["restart"] != 3 || st.RestartsBy["crash"] != 1 {
		t.Errorf("counted %v", st.RestartsBy)
	}
}

// The new process constructs its consumer while the old one still consumes: when that
// fails, or does not end, the old one has never been stopped.
func TestConstructorThatFailsRefusesTheRoll(t *testing.T) {
	for name, c := range map[string]struct {
		construct func(*fake)
		want      string
	}{
		"fails": {func(f *fake) {
			f.w.r.lastWords(f.w.now, f.p, wire.ExitReason{Reason: "constructor of A: no database"})
			f.ends(fleet.Exit{Code: 1})
		}, "A[0]: the new one ended before it took over: exited with status 1: constructor of A: no database"},
		"permanently": {func(f *fake) { f.ends(fleet.Exit{Code: wire.ExitPermanent}) }, "exited with status 3"},
		"hangs":       {func(f *fake) { f.says(status.Starting) }, "the constructor has not returned within worker_boot_timeout (1m0s)"},
	} {
		t.Run(name, func(t *testing.T) {
			a := consumerOf("A", 2)
			w := startWorld(t, a)
			old := w.worker("A[0]")
			w.construct = c.construct
			w.rollTo("new", a)
			w.pass(2 * time.Minute)
			w.checkRolled(c.want)
			w.checkImages("old old")
			if w.worker("A[0]") != old || old.count(wire.CommandStop) != 0 {
				t.Error("the old one was stopped")
			}
			if len(w.alive) != 2 {
				t.Errorf("%d processes", len(w.alive))
			}
		})
	}
}

func TestOldProcessRunsUntilTheNewOneStandsBy(t *testing.T) {
	a := consumerOf("A", 1)
	w := startWorld(t, a)
	w.construct = func(f *fake) { f.says(status.Starting) }
	w.rollTo("new", a)
	w.pass(30 * time.Second)
	w.checkImages("old")
	for p, f := range w.alive {
		if p.slot.next == p {
			if !f.handshake.Standby || f.handshake.WasReady {
				t.Errorf("handshake %+v", f.handshake)
			}
			f.says(status.Standby)
		}
	}
	w.settle()
	w.checkImages("new")
	if h := w.worker("A[0]").handshake; h.Standby || len(h.Predecessors) != 1 {
		t.Errorf("handshake %+v", h)
	}
	w.checkRolled("")
}

// When the old one dies while the new one constructs its consumer, that takes over as
// it is; what fails then takes the slot back.
func TestOldProcessDiesWhileTheNewOneConstructs(t *testing.T) {
	for _, fails := range []bool{false, true} {
		a := consumerOf("A", 2)
		w := startWorld(t, a)
		w.construct = func(f *fake) { f.says(status.Starting) }
		w.boot = func(f *fake) {
			if f.p.rel.image == fakeImage("old") {
				f.runs()
			}
		}
		w.rollTo("new", a)
		w.crash("A[0]")
		w.checkImages("new old")
		w.boot, w.construct = nil, nil
		if fails {
			w.crash("A[0]")
			w.checkImages("old old")
			w.checkRolled("A[0] died")
			continue
		}
		w.worker("A[0]").says(status.Standby) // said before it had read that the slot is its
		w.settle()
		w.checkState("A[0]", status.Starting)
		w.worker("A[0]").runs()
		w.settle()
		w.checkImages("new new")
		w.checkRolled("")
	}
}

func TestNewProcessThatCrashesIsRolledBack(t *testing.T) {
	a := consumerOf("A", 3)
	w := startWorld(t, a)
	w.boot = func(f *fake) {
		if f.p.name() == "A[1]" && f.p.rel.image == fakeImage("new") {
			f.ends(fleet.Exit{Code: 1})
			return
		}
		f.runs()
	}
	w.rollTo("new", a)
	w.checkImages("new old old")
	w.checkRolled("A[1] died: exited with status 1; the rolling restart was stopped")
	w.crash("A[1]")
	w.crash("A[0]")
	w.pass(time.Minute)
	w.checkImages("new old old") // each from what it ran last and well
}

func TestNewProcessThatDoesNotComeToRunIsRolledBack(t *testing.T) {
	for _, state := range []status.State{status.Waiting, status.Starting, ""} {
		a := consumerOf("A", 2)
		w := startWorld(t, a)
		w.boot = func(f *fake) {
			switch {
			case f.p.rel.image != fakeImage("new"):
				f.runs()
			case state != "":
				f.says(state)
			}
		}
		w.rollTo("new", a)
		w.checkImages("new old")
		w.pass(59 * time.Second)
		w.checkImages("new old")
		w.pass(5 * time.Second)
		w.checkImages("old old")
		if len(w.rolls) != 1 || !errors.Is(w.rolls[0], errRolledBack) {
			t.Errorf("state %q: %v", state, w.rolls)
		}
	}
}

// Brokers that were away before the roll are no fault of the new release.
func TestRollWhileBrokersAreAway(t *testing.T) {
	a := consumerOf("A", 2)
	w := newWorld(t, a)
	w.boot = func(f *fake) { f.says(status.Waiting) }
	w.begin()
	w.rollTo("new", a)
	w.checkImages("new new")
	w.checkRolled("")
}

// The roll of the first slot made the group rebalance, so the second one is
// joining when its turn comes: its successor has to run all the same.
func TestRollOfAWorkerThatIsJoining(t *testing.T) {
	a := consumerOf("A", 2)
	w := startWorld(t, a)
	w.worker("A[1]").says(status.Joining)
	w.boot = func(f *fake) {
		f.says(status.Waiting)
		if f.p.name() == "A[0]" {
			f.says(status.Running)
		}
	}
	w.rollTo("new", a)
	w.checkImages("new new")
	w.checkRolled()
	w.worker("A[1]").says(status.Running)
	w.settle()
	w.checkRolled("")
}

func TestProcessThatStandsByDies(t *testing.T) {
	a := consumerOf("A", 2)
	w := startWorld(t, a)
	old := w.worker("A[0]")
	old.stubborn = true
	w.rollTo("new", a)
	for p, f := range w.alive {
		if p.slot.next == p {
			f.ends(fleet.Exit{Code: 2})
		}
	}
	w.settle()
	w.checkRolled("the new one ended before it took over: exited with status 2")
	old.ends(fleet.Exit{})
	w.settle()
	w.checkImages("old old")
}

func TestOldProcessDiesWhileTheNewOneStandsBy(t *testing.T) {
	a := consumerOf("A", 2)
	w := startWorld(t, a)
	w.worker("A[0]").stubborn = true
	w.rollTo("new", a)
	w.crash("A[0]")
	w.checkImages("new new")
	w.checkRolled("")
}

func TestNewProcessThatCannotBeStarted(t *testing.T) {
	a := consumerOf("A", 2)
	w := startWorld(t, a)
	w.spawn = func(*proc) error { return syscall.ENOEXEC }
	w.rollTo("new", a)
	w.checkRolled("start: exec format error")
	w.checkImages("old old")
	if w.worker("A[0]").count(wire.CommandStop) != 0 {
		t.Error("the old one was stopped")
	}
}

func TestOldProcessThatDoesNotStopIsKilledInARoll(t *testing.T) {
	a := consumerOf("A", 1)
	w := startWorld(t, a)
	w.worker("A[0]").stubborn = true
	w.rollTo("new", a)
	w.pass(25 * time.Second)
	w.checkSignals("A[0] killed")
	w.checkImages("new")
	w.checkRolled("")
}

func TestRollOnlyIfSomethingChanged(t *testing.T) {
	a, b := consumerOf("A", 1), consumerOf("B", 1)
	w := startWorld(t, a, b)
	plan := wire.Plan{Consumers: []wire.Consumer{a, b}}
	if err := w.tryRoll(plan, fakeImage("old"), "", true); !errors.Is(err, errNothingChanged) {
		t.Errorf("nothing changed: %v", err)
	}
	plan.Consumers[1].Digest = "2"
	if err := w.tryRoll(plan, fakeImage("old"), "", true); err != nil {
		t.Fatal(err)
	}
	w.settle()
	if !slices.Equal(w.spawned[2:], []string{"B[0]"}) {
		t.Errorf("replaced %v", w.spawned[2:])
	}
	if err := w.tryRoll(plan, fakeImage("new"), "", true); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.checkImages("new new")
}

// A roll stops halfway and its configuration is reverted: the worker that it had
// reached goes back, and only that one.
func TestRevertingARollThatWasStoppedHalfway(t *testing.T) {
	a := consumerOf("A", 3)
	bad := a
	bad.Digest = "bad"
	w := startWorld(t, a)
	w.boot = func(f *fake) {
		if f.p.name() == "A[1]" && f.p.rel.consumer.Digest == "bad" {
			f.ends(fleet.Exit{Code: 1})
			return
		}
		f.runs()
	}
	digests := func() string {
		var list []string
		for s := range w.r.slots() {
			list = append(list, fmt.Sprintf("%s:%d", s.cur.rel.consumer.Digest, w.state(s.name()).Release))
		}
		return strings.Join(list, " ")
	}
	hangUp := func(c wire.Consumer) error {
		err := w.tryRoll(wire.Plan{Consumers: []wire.Consumer{c}}, fakeImage("old"), "", true)
		w.settle()
		return err
	}
	if err := hangUp(bad); err != nil {
		t.Fatal(err)
	}
	if got := digests(); got != "bad:2 1:1 1:1" {
		t.Fatalf("workers run %s", got)
	}
	before := len(w.spawned)
	if err := hangUp(a); err != nil {
		t.Fatalf("reverted: %v", err)
	}
	if got := digests(); got != "1:1 1:1 1:1" {
		t.Errorf("workers run %s", got)
	}
	if !slices.Equal(w.spawned[before:], []string{"A[0]"}) {
		t.Errorf("replaced %v", w.spawned[before:])
	}
	if err := hangUp(a); !errors.Is(err, errNothingChanged) {
		t.Errorf("nothing changed: %v", err)
	}
	// Going on with what was stopped takes those that it did not reach.
	if err := hangUp(bad); err != nil {
		t.Fatal(err)
	}
	w.boot, before = nil, len(w.spawned)
	if err := hangUp(bad); err != nil {
		t.Fatal(err)
	}
	if got := digests(); got != "bad:3 bad:3 bad:3" {
		t.Errorf("workers run %s", got)
	}
	if !slices.Equal(w.spawned[before:], []string{"A[1]", "A[2]"}) {
		t.Errorf("replaced %v", w.spawned[before:])
	}
}

func TestRollOfOneConsumer(t *testing.T) {
	a, b := consumerOf("A", 1), consumerOf("B", 1)
	w := startWorld(t, a, b)
	if err := w.tryRoll(wire.Plan{Consumers: []wire.Consumer{a, b}}, fakeImage("new"), "B", false); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.checkImages("old new")
}

func TestRollFollowsTheConfiguredNumber(t *testing.T) {
	two, four := consumerOf("A", 2), consumerOf("A", 4)
	w := startWorld(t, two)
	if err := w.r.scale(w.now, w.r.consumers[0], 3); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.rollTo("new", two)
	w.checkImages("new new new") // what an operator has set stays
	w.rollTo("newer", four)
	w.checkImages("newer newer newer newer")
	w.rollTo("newest", two)
	w.checkImages("newest newest")
	w.checkRolled("", "", "")
}

// Another group would process whatever it has no position for: nobody asks for that by
// mistake.
func TestRollToAnotherGroup(t *testing.T) {
	a, b := consumerOf("A", 1), consumerOf("B", 1)
	w := startWorld(t, a, b)
	moved := a
	moved.Config.GroupID, moved.Digest = "typo", "2"
	plan := wire.Plan{Consumers: []wire.Consumer{moved, b}}
	for _, ifChanged := range []bool{false, true} {
		err := w.tryRoll(plan, fakeImage("new"), "", ifChanged)
		if err == nil || !strings.Contains(err.Error(), "A would change its group from A to typo") || !strings.Contains(err.Error(), "restart --new-group") {
			t.Errorf("%v", err)
		}
	}
	w.checkImages("old old")
	if err := w.tryRoll(plan, fakeImage("new"), "B", false); err != nil { // whose group is as it was
		t.Error(err)
	}
	w.settle()
	if err := w.r.rollTo(w.now, plan, fakeImage("old"), rollOrder{newGroup: true}); err != nil {
		t.Fatal(err)
	}
	w.held[fakeImage("old")] = true
	w.settle()
	if got := w.state("A[0]").Group; got != "typo" {
		t.Errorf("A is in group %s", got)
	}
}

func TestRollWithoutAConsumerIsRefused(t *testing.T) {
	a, b := consumerOf("A", 1), consumerOf("B", 1)
	w := startWorld(t, a, b)
	if err := w.tryRoll(wire.Plan{Consumers: []wire.Consumer{a}}, fakeImage("new"), "", false); err == nil || !strings.Contains(err.Error(), "B") {
		t.Error(err)
	}
	w.checkImages("old old")
}

func TestRollRevivesWhatWasGivenUp(t *testing.T) {
	a, b := consumerOf("A", 2), consumerOf("B", 1)
	w := startWorld(t, a, b)
	w.kill("A[0]", remains{exit: fleet.Exit{Code: wire.ExitPermanent}})
	w.kill("A[1]", remains{exit: fleet.Exit{Code: wire.ExitPermanent}})
	w.checkState("A[0]", status.Fatal)
	w.rollTo("new", a, b)
	w.checkImages("new new new")
	w.checkRolled("")
}

// One that was given up, and is not revived because the roll fails before, stays so.
func TestFailedRollLeavesGivenUpConsumersGivenUp(t *testing.T) {
	a, b := consumerOf("A", 1), consumerOf("B", 1)
	w := startWorld(t, b, a)
	w.kill("A[0]", remains{exit: fleet.Exit{Code: wire.ExitPermanent}})
	w.boot = func(f *fake) {
		if f.p.rel.image == fakeImage("new") {
			f.ends(fleet.Exit{Code: 1})
			return
		}
		f.runs()
	}
	w.rollTo("new", b, a)
	w.checkRolled("B[0] died")
	w.checkImages("old fatal")
	w.kill("B[0]", remains{exit: fleet.Exit{Code: wire.ExitPermanent}})
	w.checkEnd(1, "A was given up")
}

func TestStopEndsARoll(t *testing.T) {
	a := consumerOf("A", 2)
	w := startWorld(t, a)
	old := w.worker("A[0]")
	old.stubborn = true
	w.rollTo("new", a)
	w.stop(stopOrder{})
	w.checkRolled("everything is being stopped")
	if len(w.alive) != 2 { // A[1] has stopped and stays until the other one has
		t.Errorf("%d processes", len(w.alive))
	}
	old.ends(fleet.Exit{})
	w.settle()
	w.checkEnd(0, "")
	w.checkLeft("A[0] A[1]")
}

func TestDynamicMembersLeaveInARoll(t *testing.T) {
	a := consumerOf("A", 1, func(c *config.Config) { c.Membership = config.MembershipDynamic })
	w := startWorld(t, a)
	old := w.worker("A[0]")
	w.rollTo("new", a)
	if !old.last(wire.CommandStop).Leave || len(w.worker("A[0]").handshake.Predecessors) != 0 {
		t.Error("the old member stays")
	}
}

// A worker on its way out is not replaced: its successor would be nobody's.
func TestWorkersBeingScaledAwayAreNotRolled(t *testing.T) {
	a := consumerOf("A", 3)
	w := startWorld(t, a)
	old := w.worker("A[2]")
	old.stubborn = true
	if err := w.r.scale(w.now, w.r.consumers[0], 2); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.rollTo("new", a)
	w.checkRolled("")
	w.checkImages("new new stopping")
	old.ends(fleet.Exit{})
	w.settle()
	w.checkImages("new new")
	if len(w.alive) != 2 {
		t.Errorf("%d processes", len(w.alive))
	}
}

// The slot whose turn it is at the end of a roll is scaled away and its process has to
// be killed: its member is removed with the old program, although the roll has ended.
func TestMemberIsRemovedWithAnImageThatIsStillHeld(t *testing.T) {
	a := consumerOf("A", 2)
	w := startWorld(t, a)
	w.worker("A[1]").stubborn = true
	w.rollTo("new", a)
	w.checkImages("new stopping")
	w.scale(0, 1)
	w.pass(25 * time.Second)
	w.checkSignals("A[1] killed")
	w.checkRolled("")
	w.checkLeft("A[1]")
	if got := w.leaves[0].image; got != fakeImage("old") {
		t.Errorf("removed with %v", got)
	}
	if w.settle(); len(w.held) != 1 {
		t.Errorf("held open: %v", w.held)
	}
}

func TestScaleDownDuringARoll(t *testing.T) {
	for name, at := range map[string]string{"of the slot in turn": "A[2]", "of a slot to come": "A[1]"} {
		t.Run(name, func(t *testing.T) {
			a := consumerOf("A", 3)
			w := startWorld(t, a)
			old := w.worker(at)
			old.stubborn = true
			w.rollTo("new", a)
			if err := w.r.scale(w.now, w.r.consumers[0], 2); err != nil {
				t.Fatal(err)
			}
			w.settle()
			old.ends(fleet.Exit{})
			w.settle()
			w.checkRolled("")
			w.checkImages("new new")
			if len(w.alive) != 2 {
				t.Errorf("%d processes", len(w.alive))
			}
			w.r.end(stopOrder{})
			w.settle()
			if w.end == nil || len(w.alive) != 0 {
				t.Errorf("end %v with %d processes", w.end, len(w.alive))
			}
		})
	}
}

// What is added while a roll goes on starts with what is known to run, and is
// rolled when its turn comes.
func TestScaleUpDuringARoll(t *testing.T) {
	a := consumerOf("A", 1)
	w := startWorld(t, a)
	old := w.worker("A[0]")
	old.stubborn = true
	w.rollTo("new", a)
	if err := w.r.scale(w.now, w.r.consumers[0], 2); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.checkImages("stopping old")
	old.ends(fleet.Exit{})
	w.settle()
	w.checkImages("new new")
	w.checkRolled("")
}

func TestConsumerThatIsGivenUpEndsARoll(t *testing.T) {
	a, b := consumerOf("A", 2, func(c *config.Config) { c.WorkerRestartLimit = 1 }), consumerOf("B", 1)
	w := startWorld(t, a, b)
	old := w.worker("A[0]")
	old.stubborn = true
	w.rollTo("new", a, b)
	w.crash("A[1]")
	w.crash("A[1]")
	w.checkRolled("A was given up")
	old.ends(fleet.Exit{})
	w.settle()
	w.checkImages("fatal fatal old")
	if len(w.alive) != 1 {
		t.Errorf("%d processes", len(w.alive))
	}
}

// `--all`, and the new program has a consumer more.
func TestRollStartsConsumersThatAreNew(t *testing.T) {
	a, b := consumerOf("A", 1), consumerOf("B", 2)
	w := startWorld(t, a)
	if err := w.tryRoll(wire.Plan{Consumers: []wire.Consumer{a, b}}, fakeImage("old"), "", true); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.checkImages("old old old")
	w.checkRolled("")
	if !slices.Equal(w.spawned, []string{"A[0]", "B[0]", "B[1]"}) {
		t.Errorf("started %v", w.spawned)
	}
}

// A join that never ends, of a new release that comes and goes.
func TestRollDoesNotWaitForEver(t *testing.T) {
	a := consumerOf("A", 1)
	w := startWorld(t, a)
	w.boot = func(f *fake) {
		if f.p.rel.image == fakeImage("old") {
			f.runs()
		}
	}
	w.rollTo("new", a)
	f := w.worker("A[0]")
	for range 200 {
		if w.worker("A[0]") != f {
			break
		}
		f.says(status.Waiting)
		w.pass(time.Second)
		f.says(status.Joining)
		w.pass(5 * time.Second)
	}
	w.checkImages("old")
	w.checkRolled("A[0] did not come to run")
}

// stops sees that everything stops, and that no process is left that nobody knows of:
// the supervisor would wait for it for ever.
func (w *world) stops() {
	w.t.Helper()
	w.stop(stopOrder{})
	for _, f := range w.alive {
		if f.stubborn {
			f.ends(fleet.Exit{})
		}
	}
	w.settle()
	if w.end == nil || len(w.alive) != 0 {
		w.t.Errorf("end %v with %d processes", w.end, len(w.alive))
	}
}

func (w *world) scale(consumer, n int) {
	w.t.Helper()
	if err := w.r.scale(w.now, w.r.consumers[consumer], n); err != nil {
		w.t.Fatal(err)
	}
	w.settle()
}

// The process that stands by in one consumer's slot goes when another consumer ends
// the roll.
func TestOtherConsumerThatIsGivenUpEndsARoll(t *testing.T) {
	a, b := consumerOf("A", 1), consumerOf("B", 1, func(c *config.Config) { c.WorkerRestartLimit = 1 })
	w := startWorld(t, a, b)
	old := w.worker("A[0]")
	old.stubborn = true
	w.rollTo("new", a, b)
	w.crash("B[0]")
	w.crash("B[0]")
	w.checkRolled("B was given up")
	old.ends(fleet.Exit{})
	w.settle()
	w.checkImages("old fatal")
	if len(w.alive) != 1 {
		t.Errorf("%d processes: one stands by for nothing", len(w.alive))
	}
	w.rollTo("newer", a, b)
	w.checkImages("newer newer")
	w.stops()
}

// A slot that is scaled away when it is its turn, and back at once, is rolled all the
// same, and the roll goes on.
func TestScaleDownAndUpDuringARoll(t *testing.T) {
	for name, first := range map[string]string{"old first": "old", "standby first": "standby"} {
		t.Run(name, func(t *testing.T) {
			a, b := consumerOf("A", 2), consumerOf("B", 1)
			w := startWorld(t, a, b)
			old := w.worker("A[1]")
			old.stubborn = true
			w.rollTo("new", a, b)
			w.checkImages("new stopping old")
			if first == "old" { // killed, but its end comes late
				w.scaleWithLateStandby(old)
			} else {
				w.scale(0, 1)
				w.scale(0, 2)
				old.ends(fleet.Exit{})
				w.settle()
			}
			w.checkImages("new new new")
			w.checkRolled("")
			w.stops()
		})
	}
}

// scaleWithLateStandby scales the first consumer to 1 and back to 2 while the old
// process of the slot in turn ends before the one that stands by.
func (w *world) scaleWithLateStandby(old *fake) {
	w.t.Helper()
	var standby *fake
	for p, f := range w.alive {
		if p.slot.next == p {
			standby = f
		}
	}
	delete(w.alive, standby.p) // signals do not reach it
	w.scale(0, 1)
	w.scale(0, 2)
	old.ends(fleet.Exit{})
	w.settle()
	w.r.ended(standby.p, remains{exit: fleet.Exit{Code: -1, Signal: syscall.SIGKILL}})
	w.settle()
}

// The new process of a slot, scaled away and back before it runs, is started anew.
func TestScaleDownAndUpWhileTheNewOneStarts(t *testing.T) {
	a := consumerOf("A", 2)
	w := startWorld(t, a)
	w.boot = func(f *fake) {
		f.says(status.Joining)
		f.stubborn = true
	}
	w.rollTo("new", a)
	w.worker("A[0]").runs()
	w.settle()
	starting := w.worker("A[1]")
	w.checkImages("new new")
	w.scale(0, 1)
	w.scale(0, 2)
	w.boot = nil
	starting.ends(fleet.Exit{})
	w.settle()
	w.checkImages("new new")
	w.checkRolled("")
	w.stops()
}

// The new process of a slot failed, and the slot is scaled away before that one is
// gone: the roll ends with that failure, and nothing is left of it.
func TestSlotThatFailedIsScaledAway(t *testing.T) {
	a, b := consumerOf("A", 2), consumerOf("B", 1)
	w := startWorld(t, a, b)
	w.rollToFailingAt("A[1]", a, b)
	failing := w.worker("A[1]")
	w.pass(time.Minute)
	w.checkImages("new stopping old")
	w.scale(0, 1)
	w.boot = nil
	failing.ends(fleet.Exit{})
	w.settle()
	w.checkImages("new old")
	w.checkRolled("A[1] did not come to run")
	w.rollTo("newer", a, b)
	w.checkImages("newer newer")
	w.stops()
}

// rollToFailingAt rolls to an image of which that worker is silent and does not stop.
func (w *world) rollToFailingAt(name string, consumers ...wire.Consumer) {
	w.t.Helper()
	w.boot = func(f *fake) {
		if f.p.name() == name {
			f.stubborn, f.deaf = true, true
			f.says(status.Starting)
			return
		}
		f.runs()
	}
	w.rollTo("new", consumers...)
}

// Workers of a consumer that was given up may still be stopping when it is rolled:
// their slots are revived all the same.
func TestRollRevivesASlotThatStillStops(t *testing.T) {
	a := consumerOf("A", 2, func(c *config.Config) { c.WorkerRestartLimit = 1 })
	w := startWorld(t, a)
	old := w.worker("A[1]")
	old.stubborn = true
	w.crash("A[0]")
	w.crash("A[0]")
	w.checkImages("fatal stopping")
	w.boot = func(f *fake) { f.says(status.Joining) }
	w.rollTo("new", a)
	w.checkImages("new stopping")
	old.ends(fleet.Exit{}) // before its turn comes
	w.settle()
	w.boot = nil
	w.worker("A[0]").runs()
	w.settle()
	w.checkImages("new new")
	w.checkRolled("")
	w.stops()
}

// One that is given up while others are rolled is revived when its turn comes.
func TestRollRevivesWhatIsGivenUpMeanwhile(t *testing.T) {
	a := consumerOf("A", 2)
	w := startWorld(t, a)
	old := w.worker("A[0]")
	old.stubborn = true
	w.rollTo("new", a)
	w.kill("A[1]", remains{exit: fleet.Exit{Code: wire.ExitPermanent}})
	w.checkImages("stopping fatal")
	old.ends(fleet.Exit{})
	w.settle()
	w.checkImages("new new")
	w.checkRolled("")
	w.stops()
}

// A slot that was given up and scaled away stays away.
func TestScaledAwayAfterItWasGivenUp(t *testing.T) {
	for name, rolling := range map[string]bool{"before a roll": false, "during one": true} {
		t.Run(name, func(t *testing.T) {
			a := consumerOf("A", 2)
			w := startWorld(t, a)
			old := w.worker("A[0]")
			old.stubborn = true
			w.kill("A[1]", remains{exit: fleet.Exit{Code: wire.ExitPermanent}})
			if rolling {
				w.rollTo("new", a)
			}
			w.scale(0, 1)
			if !rolling {
				w.rollTo("new", a)
			}
			old.ends(fleet.Exit{})
			w.settle()
			w.checkImages("new")
			w.checkRolled("")
			w.scale(0, 2)
			w.checkImages("new new")
			w.stops()
		})
	}
}

// A slot that was revived counts as any other when the number of workers changes.
func TestScaleOfARevivedSlot(t *testing.T) {
	a := consumerOf("A", 2)
	w := startWorld(t, a)
	w.kill("A[1]", remains{exit: fleet.Exit{Code: wire.ExitPermanent}})
	w.rollTo("new", a)
	w.checkImages("new new")
	old := w.worker("A[1]")
	old.stubborn = true
	w.scale(0, 1)
	w.scale(0, 2)
	old.ends(fleet.Exit{})
	w.settle()
	w.checkImages("new new")
	w.stops()
}

// Of a roll that is aborted and begun anew before the process that stood by is gone,
// that process takes nothing with it.
func TestLateEndOfAProcessThatStoodBy(t *testing.T) {
	a, b := consumerOf("A", 1), consumerOf("B", 1, func(c *config.Config) { c.WorkerRestartLimit = 1 })
	w := startWorld(t, a, b)
	old := w.worker("A[0]")
	old.stubborn = true
	w.rollTo("new", a, b)
	var standby *fake
	for p, f := range w.alive {
		if p.slot.next == p {
			standby = f
		}
	}
	delete(w.alive, standby.p) // its end comes late
	w.crash("B[0]")
	w.crash("B[0]")
	w.checkRolled("B was given up")
	w.rollTo("newer", a, b)
	w.r.ended(standby.p, remains{exit: fleet.Exit{Code: -1, Signal: syscall.SIGKILL}})
	w.settle()
	w.checkImages("stopping fatal")
	old.ends(fleet.Exit{})
	w.settle()
	w.checkImages("newer newer")
	w.checkRolled("B was given up", "")
	w.stops()
}

// What cannot be started of the new release in an empty slot ends the roll too.
func TestNewProcessThatCannotBeStartedInAnEmptySlot(t *testing.T) {
	a := consumerOf("A", 2)
	w := startWorld(t, a)
	w.crash("A[0]")
	w.crash("A[0]")
	w.checkState("A[0]", status.Backoff)
	w.spawn = func(p *proc) error {
		if p.rel.image == fakeImage("new") {
			return syscall.ENOEXEC
		}
		return nil
	}
	w.rollTo("new", a)
	w.checkRolled("A[0] was not started: exec format error; the rolling restart was stopped")
	w.checkImages("old old")
}

// A supervisor that was stopped for a while does not hold that against a roll.
func TestRollOfASupervisorThatWasStopped(t *testing.T) {
	a := consumerOf("A", 1)
	w := startWorld(t, a)
	w.boot = func(f *fake) { f.says(status.Starting) }
	w.rollTo("new", a)
	w.pass(time.Second)
	w.now = w.now.Add(time.Hour)
	w.r.slept(time.Hour)
	w.r.due(w.now) // before the frames that came meanwhile are read
	w.settle()
	w.checkRolled()
	w.worker("A[0]").runs()
	w.settle()
	w.checkImages("new")
	w.checkRolled("")
}

// The new process of a slot that is scaled away before it runs has all its time to stop,
// and is no failure of the roll.
func TestRollDoesNotWaitForWhatIsScaledAway(t *testing.T) {
	a, b := consumerOf("A", 2), consumerOf("B", 1)
	w := startWorld(t, a, b)
	w.boot = func(f *fake) {
		if f.stubborn = f.p.name() == "A[1]"; f.stubborn {
			f.says(status.Waiting)
			return
		}
		f.runs()
	}
	w.rollTo("new", a, b)
	w.pass(50 * time.Second)
	starting := w.worker("A[1]")
	w.scale(0, 1)
	w.pass(24 * time.Second) // beyond the minute for coming up
	w.checkSignals()
	w.checkRolled()
	if next := w.r.next(); !next.After(w.now) {
		t.Errorf("the loop turns for a time %v ago", w.now.Sub(next))
	}
	starting.ends(fleet.Exit{})
	w.settle()
	w.checkImages("new new")
	w.checkRolled("")
	w.stops()
}

// A slot that its consumer does not have any more is not started.
func TestRollOfASlotThatIsGone(t *testing.T) {
	a := consumerOf("A", 1)
	w := startWorld(t, a)
	w.boot = func(f *fake) { f.says(status.Joining) }
	w.rollTo("new", a)
	ro := w.r.roll
	gone := &slot{consumer: w.r.consumers[0], index: 1, rel: w.r.consumers[0].rel}
	ro.queue, ro.revives[gone] = append(ro.queue, gone), true
	w.boot = nil
	w.worker("A[0]").runs()
	w.settle()
	w.checkRolled("")
	w.checkImages("new")
	w.stops()
}

// What is being scaled away when its consumer is given up, or when a roll that was to
// revive the others ends early, is not revived by the next roll.
func TestScaledAwayBeforeItsConsumerIsGivenUp(t *testing.T) {
	t.Run("given up", func(t *testing.T) {
		a := consumerOf("A", 2)
		w := startWorld(t, a)
		old := w.worker("A[1]")
		old.stubborn = true
		w.scale(0, 1)
		w.kill("A[0]", remains{exit: fleet.Exit{Code: wire.ExitPermanent}})
		w.checkImages("fatal stopping")
		w.rollTo("new", a)
		old.ends(fleet.Exit{})
		w.settle()
		w.checkImages("new")
		w.checkRolled("")
		w.stops()
	})
	t.Run("roll that ended early", func(t *testing.T) {
		a, b := consumerOf("A", 1), consumerOf("B", 2)
		w := startWorld(t, a, b)
		old := w.worker("B[1]")
		old.stubborn = true
		w.kill("B[0]", remains{exit: fleet.Exit{Code: wire.ExitPermanent}})
		w.boot = func(f *fake) {
			f.says(status.Joining)
			if f.p.rel.image == fakeImage("old") {
				f.runs()
			}
		}
		w.rollTo("new", a, b)
		w.scale(1, 1)
		w.crash("A[0]")
		w.checkRolled("A[0] died")
		w.checkImages("old fatal stopping")
		w.rollTo("newer", a, b)
		old.ends(fleet.Exit{}) // before the turn of its consumer
		w.settle()
		w.boot = nil
		w.worker("A[0]").runs()
		w.settle()
		w.checkImages("newer newer")
		w.checkRolled("A[0] died", "")
		w.stops()
	})
}
