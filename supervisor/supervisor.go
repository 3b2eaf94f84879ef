package supervisor

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/supervisor/process"
)

// Supervisor runs the workers of a plan. Make it with New, run it once with
// Run; the control methods may be called from any goroutine at any time.
type Supervisor struct {
	opts     Options
	host     string // our name, for membership host
	events   chan any
	requests chan request
	ended    chan struct{} // closed when Run is over
	watchers watchers

	// What follows belongs to the loop.
	reg      *registry
	printing atomic.Bool // the configuration, to stderr
	children map[*proc]*child
	procs    map[*child]*proc
	shots    map[*child]*oneShot
	pending  map[uint64]waiter   // by command
	rolling  []func(error)       // who waits for the end of the roll
	scales   []scaleOrder        // orders whose workers have not settled
	leavers  map[string]*oneShot // prepared, by consumer
	planning *planning
	again    bool // a HUP came
	oom      process.OOMWatch
	notify   *notifier
	images   []process.Image // held open
	sweep    bool            // some may be out of use
	reaper   process.Reaper
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
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("the name of this host, for static_id: %w", err)
	}
	image, err := o.Spawner.Running()
	if err != nil {
		return nil, fmt.Errorf("open the running program: %w", err)
	}
	return &Supervisor{
		opts:     o,
		host:     host,
		images:   []process.Image{image},
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
	s.notify = newNotifier()
	s.reg = newRegistry(now, s.opts.Plan, s.images[0], s.opts.Nonce, s.host, mathrand.Float64)
	defer s.close()

	if process.KilledTogether() {
		s.sayKilledTogether()
	}
	s.reg.begin(now)
	s.carryOut()
	return s.loop(ctx)
}

// sayKilledTogether says that we do not outlive a lack of memory, and names the consumers
// whose workers nothing replaces before that.
func (s *Supervisor) sayKilledTogether() {
	var unbound []string
	for _, c := range s.opts.Plan.Consumers {
		if c.Config.WorkerMemoryLimit <= 0 {
			unbound = append(unbound, c.Name)
		}
	}
	const what = "when memory runs out, the kernel kills the supervisor together with all workers (memory.oom.group)"
	if len(unbound) == 0 {
		s.opts.Log.Info(what + "; worker_memory_limit replaces a worker before")
		return
	}
	s.opts.Log.WithField("consumers", strings.Join(unbound, ", ")).Warn(what + ": set worker_memory_limit")
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
		s.reloadAgain(now)
		s.answerScales()
		s.notify.alive(now)
		s.turn = now // not the end of the turn: we may have been stopped in its midst
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
	s.opts.Log.WithFields(fields).Log(level, msg)
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

// carryOut does what the registry wants done, until it wants no more.
func (s *Supervisor) carryOut() {
	for {
		effects := s.reg.take()
		if len(effects) == 0 {
			break
		}
		for _, e := range effects {
			s.effect(e)
		}
	}
	if s.sweep {
		s.sweep = false
		s.closeImages()
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
	case doEvent:
		if s.opts.OnEvent != nil {
			s.opts.OnEvent(Event(e))
		}
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

// close waits for what the loop has begun.
func (s *Supervisor) close() {
	close(s.ended)
	for _, c := range slices.Collect(maps.Keys(s.shots)) {
		s.signalChild(c, syscall.SIGKILL)
	}
	s.wg.Wait()
	for c, shot := range s.shots {
		_ = c.process.Close()
		if shot.drop != nil {
			shot.drop()
		}
	}
	s.watchers.close()
	s.notify.close()
	for _, i := range s.images {
		_ = i.Close()
	}
	_ = s.opts.Spawner.Close()
}
