package fleet

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
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

// world carries out a fleet's effects on processes that do not exist, in simulated time.
// Processes behave well unless a test says otherwise: they run as soon as they have a
// handshake, send a frame whenever they are observed, exit when they are asked to, and
// SIGKILL ends them.
type world struct {
	t   *testing.T
	f   *Fleet
	now time.Time

	alive map[ProcID]*fake
	pid   int

	// boot is what a process does when it is given the slot; nil: it runs.
	boot func(*fake)
	// construct is what one does that has to stand by; nil: it does.
	construct func(*fake)
	// spawn may fail; nil: it does not.
	spawn func(Spawn) error

	effects  []Effect       // not carried out yet
	observer func(Effect)   // sees each effect before it is carried out; nil: nobody does
	images   map[string]int // ids, by name
	open     map[Image]bool

	spawned  []string // names in order
	signals  []string // "A[0] killed"
	removals []RemoveMembers
	ready    int
	finished *Finished
	answers  map[uint64]error
	rollouts []error // ends
	ref      uint64
	events   []WorkerEvent
	leases   map[string]lastLease // by dependency
	logs     []string
}

// fake is a process that does not exist.
type fake struct {
	w            *world
	p            *proc
	name         string
	image        string
	handshake    *wire.Handshake
	commands     []wire.Command
	state        status.State // of its frames; empty: it is silent
	work         status.Work  // what its scoreboard says
	unresponsive bool         // does not stop when asked
	hangsAtExit  bool         // does not exit when it has stopped
	ignoresQuit  bool         // SIGQUIT does not end it
	lingers      bool         // SIGKILL does not end it at once
	dying        bool         // and was sent
	unread       bool
	stopped      bool
	inHand       []scoreboard.Call
	rss          int64
	calls        uint64 // that found a dependency unavailable
	paused       bool   // it can probe nothing
}

// newWorld has these consumers, not started.
func newWorld(t *testing.T, consumers ...wire.Consumer) *world {
	w := &world{t: t, now: epoch, alive: map[ProcID]*fake{}, images: map[string]int{}, open: map[Image]bool{}, answers: map[uint64]error{}, leases: map[string]lastLease{}}
	w.f = New(w.now, Options{Plan: wire.Plan{Consumers: consumers}, Image: w.image("old"), Nonce: "nonce", Host: "host", Draw: func() float64 { return 0 }})
	return w
}

// startWorld has these consumers, all running.
func startWorld(t *testing.T, consumers ...wire.Consumer) *world {
	t.Helper()
	w := newWorld(t, consumers...)
	w.start()
	return w
}

func (w *world) start() { w.step(Start{}) }

// image opens an image by its name.
func (w *world) image(name string) Image {
	id, known := w.images[name]
	if !known {
		id = len(w.images)
		w.images[name] = id
	}
	image := Image{id, name}
	w.open[image] = true
	return image
}

// step hands an event to the fleet and carries out effects until there are none.
func (w *world) step(e Event) {
	nested := len(w.effects) > 0
	w.effects = append(w.effects, w.f.Step(w.now, e)...)
	if nested {
		return
	}
	for len(w.effects) > 0 {
		next := w.effects[0]
		if w.observer != nil {
			w.observer(next)
		}
		w.carryOut(next)
		w.effects = w.effects[1:]
	}
}

// uses checks that an image is open.
func (w *world) uses(image Image) {
	w.t.Helper()
	if !w.open[image] {
		w.t.Errorf("started from %v, which was closed", image)
	}
}

func (w *world) carryOut(effect Effect) {
	switch e := effect.(type) {
	case Spawn:
		w.startProcess(e)
	case Handshake:
		if f := w.alive[e.Proc]; f != nil {
			f.assign(e.Handshake)
		}
	case Command:
		if f := w.alive[e.Proc]; f != nil {
			f.command(e.Command)
		}
	case Lease:
		w.leases[e.Lease.Dependency] = lastLease{e.Proc, e.Lease.ID}
	case OutageState:
	case Signal:
		if f := w.alive[e.Proc]; f != nil {
			f.signal(e.Signal)
		}
	case RemoveMembers:
		w.removals = append(w.removals, e)
		w.uses(e.Image)
		if e.Final {
			w.step(MembersRemoved{})
		}
	case CloseImage:
		w.uses(e.Image)
		delete(w.open, e.Image)
	case Ready:
		w.ready++
	case Answer:
		w.answers[e.Ref] = e.Err
	case Progress:
		switch {
		case e.Worker == "" && e.Step == "done":
			w.rollouts = append(w.rollouts, nil)
		case e.Worker == "" && e.Step == "failed":
			w.rollouts = append(w.rollouts, fmt.Errorf("%s", e.Detail))
		}
	case Finished:
		if w.finished != nil {
			w.t.Error("finished twice")
		}
		w.finished = &e
	case Log:
		w.logs = append(w.logs, e.Message)
		if e.Level > slog.LevelError {
			w.t.Error(e.Message)
		}
	case WorkerEvent:
		w.events = append(w.events, e)
	case PrepareRemoval, Stopping, RolloutEnded:
	default:
		w.t.Fatalf("effect %T", e)
	}
}

// lastLease is the last one that was granted for a dependency.
type lastLease struct {
	proc ProcID
	id   uint64
}

// reports has a process report what it holds for a dependency; failed: because of a call.
func (f *fake) reports(dependency string, held int, failed bool, pause time.Duration) {
	if failed {
		f.calls++
	}
	f.w.step(OutageReported{f.p.id, wire.Outage{Dependency: dependency, Held: held, Wants: held > 0 && !f.paused, Calls: f.calls, Pause: pause, Error: dependency + " is away"}})
}

// probed has the process give its last lease for a dependency back.
func (f *fake) probed(dependency string, result wire.ProbeResult, pause time.Duration) {
	e := ProbeEnded{f.p.id, wire.Probed{Dependency: dependency, Result: result, Pause: pause, Error: dependency + " is away"}}
	if l := f.w.leases[dependency]; l.proc == f.p.id {
		e.Probed.Lease = l.id
	}
	f.w.step(e)
}

// startProcess starts a process.
func (w *world) startProcess(e Spawn) {
	w.spawned = append(w.spawned, e.Worker)
	w.uses(e.Image)
	if w.spawn != nil {
		if err := w.spawn(e); err != nil {
			w.step(SpawnFailed{e.Proc, err, errors.Is(err, syscall.EAGAIN)})
			return
		}
	}
	w.pid++
	f := &fake{w: w, p: w.f.procs[e.Proc], name: e.Worker, image: e.Image.Name}
	w.alive[e.Proc] = f
	w.step(Spawned{e.Proc, w.pid})
	f.assign(e.Handshake)
}

func (f *fake) assign(h wire.Handshake) {
	f.handshake = &h
	switch {
	case h.Standby && f.w.construct != nil:
		f.w.construct(f)
	case h.Standby:
		f.says(status.Standby)
	case f.w.boot != nil:
		f.w.boot(f)
	default:
		f.runs()
	}
}

func (f *fake) command(cmd wire.Command) {
	f.commands = append(f.commands, cmd)
	switch {
	case cmd.Kind == wire.CommandStop && !f.unresponsive && cmd.Stay:
		f.says(status.Exited)
	case cmd.Kind == wire.CommandStop && !f.unresponsive, cmd.Kind == wire.CommandExit && !f.hangsAtExit:
		f.exits(Exit{})
	}
}

func (f *fake) signal(sig syscall.Signal) {
	f.w.signals = append(f.w.signals, fmt.Sprintf("%s %v", f.name, sig))
	switch {
	case sig == syscall.SIGKILL && f.lingers:
		f.dying = true
	case sig == syscall.SIGKILL:
		f.exits(killed)
	case sig == syscall.SIGQUIT && !f.ignoresQuit:
		f.exits(Exit{Code: 2})
	}
}

var killed = Exit{Code: -1, Signal: syscall.SIGKILL}

// runs says that it runs.
func (f *fake) runs() {
	f.says(status.Running)
	f.w.step(MembersChanged{f.p.id, []status.Member{{Group: "g", InstanceID: f.name, MemberID: fmt.Sprint(f.name, "-", f.w.pid)}}})
}

// says sends a frame, and the same from now on.
func (f *fake) says(s status.State) {
	f.state = s
	f.w.step(FrameReceived{f.p.id, wire.Frame{State: s, Live: true}})
}

// exits is its end.
func (f *fake) exits(exit Exit) { f.dies(Exited{Exit: exit}) }

func (f *fake) dies(e Exited) {
	delete(f.w.alive, f.p.id)
	e.Proc, e.Work = f.p.id, f.work
	if e.InHand == nil {
		e.InHand = f.inHand
	}
	f.w.step(e)
}

// standsBy reports whether it does.
func (f *fake) standsBy() bool { return f.p.slot.standby == f.p }

// crash ends a worker with status 1.
func (w *world) crash(name string) { w.kill(name, Exited{Exit: Exit{Code: 1}}) }

func (w *world) kill(name string, e Exited) {
	w.t.Helper()
	w.worker(name).dies(e)
}

// worker finds the process that has a slot.
func (w *world) worker(name string) *fake {
	w.t.Helper()
	for _, f := range w.alive {
		if f.name == name && f.p.slot.active == f.p {
			return f
		}
	}
	w.t.Fatalf("%s has no process", name)
	return nil
}

// sorted are all processes, the oldest first.
func (w *world) sorted() []*fake {
	return slices.SortedFunc(maps.Values(w.alive), func(a, b *fake) int { return cmp.Compare(a.p.id, b.p.id) })
}

// pass lets time go by, second by second and deadline by deadline.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	until := w.now.Add(d)
	for w.now.Before(until) {
		next := w.now.Add(ObserveEvery)
		if due := w.f.LoopState().WakeAt; !due.IsZero() && due.After(w.now) && due.Before(next) {
			next = due
		}
		if next.After(until) {
			next = until
		}
		for _, f := range w.alive {
			for i := range f.inHand {
				f.inHand[i].Since += next.Sub(w.now)
			}
		}
		w.now = next
		w.observe()
		w.step(Tick{})
		if due := w.f.LoopState().WakeAt; !due.IsZero() && !due.After(w.now) {
			w.t.Errorf("after a tick the fleet asks for another one at once: due %v", w.now.Sub(due))
		}
	}
}

// observe is what the loop does once a second.
func (w *world) observe() {
	for _, f := range w.sorted() {
		if f.state != "" {
			w.step(FrameReceived{f.p.id, wire.Frame{State: f.state, Live: true}})
		}
	}
	var all Observed
	for _, f := range w.sorted() {
		all = append(all, Observation{Proc: f.p.id, InHand: f.inHand, Unread: f.unread, RSS: f.rss, Stopped: f.stopped})
	}
	w.step(all)
}

func (w *world) report() status.Status { return w.f.Status(func(ProcID) bool { return true }) }

// state of a worker, as status shows it.
func (w *world) state(name string) status.Worker {
	w.t.Helper()
	for _, s := range w.report().Workers {
		if s.Name() == name {
			return s
		}
	}
	return status.Worker{}
}

func (w *world) checkState(name string, want status.State) {
	w.t.Helper()
	if got := w.state(name); got.State != want {
		w.t.Errorf("%s is %q (%s), want %q", name, got.State, got.Detail, want)
	}
}

func (w *world) checkFinished(code int, text string) {
	w.t.Helper()
	switch {
	case w.finished == nil:
		w.t.Error("it has not finished")
	case w.finished.Code != code || (w.finished.Err == nil) != (text == "") || text != "" && !strings.Contains(w.finished.Err.Error(), text):
		w.t.Errorf("finished with %d, %v; want %d, %q", w.finished.Code, w.finished.Err, code, text)
	}
}

// checkRemoved compares the instance ids that were removed from groups.
func (w *world) checkRemoved(want string) {
	w.t.Helper()
	var got []string
	for _, r := range w.removals {
		var ids []string
		for _, m := range r.Members {
			ids = append(ids, m.InstanceID)
		}
		got = append(got, strings.Join(ids, " "))
	}
	if s := strings.Join(got, "; "); s != want {
		w.t.Errorf("removed: %q, want %q", s, want)
	}
}

// request hands in an event with a ref and returns the answer, nil when there is none yet.
func (w *world) request(event func(ref uint64) Event) error {
	w.ref++
	w.step(event(w.ref))
	return w.answers[w.ref]
}

// scale asks for another number of workers.
func (w *world) scale(consumer string, n int) error {
	return w.request(func(ref uint64) Event { return Scale{ref, consumer, n} })
}

func (w *world) mustScale(consumer string, n int) {
	w.t.Helper()
	if err := w.scale(consumer, n); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) tryRollout(image string, e Rollout) error {
	return w.request(func(ref uint64) Event {
		e.Ref, e.Image = ref, w.image(image)
		return e
	})
}

// stop is a shutdown.
func (w *world) stop(e Shutdown) { w.step(e) }

// count is how many commands of a kind a process got.
func (f *fake) count(kind wire.CommandKind) int {
	n := 0
	for _, c := range f.commands {
		if c.Kind == kind {
			n++
		}
	}
	return n
}

func (f *fake) last(kind wire.CommandKind) wire.Command {
	for i := len(f.commands) - 1; i >= 0; i-- {
		if f.commands[i].Kind == kind {
			return f.commands[i]
		}
	}
	return wire.Command{}
}

// consumerOf is a consumer of n workers with the usual limits.
func consumerOf(name string, n int, change ...func(*config.Config)) wire.Consumer {
	c := wire.Consumer{Name: name, Digest: "1", Config: config.Config{
		GroupID: name, ParallelWorkers: n, Concurrency: 1,
		ShutdownTimeout: 25 * time.Second, WorkerBootTimeout: time.Minute, WorkerTimeout: 15 * time.Second,
		MaxPollInterval: 5 * time.Minute, OutageMaxPause: 30 * time.Second, WorkerRestartLimit: 5, Membership: config.MembershipRun,
	}}
	for _, f := range change {
		f(&c.Config)
	}
	return c
}
