package supervisor

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
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

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/fleet"
	"github.com/racecar-go/racecar/supervisor/process"
)

// Supervisor runs the workers of a plan. Make it with New, run it once with
// Run; the control methods may be called from any goroutine at any time.
type Supervisor struct {
	opts     Options
	host     string // our name, for membership host
	events   chan any
	requests chan func(now time.Time)
	ended    chan struct{} // closed when Run is over
	watchers watchers

	// These belong to the loop.
	fleet     *fleet.Fleet
	effects   []fleet.Effect // not carried out yet
	carrying  bool           // the loop is in carryOut
	printing  atomic.Bool    // the configuration, to stderr
	workers   map[fleet.ProcID]*child
	helpers   map[*child]*helper
	lastID    uint64                    // of commands
	pending   map[uint64]pendingCommand // by command
	lastRef   uint64                    // of requests
	replies   map[uint64]*replies       // by request
	removers  map[string]*helper        // prepared, by consumer
	check     *check
	queued    []restartRequest // for the end of the rollout
	hangup    bool             // a HUP came
	oom       process.OOMWatch
	notify    *notifier
	images    map[int]process.Image // held open
	lastImage int
	reaper    process.Reaper
	reapAt    time.Time // when to look for orphans again; zero: at SIGCHLD
	observed  time.Time // when the workers were last observed
	weighed   time.Time // when their memory was
	iterated  time.Time // the last iteration of the loop
	finished  *fleet.Finished
	wg        sync.WaitGroup
}

// New checks the options and opens the image of this process, from which workers are
// started until the first rolling restart.
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
	image, err := o.Spawner.CurrentImage()
	if err != nil {
		return nil, fmt.Errorf("open the running program: %w", err)
	}
	return &Supervisor{
		opts:     o,
		host:     host,
		images:   map[int]process.Image{0: image},
		events:   make(chan any),
		requests: make(chan func(time.Time)),
		ended:    make(chan struct{}),
		workers:  map[fleet.ProcID]*child{},
		helpers:  map[*child]*helper{},
		pending:  map[uint64]pendingCommand{},
		replies:  map[uint64]*replies{},
		removers: map[string]*helper{},
	}, nil
}

// Run starts the workers and returns when all have exited: after a Stop, a signal, or the
// end of ctx, which stop gracefully; or when no consumer is left. The code is for
// os.Exit: 0 after a graceful shutdown, else 1; then err is the reason.
func (s *Supervisor) Run(ctx context.Context) (code int, err error) {
	now := time.Now()
	s.notify = newNotifier()
	s.fleet = fleet.New(now, fleet.Options{
		Plan: s.opts.Plan, Image: fleet.Image{Name: s.images[0].String()},
		Nonce: s.opts.Nonce, Host: s.host, Draw: mathrand.Float64,
	})

	if process.KilledTogether() {
		s.warnKilledTogether()
	}
	s.step(now, fleet.Start{})
	code, err = s.loop(ctx)
	s.close() // not deferred: it would wait for workers after a panic
	return code, err
}

// warnKilledTogether warns that we do not survive when memory runs out, and names the
// consumers whose workers nothing replaces before that.
func (s *Supervisor) warnKilledTogether() {
	var unlimited []string
	for _, c := range s.opts.Plan.Consumers {
		if c.Config.WorkerMemoryLimit <= 0 {
			unlimited = append(unlimited, c.Name)
		}
	}
	const what = "when memory runs out, the kernel kills the supervisor together with all workers (memory.oom.group)"
	if len(unlimited) == 0 {
		s.opts.Log.Info(what + "; worker_memory_limit replaces a worker before")
		return
	}
	s.opts.Log.WithField("consumers", strings.Join(unlimited, ", ")).Warn(what + ": set worker_memory_limit")
}

// loop takes one event at a time.
func (s *Supervisor) loop(ctx context.Context) (int, error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	s.iterated = time.Now()
	done := ctx.Done()
	for s.finished == nil {
		timer.Reset(s.untilNextEvent())
		var event any
		select {
		case <-done:
			done = nil
			event = ctx.Err()
		case sig := <-s.opts.Signals:
			event = sig
		case event = <-s.events:
		case event = <-s.requests:
		case <-timer.C:
		}
		now := time.Now()
		s.checkSuspended(now)
		s.handle(now, event)
		s.observe(now)
		s.step(now, fleet.Tick{})
		s.reloadQueued(now)
		s.notify.alive(now)
		s.iterated = now // not the end of the iteration: we may have been stopped in it
	}
	return s.finished.Code, s.finished.Err
}

// untilNextEvent is how long the loop may sleep.
func (s *Supervisor) untilNextEvent() time.Duration {
	d := time.Until(s.observed.Add(fleet.ObserveEvery))
	for _, next := range []time.Time{s.fleet.LoopState().WakeAt, s.notify.next()} {
		if !next.IsZero() {
			d = min(d, time.Until(next))
		}
	}
	return max(0, d)
}

// checkSuspended finds out that this process did not run for a while: it was stopped, or
// the machine is overloaded. The loop sleeps no longer than fleet.ObserveEvery.
func (s *Supervisor) checkSuspended(now time.Time) {
	if gap := now.Sub(s.iterated); gap > 2*fleet.ObserveEvery {
		s.step(now, fleet.Suspended(gap))
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
		s.step(now, fleet.Shutdown{Signal: true})
	case os.Signal:
		s.handleSignal(now, e)
	case func(time.Time):
		e(now)
	case message:
		s.received(now, e)
	case protocolError:
		s.endForProtocolError(now, e)
	case exited:
		s.exited(now, e)
	default:
		panic(fmt.Sprintf("supervisor: event %T", event))
	}
}

// levelOf is a level of the fleet's log lines in ours.
func levelOf(level slog.Level) logrus.Level {
	switch level {
	case slog.LevelDebug:
		return logrus.DebugLevel
	case slog.LevelInfo:
		return logrus.InfoLevel
	case slog.LevelWarn:
		return logrus.WarnLevel
	default:
		return logrus.ErrorLevel
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

// step hands an event to the fleet and carries out its effects. Carrying out one may call
// step again: the effects of that come after those that are there already.
func (s *Supervisor) step(now time.Time, e fleet.Event) {
	s.effects = append(s.effects, s.fleet.Step(now, e)...)
	if s.carrying {
		return
	}
	s.carrying = true
	for len(s.effects) > 0 {
		next := s.effects[0]
		s.effects = s.effects[1:]
		s.carryOut(now, next)
	}
	s.carrying = false
}

func (s *Supervisor) carryOut(now time.Time, effect fleet.Effect) {
	switch e := effect.(type) {
	case fleet.Spawn:
		s.spawn(e)
	case fleet.Handshake:
		s.handshake(e.Proc, e.Handshake)
	case fleet.Command:
		s.send(e)
	case fleet.Lease:
		s.sendOutage(e.Proc, wire.KindLease, e.Lease)
	case fleet.OutageState:
		s.sendOutage(e.Proc, wire.KindOutageState, e.State)
	case fleet.Signal:
		if c := s.workers[e.Proc]; c != nil {
			c.signaled = true
			s.signalChild(c, e.Signal)
		}
	case fleet.PrepareRemoval:
		s.prepareRemoval(e)
	case fleet.RemoveMembers:
		s.removeMembers(e)
	case fleet.CloseImage:
		_ = s.images[e.Image.ID].Close()
		delete(s.images, e.Image.ID)
	case fleet.Log:
		s.logf(levelOf(e.Level), e.Message, e.Fields)
	case fleet.WorkerEvent:
		if s.opts.OnEvent != nil {
			s.opts.OnEvent(e)
		}
	case fleet.Progress:
		s.watchers.report(e)
	case fleet.Answer:
		s.answered(e)
	case fleet.Ready:
		s.notify.ready()
		if s.opts.OnReady != nil {
			s.opts.OnReady()
		}
		s.logf(logrus.InfoLevel, "ready", nil)
	case fleet.Stopping:
		s.notify.send("STOPPING=1")
	case fleet.RolloutEnded:
		s.restartQueued()
	case fleet.Finished:
		s.finished = &e
	default:
		panic(fmt.Sprintf("supervisor: effect %T", e))
	}
}

// close waits for all that the loop has begun.
func (s *Supervisor) close() {
	close(s.ended)
	for _, c := range slices.Collect(maps.Keys(s.helpers)) {
		s.signalChild(c, syscall.SIGKILL)
	}
	s.wg.Wait()
	for c, h := range s.helpers {
		_ = c.process.Close()
		if h.dropped != nil {
			h.dropped()
		}
	}
	s.watchers.close()
	s.notify.close()
	for _, i := range s.images {
		_ = i.Close()
	}
	_ = s.opts.Spawner.Close()
}

// consumers are what new workers run.
func (s *Supervisor) consumers() []wire.Consumer { return s.fleet.LoopState().Consumers }
