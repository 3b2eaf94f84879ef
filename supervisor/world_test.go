package supervisor

import (
	"fmt"
	"maps"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/fleet"
	"github.com/racecar-go/racecar/supervisor/process"
)

// world carries out a registry's effects on processes that do not exist, in
// invented time. Processes behave well unless a test says otherwise: they run
// as soon as they are greeted, send a frame whenever they are looked at, end
// when they are asked to, and SIGKILL ends them.
type world struct {
	t   *testing.T
	r   *registry
	now time.Time

	alive map[*proc]*fake
	pid   int

	// boot is what a process says when it is given the slot; nil: that it runs.
	boot func(*fake)
	// construct is what one says that is to stand by; nil: that it does.
	construct func(*fake)
	// spawn may fail; nil: it does not.
	spawn func(*proc) error

	held    map[process.Image]bool // held open
	spawned []string               // names in order
	signals []string               // "A[0] killed"
	leaves  []doLeave
	ready   int
	end     *doEnd
	rolls   []error // ends of rolls
	events  []Event
	logs    []string
}

// fake is a process that does not exist.
type fake struct {
	w           *world
	p           *proc
	handshake   *wire.Handshake
	commands    []wire.Command
	state       status.State // of its frames; empty: it is silent
	work        status.Work  // what its scoreboard says
	stubborn    bool         // does not stop when asked
	hangsAtExit bool         // nor exit, when it has stopped
	deaf        bool         // SIGQUIT does not end it
	lingers     bool         // SIGKILL does not end it at once
	dying       bool         // and was sent
	unread      bool
	stopped     bool
	inHand      []scoreboard.Call
	rss         int64
}

// fakeImage is an image by name.
type fakeImage string

func (i fakeImage) Same(o process.Image) bool { return i == o }
func (i fakeImage) String() string            { return string(i) }
func (i fakeImage) Close() error              { return nil }

// newWorld begins with these consumers, all running.
func newWorld(t *testing.T, consumers ...wire.Consumer) *world {
	w := &world{t: t, now: epoch, alive: map[*proc]*fake{}, held: map[process.Image]bool{fakeImage("old"): true}}
	w.r = newRegistry(w.now, wire.Plan{Consumers: consumers}, fakeImage("old"), "nonce", "host", func() float64 { return 0 })
	return w
}

func startWorld(t *testing.T, consumers ...wire.Consumer) *world {
	t.Helper()
	w := newWorld(t, consumers...)
	w.begin()
	return w
}

func (w *world) begin() {
	w.r.begin(w.now)
	w.settle()
}

// settle carries out effects until there are none.
func (w *world) settle() {
	for {
		effects := w.r.take()
		if len(effects) == 0 {
			used := w.r.imagesInUse()
			maps.DeleteFunc(w.held, func(i process.Image, _ bool) bool { return !used[i] })
			return
		}
		for _, e := range effects {
			w.carryOut(e)
		}
	}
}

// uses sees that an image is held open.
func (w *world) uses(image process.Image) {
	w.t.Helper()
	if !w.held[image] {
		w.t.Errorf("started from %v, which nobody held open", image)
	}
}

func (w *world) carryOut(e effect) {
	switch e := e.(type) {
	case doSpawn:
		w.spawned = append(w.spawned, e.proc.name())
		w.uses(e.proc.rel.image)
		if w.spawn != nil {
			if err := w.spawn(e.proc); err != nil {
				w.r.spawnFailed(w.now, e.proc, err, temporary(err))
				return
			}
		}
		w.pid++
		f := &fake{w: w, p: e.proc}
		w.alive[e.proc] = f
		w.r.spawnedAs(w.now, e.proc, w.pid)
		w.greet(f)
	case doGreet:
		if f := w.alive[e.proc]; f != nil {
			w.greet(f)
		}
	case doCommand:
		f := w.alive[e.proc]
		if f == nil {
			return
		}
		f.commands = append(f.commands, e.cmd)
		switch {
		case e.cmd.Kind == wire.CommandStop && !f.stubborn && e.cmd.Stay:
			f.says(status.Exited)
		case e.cmd.Kind == wire.CommandStop && !f.stubborn, e.cmd.Kind == wire.CommandExit && !f.hangsAtExit:
			f.ends(fleet.Exit{})
		}
	case doSignal:
		f := w.alive[e.proc]
		w.signals = append(w.signals, fmt.Sprintf("%s %v", e.proc.name(), e.sig))
		switch {
		case f == nil:
		case e.sig == syscall.SIGKILL && f.lingers:
			f.dying = true
		case e.sig == syscall.SIGKILL:
			f.ends(fleet.Exit{Code: -1, Signal: e.sig})
		case e.sig == syscall.SIGQUIT && !f.deaf:
			f.ends(fleet.Exit{Code: 2})
		}
	case doLeave:
		w.leaves = append(w.leaves, e)
		w.uses(e.image)
		if e.final {
			w.r.leaveDone(w.now)
		}
	case doReady:
		w.ready++
	case doRollEnd:
		w.rolls = append(w.rolls, e.err)
	case doEnd:
		if w.end != nil {
			w.t.Error("ended twice")
		}
		w.end = &e
	case doLog:
		w.logs = append(w.logs, e.msg)
		if e.level == logrus.PanicLevel {
			w.t.Error(e.msg)
		}
	case doEvent:
		w.events = append(w.events, Event(e))
	case doProgress, doPrepareLeave, doStopping:
	default:
		w.t.Fatalf("effect %T", e)
	}
}

func (w *world) greet(f *fake) {
	h := w.r.handshake(f.p)
	f.handshake = &h
	switch {
	case h.Standby && w.construct != nil:
		w.construct(f)
	case h.Standby:
		f.says(status.Standby)
	case w.boot != nil:
		w.boot(f)
	default:
		f.runs()
	}
}

// runs says that it runs.
func (f *fake) runs() {
	f.says(status.Running)
	f.w.r.placesAre(f.w.now, f.p, []status.Member{{Group: "g", InstanceID: f.p.name(), MemberID: fmt.Sprint(f.p.name(), "-", f.w.pid)}})
}

// says sends a frame, and the same from now on.
func (f *fake) says(s status.State) {
	f.state = s
	f.w.r.frame(f.w.now, f.p, wire.Frame{State: s, Live: true})
}

// ends is its end.
func (f *fake) ends(exit fleet.Exit) { f.dies(remains{exit: exit, inHand: f.inHand}) }

func (f *fake) dies(e remains) {
	delete(f.w.alive, f.p)
	e.work = f.work
	f.w.r.ended(f.p, e)
}

// crash ends a worker with status 1, and settles.
func (w *world) crash(name string) { w.kill(name, remains{exit: fleet.Exit{Code: 1}}) }

func (w *world) kill(name string, e remains) {
	w.t.Helper()
	f := w.worker(name)
	if e.inHand == nil {
		e.inHand = f.inHand
	}
	w.r.now = w.now
	f.dies(e)
	w.settle()
}

// worker finds the process that has a slot.
func (w *world) worker(name string) *fake {
	w.t.Helper()
	for p, f := range w.alive {
		if p.name() == name && p.slot.cur == p {
			return f
		}
	}
	w.t.Fatalf("%s has no process", name)
	return nil
}

// pass lets time go by, second by second and deadline by deadline.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	until := w.now.Add(d)
	for w.now.Before(until) {
		step := w.now.Add(tick)
		if next := w.r.next(); !next.IsZero() && next.After(w.now) && next.Before(step) {
			step = next
		}
		if step.After(until) {
			step = until
		}
		for _, f := range w.alive {
			for i := range f.inHand {
				f.inHand[i].Since += step.Sub(w.now)
			}
		}
		w.now = step
		w.look()
		w.r.due(w.now)
		w.settle()
	}
}

// look is what the loop does once a tick.
func (w *world) look() {
	for p, f := range w.alive {
		if f.state != "" {
			w.r.frame(w.now, p, wire.Frame{State: f.state, Live: true})
		}
	}
	for p, f := range w.alive {
		w.r.seen(w.now, p, sight{
			inHand: f.inHand, unread: f.unread, rss: f.rss, stopped: func() bool { return f.stopped },
		})
	}
	w.settle()
}

// state of a worker, as status shows it.
func (w *world) state(name string) status.Worker {
	w.t.Helper()
	for _, s := range w.r.status(func(*proc) bool { return true }).Workers {
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

func (w *world) checkEnd(code int, text string) {
	w.t.Helper()
	switch {
	case w.end == nil:
		w.t.Error("it has not ended")
	case w.end.code != code || (w.end.err == nil) != (text == "") || text != "" && !strings.Contains(w.end.err.Error(), text):
		w.t.Errorf("ended with %d, %v; want %d, %q", w.end.code, w.end.err, code, text)
	}
}

// checkLeft compares the instance ids that were removed from groups.
func (w *world) checkLeft(want string) {
	w.t.Helper()
	var got []string
	for _, l := range w.leaves {
		var ids []string
		for _, p := range l.places {
			ids = append(ids, p.InstanceID)
		}
		got = append(got, strings.Join(ids, " "))
	}
	if s := strings.Join(got, "; "); s != want {
		w.t.Errorf("left: %q, want %q", s, want)
	}
}

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
		MaxPollInterval: 5 * time.Minute, WorkerRestartLimit: 5, Membership: config.MembershipRun,
	}}
	for _, f := range change {
		f(&c.Config)
	}
	return c
}
