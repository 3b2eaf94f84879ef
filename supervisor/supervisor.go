package supervisor

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/signals"
)

// Supervisor runs the workers of a plan. Make it with New, run it once with
// Run; the control methods may be called from any goroutine at any time.
type Supervisor struct {
	opts     Options
	events   chan any
	requests chan request
	ended    chan struct{} // closed when Run is over
	watchers watchers

	// What follows belongs to the loop.
	reg      *registry
	log      *asyncLog
	children map[*proc]*child
	procs    map[*child]*proc
	shots    map[*child]*oneShot
	pending  map[uint64]waiter   // by command
	rolling  []func(error)       // who waits for the end of the roll
	leavers  map[string]*oneShot // prepared, by consumer
	planning *planning
	again    bool // a HUP came while a look at the program or a roll was under way
	oom      oomWatch
	notify   *notifier
	images   []Image // held open
	reaper   reaper
	reapAt   time.Time // when to look for orphans again; zero: at SIGCHLD
	looked   time.Time // when the workers were last looked at
	weighed  time.Time // when their memory was
	swept    time.Time // when suspects were asked after
	turn     time.Time // the last turn of the loop
	end      *doEnd
	wg       sync.WaitGroup
}

// New checks the options and opens the image of this process, from which
// workers are started until the first roll.
func New(o Options) (*Supervisor, error) {
	switch {
	case o.Plan.Error != "":
		return nil, errors.New(o.Plan.Error)
	case len(o.Plan.Consumers) == 0:
		return nil, errors.New("no consumer specified")
	case o.Spawner == nil || o.Log == nil:
		return nil, errors.New("supervisor: Spawner and Log are required")
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	if o.Nonce == "" {
		var b [6]byte
		_, _ = rand.Read(b[:]) // never fails
		o.Nonce = hex.EncodeToString(b[:])
	}
	image, err := o.Spawner.Running()
	if err != nil {
		return nil, fmt.Errorf("open the running program: %w", err)
	}
	return &Supervisor{
		opts:     o,
		images:   []Image{image},
		events:   make(chan any),
		requests: make(chan request),
		ended:    make(chan struct{}),
		children: map[*proc]*child{},
		procs:    map[*child]*proc{},
		shots:    map[*child]*oneShot{},
		pending:  map[uint64]waiter{},
		leavers:  map[string]*oneShot{},
	}, nil
}

// Run starts the workers and returns when all have ended: after a Stop, a
// signal, or the end of ctx, which stops in order; or when no consumer is left.
// The code is for os.Exit: 0 after an ordered stop, else 1; then err says why.
func (s *Supervisor) Run(ctx context.Context) (code int, err error) {
	now := time.Now()
	host, err := os.Hostname()
	if err != nil {
		host = "localhost" // only a name in instance ids
	}
	s.log = newAsyncLog(s.opts.Log)
	s.notify = newNotifier()
	s.reg = newRegistry(now, s.opts.Plan, s.images[0], s.opts.Nonce, host, mathrand.Float64)
	defer s.close()

	s.reg.begin(now)
	s.carryOut()
	return s.loop(ctx)
}

// loop takes one event at a time.
func (s *Supervisor) loop(ctx context.Context) (int, error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	s.turn = time.Now()
	done := ctx.Done()
	for s.end == nil {
		timer.Reset(s.wait())
		var event any
		select {
		case <-done:
			done = nil
			event = ctx.Err()
		case sig := <-s.opts.Signals:
			event = sig
		case event = <-s.events:
		case req := <-s.requests:
			event = req
		case <-timer.C:
		}
		now := time.Now()
		s.overslept(now)
		s.handle(now, event)
		s.watch(now)
		s.reg.due(now)
		s.carryOut()
		if s.again && s.planning == nil && s.reg.roll == nil && s.reg.ending == nil {
			s.again = false
			s.rollChanges()
			s.carryOut()
		}
		s.notify.alive(now)
		s.turn = time.Now()
	}
	return s.end.code, s.end.err
}

// wait is how long the loop may sleep.
func (s *Supervisor) wait() time.Duration {
	d := time.Until(s.looked.Add(tick))
	for _, next := range []time.Time{s.reg.next(), s.notify.next()} {
		if !next.IsZero() {
			d = min(d, time.Until(next))
		}
	}
	return max(0, d)
}

// overslept finds out that this process did not run for a while: it was
// stopped, or the machine is overloaded. The loop sleeps no longer than a tick.
func (s *Supervisor) overslept(now time.Time) {
	if gap := now.Sub(s.turn); gap > 2*tick {
		s.reg.slept(gap)
		s.logf(logrus.WarnLevel, "the supervisor did not run for a while", logrus.Fields{"for": gap.Round(time.Millisecond).String()})
	}
}

func (s *Supervisor) logf(level logrus.Level, msg string, fields logrus.Fields) {
	s.log.write(level, msg, fields)
}

func (s *Supervisor) handle(now time.Time, event any) {
	switch e := event.(type) {
	case nil:
	case error: // the ctx ended
		s.reg.now = now
		s.reg.end(stopOrder{})
	case os.Signal:
		s.signal(now, e)
	case request:
		e.do(now)
	case received:
		s.received(now, e)
	case broken:
		s.broken(now, e)
	case gone:
		s.gone(now, e)
	case func(time.Time):
		e(now)
	default:
		panic(fmt.Sprintf("supervisor: event %T", event))
	}
}

// deliver hands an event to the loop.
func (s *Supervisor) deliver(event any) bool {
	select {
	case s.events <- event:
		return true
	case <-s.ended:
		return false
	}
}

func (s *Supervisor) received(now time.Time, e received) {
	p := s.procs[e.child]
	if p == nil {
		s.shotReceived(now, e)
		return
	}
	if err := s.takeMessage(now, p, e.env); err != nil {
		s.broken(now, broken{e.child, err})
	}
}

func (s *Supervisor) takeMessage(now time.Time, p *proc, env wire.Envelope) error {
	switch env.Kind {
	case wire.KindFrame:
		var f wire.Frame
		if err := env.Decode(&f); err != nil {
			return err
		}
		s.reg.frame(now, p, f)
	case wire.KindPlaces:
		var places []status.Place
		if err := env.Decode(&places); err != nil {
			return err
		}
		s.reg.placesAre(now, p, places)
	case wire.KindLastWords:
		var last wire.LastWords
		if err := env.Decode(&last); err != nil {
			return err
		}
		s.reg.lastWords(now, p, last)
	case wire.KindReply:
		var reply wire.Reply
		if err := env.Decode(&reply); err != nil {
			return err
		}
		s.answered(reply.ID, reply, nil)
	default:
		return fmt.Errorf("unexpected message %q", env.Kind)
	}
	return nil
}

// broken ends a process that does not speak our protocol.
func (s *Supervisor) broken(now time.Time, e broken) {
	p := s.procs[e.child]
	if p == nil {
		s.signalChild(e.child, syscall.SIGKILL)
		return
	}
	s.reg.now = now
	s.reg.put(p, "protocol", fmt.Sprintf("does not speak our protocol: %v", e.err), killRung)
}

func (s *Supervisor) gone(now time.Time, e gone) {
	defer func() {
		if err := e.child.process.Close(); err != nil {
			s.logf(logrus.WarnLevel, "a process that ended could not be cleaned up", logrus.Fields{"pid": e.child.process.PID(), "error": err.Error()})
		}
	}()
	p := s.procs[e.child]
	if p == nil {
		s.shotGone(now, e)
		return
	}
	delete(s.procs, e.child)
	delete(s.children, p)
	for id, w := range s.pending {
		if w.proc == p {
			s.answered(id, wire.Reply{}, errGone)
		}
	}
	tail, headline := e.child.process.Stderr()
	s.reg.now = now
	s.reg.ended(p, remains{
		exit:   e.exit,
		oom:    e.exit.Signal == syscall.SIGKILL && p.killed == "" && s.oom.grew(s.opts.Spawner),
		inHand: e.child.process.InHand(),
		tail:   tail, headline: headline,
	})
}

// carryOut does what the registry wants done, until it wants no more.
func (s *Supervisor) carryOut() {
	for {
		effects := s.reg.take()
		if len(effects) == 0 {
			return
		}
		for _, e := range effects {
			s.effect(e)
		}
	}
}

func (s *Supervisor) effect(e effect) {
	switch e := e.(type) {
	case doSpawn:
		s.spawn(e)
	case doGreet:
		s.greet(e.proc)
	case doCommand:
		s.sendCommand(e.proc, e.cmd)
	case doSignal:
		if c := s.children[e.proc]; c != nil {
			s.signalChild(c, e.sig)
		}
	case doPrepareLeave:
		s.prepareLeave(e)
	case doLeave:
		s.leave(e)
	case doLog:
		s.logf(e.level, e.msg, e.fields)
	case doProgress:
		s.watchers.tell(Progress(e))
	case doReady:
		s.notify.ready()
		if s.opts.OnReady != nil {
			s.opts.OnReady()
		}
		s.logf(logrus.InfoLevel, "ready", nil)
	case doStopping:
		s.notify.send("STOPPING=1")
	case doRollEnd:
		s.rollEnded(e.err)
	case doEnd:
		s.end = &e
	default:
		panic(fmt.Sprintf("supervisor: effect %T", e))
	}
}

func (s *Supervisor) signalChild(c *child, sig syscall.Signal) {
	if err := c.process.Signal(sig); err != nil {
		s.logf(logrus.WarnLevel, "signal was not sent", logrus.Fields{"pid": c.process.PID(), "signal": sig.String(), "error": err.Error()})
	}
}

// spawn starts the process of p.
func (s *Supervisor) spawn(e doSpawn) {
	p := e.proc
	cfg := p.rel.config()
	process, err := s.opts.Spawner.Spawn(Spec{
		Role:  wire.RoleWorker,
		Argv:  []string{"racecar: " + p.name()},
		Image: p.rel.image,
		Env:   workerEnv(cfg),
		Slots: max(1, cfg.Concurrency),
	})
	if err != nil {
		s.reg.spawnFailed(time.Now(), p, err, temporary(err))
		return
	}
	c := adopt(process, s.deliver, &s.wg)
	s.children[p], s.procs[c] = c, p
	if e.greet {
		s.greet(p)
	}
	s.reg.spawnedAs(time.Now(), p, process.PID())
}

// greet makes a process the worker p.
func (s *Supervisor) greet(p *proc) {
	c := s.children[p]
	if c == nil {
		return // it could not be started
	}
	if err := c.send(wire.KindHandshake, s.reg.handshake(p)); err != nil {
		s.broken(time.Now(), broken{c, err}) // cannot be: nothing was sent before
	}
}

// workerEnv is what a worker has in its environment beyond ours. Values that the
// user has set win.
func workerEnv(cfg *config.Config) []string {
	var env []string
	add := func(key, value string) {
		if _, set := os.LookupEnv(key); !set {
			env = append(env, key+"="+value)
		}
	}
	add("GOMAXPROCS", strconv.Itoa(min(runtime.GOMAXPROCS(0), cfg.Concurrency+1)))
	if cfg.WorkerMemoryLimit > 0 {
		add("GOMEMLIMIT", strconv.FormatInt(cfg.WorkerMemoryLimit/10*8, 10))
	}
	return env
}

// temporary says that an error of starting a process may pass: the system lacks
// something just now.
func temporary(err error) bool {
	for _, passing := range []error{syscall.EAGAIN, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

// waiter is told how a command went. It belongs to a process, whose end is an
// answer too.
type waiter struct {
	proc *proc
	done func(wire.Reply, error)
}

// errGone answers commands to a process that ended before it did.
var errGone = errors.New("the worker ended")

// sendCommand sends a command whose reply, if nobody waits for it, is looked at
// for errors.
func (s *Supervisor) sendCommand(p *proc, cmd wire.Command) {
	c := s.children[p]
	if _, waited := s.pending[cmd.ID]; !waited && cmd.Kind != wire.CommandStop && c != nil {
		s.pending[cmd.ID] = waiter{p, func(reply wire.Reply, err error) { s.unawaited(p, cmd.Kind, reply, err) }}
	}
	err := errGone
	if c != nil {
		err = c.send(wire.KindCommand, cmd)
	}
	if err != nil {
		s.answered(cmd.ID, wire.Reply{}, err)
	}
}

// unawaited takes the reply to a command that was not asked for by anybody.
func (s *Supervisor) unawaited(p *proc, kind wire.CommandKind, reply wire.Reply, err error) {
	if err == nil && reply.Error != "" {
		err = errors.New(reply.Error)
	}
	switch {
	case err == nil && kind == wire.CommandStatus:
		s.takeReport(p, reply)
	case err != nil && !errors.Is(err, errGone):
		s.logf(logrus.WarnLevel, "command did not succeed", logrus.Fields{"worker": p.name(), "pid": p.pid, "command": string(kind), "error": err.Error()})
	}
}

func (s *Supervisor) answered(id uint64, reply wire.Reply, err error) {
	if w, ok := s.pending[id]; ok {
		delete(s.pending, id)
		w.done(reply, err)
	}
}

// takeReport reads the reply to a status command.
func (s *Supervisor) takeReport(p *proc, reply wire.Reply) {
	var rep status.Report
	if err := json.Unmarshal(reply.Data, &rep); err != nil {
		s.logf(logrus.WarnLevel, "report was not understood", logrus.Fields{"worker": p.name(), "pid": p.pid, "error": err.Error()})
		return
	}
	s.reg.reported(time.Now(), p, rep)
}

// watch looks at all workers once a tick.
func (s *Supervisor) watch(now time.Time) {
	if now.Sub(s.looked) < tick {
		return
	}
	s.looked = now
	weigh := now.Sub(s.weighed) >= memoryEvery
	if weigh {
		s.weighed = now
		s.oom.look(s.opts.Spawner)
	}
	for p, c := range s.children {
		seen := sight{
			inHand: c.process.InHand(),
			unread: c.process.Unread(),
			heard:  c.lastHeard(),
			stopped: func() bool {
				u, err := c.process.Usage()
				return err == nil && u.Stopped
			},
		}
		if weigh && p.rel.config().WorkerMemoryLimit > 0 {
			if u, err := c.process.Usage(); err == nil {
				seen.rss = u.RSS
			}
		}
		s.reg.seen(now, p, seen)
	}
	if !s.reapAt.IsZero() && !now.Before(s.reapAt) {
		s.reap(now)
	}
	if now.Sub(s.swept) >= suspectsEvery {
		s.swept = now
		s.reg.askAfterSuspects()
	}
}

// oomWatch follows the count of out-of-memory kills. It remembers two looks: of
// a kill just before the last one the loop may not have heard yet.
type oomWatch struct {
	looks        int
	older, newer uint64
}

// look takes the count as it is.
func (w *oomWatch) look(sp Spawner) {
	n, ok := sp.OutOfMemoryKills()
	if !ok {
		w.looks = 0
		return
	}
	w.older, w.newer = w.newer, n
	if w.looks == 0 {
		w.older = n
	}
	w.looks++
}

// grew says whether there was such a kill since the last look but one, and uses
// it up: it explains one death.
func (w *oomWatch) grew(sp Spawner) bool {
	n, ok := sp.OutOfMemoryKills()
	if !ok || w.looks == 0 || n <= w.older {
		return false
	}
	w.older++
	w.newer = max(w.newer, w.older)
	return true
}

// signal carries out the order of a signal.
func (s *Supervisor) signal(now time.Time, sig os.Signal) {
	order := signals.Meaning(sig, s.opts.Terminal)
	if order == signals.None {
		return
	}
	s.reg.now = now
	if order != signals.Reap {
		s.logf(logrus.InfoLevel, "signal received", logrus.Fields{"signal": sig.String()})
	}
	switch order {
	case signals.Stop:
		s.reg.end(stopOrder{})
	case signals.StopWithStacks:
		s.dump()
		s.reg.end(stopOrder{})
	case signals.PrintConfig:
		s.printConfig()
	case signals.Reload:
		s.reload()
	case signals.More:
		s.scaleBy(now, 1)
	case signals.Fewer:
		s.scaleBy(now, -1)
	case signals.Quiet:
		s.setQuiet(s.reg.consumers, true, nil)
	case signals.Continue:
		s.setQuiet(s.reg.consumers, false, nil)
	case signals.Reserved:
		s.logf(logrus.InfoLevel, "signal is reserved and was ignored", logrus.Fields{"signal": sig.String()})
	case signals.Reap:
		s.reap(now)
	}
}

// broadcast sends a command to all workers that take any.
func (s *Supervisor) broadcast(cmd wire.Command) {
	for p := range s.reg.procs() {
		if !p.greeted.IsZero() {
			s.reg.command(p, cmd)
		}
	}
}

// dump writes the stacks of all processes to the log.
func (s *Supervisor) dump() {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	s.logf(logrus.WarnLevel, "stacks of the supervisor", logrus.Fields{"stacks": string(buf)})
	s.broadcast(wire.Command{Kind: wire.CommandDump})
}

// printConfig answers USR1: the supervisor, then each worker.
func (s *Supervisor) printConfig() {
	if print := s.opts.PrintConfig; print != nil {
		consumers := make([]wire.Consumer, 0, len(s.reg.consumers))
		for _, c := range s.reg.consumers {
			consumers = append(consumers, c.rel.consumer)
		}
		s.log.run(func() {
			for _, c := range consumers {
				print(s.opts.Stderr, c)
			}
		})
	}
	s.broadcast(wire.Command{Kind: wire.CommandConfig})
}

// scaleBy answers TTIN and TTOU, for each consumer.
func (s *Supervisor) scaleBy(now time.Time, by int) {
	for _, c := range s.reg.consumers {
		n := 0
		for _, slot := range c.slots {
			if slot.wanted {
				n++
			}
		}
		if err := s.reg.scale(now, c, n+by); err != nil {
			s.logf(logrus.WarnLevel, "number of workers stays", logrus.Fields{"consumer": c.name, "reason": err.Error()})
		}
	}
}

// setQuiet makes the workers of these consumers take nothing new, or go on. done
// may be nil.
func (s *Supervisor) setQuiet(cs []*consumer, quiet bool, done func(error)) {
	var changed []*consumer
	for _, c := range cs {
		if c.quiet != quiet {
			c.quiet = quiet
			changed = append(changed, c)
		}
	}
	kind := wire.CommandContinue
	if quiet {
		kind = wire.CommandQuiet
	}
	if done == nil {
		done = func(err error) {
			if err != nil {
				s.logf(logrus.WarnLevel, "command did not succeed", logrus.Fields{"command": string(kind), "error": err.Error()})
			}
		}
	}
	s.toAll(changed, wire.Command{Kind: kind}, done)
}

// reload answers HUP: logs are opened anew, and what has changed is rolled.
func (s *Supervisor) reload() {
	if reopen := s.opts.LogReopen; reopen != nil {
		s.log.run(func() {
			if err := reopen(); err != nil {
				s.opts.Log.WithError(err).Error("log file was not opened again")
			}
		})
	}
	s.broadcast(wire.Command{Kind: wire.CommandReopen})
	if s.planning != nil || s.reg.roll != nil {
		s.again = true // once more afterwards, however many come
		return
	}
	s.rollChanges()
}

// rollChanges looks at the program anew and rolls what has changed.
func (s *Supervisor) rollChanges() {
	s.notify.reloading()
	s.restart("", true, func(err error) {
		s.notify.ready()
		switch {
		case errors.Is(err, errNothingChanged):
			s.logf(logrus.InfoLevel, "nothing changed: workers go on", nil)
		case err != nil:
			s.logf(logrus.ErrorLevel, "reload did not succeed: workers go on with what they have", logrus.Fields{"error": err.Error()})
		}
	})
}

// reap looks for processes that have become our children, as PID 1.
func (s *Supervisor) reap(now time.Time) {
	known := map[int]bool{}
	for c := range s.procs {
		known[c.process.PID()] = true
	}
	for c := range s.shots {
		known[c.process.PID()] = true
	}
	reaped, again := s.reaper.look(now, known)
	s.reapAt = again
	if len(reaped) > 0 {
		s.logf(logrus.DebugLevel, "orphans were reaped", logrus.Fields{"pids": reaped})
	}
}

// closeImages closes what no slot runs any more.
func (s *Supervisor) closeImages() {
	used := map[Image]bool{}
	for _, c := range s.reg.consumers {
		used[c.rel.image] = true
		for _, slot := range c.slots {
			used[slot.rel.image] = true
		}
	}
	s.images = slices.DeleteFunc(s.images, func(i Image) bool {
		if !used[i] {
			_ = i.Close()
		}
		return !used[i]
	})
}

// close waits for what the loop has begun.
func (s *Supervisor) close() {
	close(s.ended)
	for _, c := range slices.Collect(maps.Keys(s.shots)) {
		s.signalChild(c, syscall.SIGKILL)
	}
	s.wg.Wait()
	for c := range s.shots {
		_ = c.process.Close()
	}
	s.watchers.close()
	s.log.close(2 * time.Second)
	s.notify.close()
	for _, i := range s.images {
		_ = i.Close()
	}
	_ = s.opts.Spawner.Close()
}
