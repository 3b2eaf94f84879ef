package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/process"
)

// The control methods hand a request to the loop and wait for its answer. They
// are safe for concurrent use, block until Run has begun, and return ErrEnded
// when it is over. A ctx that ends stops the waiting, not what was begun.

// ErrEnded is returned by control methods once Run has returned.
var ErrEnded = errors.New("racecar has stopped")

// statusWithin is how long workers may take to report.
const statusWithin = time.Second

// request is something for the loop to do.
type request struct {
	do func(now time.Time)
}

// ask runs f in the loop. f, or whatever it sets going, calls done once.
func ask[T any](ctx context.Context, s *Supervisor, f func(now time.Time, done func(T, error))) (T, error) {
	type answer struct {
		v   T
		err error
	}
	var none T
	c := make(chan answer, 1)
	req := request{func(now time.Time) { f(now, func(v T, err error) { c <- answer{v, err} }) }}
	select {
	case s.requests <- req:
	case <-s.ended:
		return none, ErrEnded
	case <-ctx.Done():
		return none, ctx.Err()
	}
	select {
	case a := <-c:
		return a.v, a.err
	case <-s.ended:
		select {
		case a := <-c: // answered with its last breath
			return a.v, a.err
		default:
			return none, ErrEnded
		}
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// act is ask without a value.
func act(ctx context.Context, s *Supervisor, f func(now time.Time, done func(error))) error {
	_, err := ask(ctx, s, func(now time.Time, done func(struct{}, error)) {
		f(now, func(err error) { done(struct{}{}, err) })
	})
	return err
}

// Status asks all workers and returns what they and the supervisor know. A
// worker that does not report within a second has no Report.
func (s *Supervisor) Status(ctx context.Context) (status.Status, error) {
	return ask(ctx, s, func(_ time.Time, done func(status.Status, error)) {
		fresh := map[*proc]bool{}
		open := 0
		var limit *time.Timer
		finished := false
		finish := func() {
			if finished {
				return
			}
			finished = true
			limit.Stop()
			st := s.status(func(p *proc) bool { return fresh[p] })
			st.PID, st.Pidfile, st.Socket, st.Dir = os.Getpid(), s.opts.Pidfile, s.opts.Socket, s.opts.Dir
			st.RSS = process.OwnRSS()
			if s.opts.LogProblem != nil {
				st.LogProblem = s.opts.LogProblem()
			}
			done(st, nil)
		}
		limit = time.AfterFunc(statusWithin, func() { s.deliver(func(time.Time) { finish() }) })
		for p := range s.reg.procs() {
			if p.booted.IsZero() || p.slot.cur != p {
				continue
			}
			open++
			cmd := s.reg.command(p, wire.Command{Kind: wire.CommandStatus})
			s.pending[cmd.ID] = waiter{p, func(reply wire.Reply, err error) {
				if err == nil && reply.Error == "" {
					s.takeReport(p, reply)
					fresh[p] = true
				}
				if open--; open == 0 {
					finish()
				}
			}}
		}
		if open == 0 {
			finish()
		}
	})
}

// status is the registry's, with the counters as they are now.
func (s *Supervisor) status(fresh func(*proc) bool) status.Status {
	for p, c := range s.children {
		p.work = c.process.Work()
	}
	return s.reg.status(fresh)
}

// Brief is Status without asking the workers, so without their Reports.
func (s *Supervisor) Brief(ctx context.Context) (status.Status, error) {
	return ask(ctx, s, func(_ time.Time, done func(status.Status, error)) {
		done(s.status(func(*proc) bool { return false }), nil)
	})
}

// StopOptions say how to stop.
type StopOptions struct {
	Timeout time.Duration // 0: shutdown_timeout
	Force   bool          // kill at once
	Leave   bool          // remove the members also with membership host
}

// Stop begins to stop everything and returns at once; Run returns when it is
// done. Once it is under way, only Force and Leave matter.
func (s *Supervisor) Stop(ctx context.Context, o StopOptions) error {
	return act(ctx, s, func(now time.Time, done func(error)) {
		s.reg.now = now
		if s.reg.ending != nil && !o.Force {
			s.reg.ending.leave = s.reg.ending.leave || o.Leave
			done(nil)
			return
		}
		order := stopOrder{force: o.Force, grace: o.Timeout, leave: o.Leave}
		if o.Force {
			order.grace = time.Nanosecond
		}
		s.reg.end(order)
		done(nil)
	})
}

// RestartOptions say what to restart.
type RestartOptions struct {
	Consumer string // empty: all
	NewGroup bool   // also when a consumer's group has changed
}

// Restart replaces workers one by one, with the program and configuration as they
// are found now, and returns when that is done. An error says why it was refused or
// stopped; then workers go on with what they have. Steps are told to subscribers.
func (s *Supervisor) Restart(ctx context.Context, o RestartOptions) error {
	return act(ctx, s, func(_ time.Time, done func(error)) {
		if _, err := s.consumers(o.Consumer); err != nil {
			done(err)
			return
		}
		s.restart(restartOrder{rollOrder{only: o.Consumer, newGroup: o.NewGroup}, done})
	})
}

// Reload is HUP: logs are opened anew, and workers are replaced if the program
// or the configuration changed.
func (s *Supervisor) Reload(ctx context.Context) error {
	return act(ctx, s, func(_ time.Time, done func(error)) { s.reload(); done(nil) })
}

// Scale sets the number of workers of a consumer; its name may be empty when
// there is one. It returns when that many workers have settled, or an error when
// they never will: a later order asks for another number, the consumer was given
// up, or everything is stopped.
func (s *Supervisor) Scale(ctx context.Context, consumer string, n int) error {
	return act(ctx, s, func(now time.Time, done func(error)) {
		cs, err := s.consumers(consumer)
		switch {
		case err != nil:
		case len(cs) > 1:
			err = errors.New("several consumers run here: say which one to scale")
		default:
			err = s.reg.scale(now, cs[0], n)
		}
		if err != nil {
			done(err)
			return
		}
		s.scales = append(s.scales, scaleOrder{cs[0], n, done})
	})
}

// consumers finds one by name; empty: all.
func (s *Supervisor) consumers(name string) ([]*consumer, error) {
	if name == "" {
		return s.reg.consumers, nil
	}
	if c := s.reg.consumer(name); c != nil {
		return []*consumer{c}, nil
	}
	return nil, fmt.Errorf("no consumer %q runs here", name)
}

// Pause stops a consumer (empty: all) from taking messages of these partitions,
// until Resume; a Partition of -1 is the whole topic. It holds for workers to
// come as well. It returns when all workers have answered.
func (s *Supervisor) Pause(ctx context.Context, consumer string, partitions []wire.Partition) error {
	return s.setPaused(ctx, consumer, partitions, wire.Command{Kind: wire.CommandPause})
}

// Resume undoes Pause. It also ends a backoff and gives a poisoned message
// another chance.
func (s *Supervisor) Resume(ctx context.Context, consumer string, partitions []wire.Partition) error {
	return s.setPaused(ctx, consumer, partitions, wire.Command{Kind: wire.CommandResume})
}

// SkipBatch is Resume behind a batch that cannot be decoded. A worker that has such a
// partition and no such batch refuses.
func (s *Supervisor) SkipBatch(ctx context.Context, consumer string, partitions []wire.Partition) error {
	return s.setPaused(ctx, consumer, partitions, wire.Command{Kind: wire.CommandResume, SkipBatch: true})
}

func (s *Supervisor) setPaused(ctx context.Context, consumer string, partitions []wire.Partition, cmd wire.Command) error {
	return act(ctx, s, func(now time.Time, done func(error)) {
		cs, err := s.consumers(consumer)
		if err != nil {
			done(err)
			return
		}
		if cmd.Kind == wire.CommandResume {
			if err := wholePaused(cs, partitions); err != nil {
				done(err)
				return
			}
		}
		s.reg.now = now
		for _, c := range cs {
			s.reg.setPaused(c, partitions, cmd.Kind == wire.CommandPause)
		}
		cmd.Partitions = partitions
		s.toAll(cs, cmd, done)
	})
}

// Quiet makes a consumer (empty: all) finish what is in hand and take nothing
// new, keeping its places in the group.
func (s *Supervisor) Quiet(ctx context.Context, consumer string) error {
	return s.askQuiet(ctx, consumer, true)
}

// Continue ends Quiet.
func (s *Supervisor) Continue(ctx context.Context, consumer string) error {
	return s.askQuiet(ctx, consumer, false)
}

func (s *Supervisor) askQuiet(ctx context.Context, consumer string, quiet bool) error {
	return act(ctx, s, func(now time.Time, done func(error)) {
		cs, err := s.consumers(consumer)
		if err != nil {
			done(err)
			return
		}
		s.reg.now = now
		s.setQuiet(cs, quiet, done)
	})
}

// LogLevel changes the level of supervisor and workers, also those to come.
func (s *Supervisor) LogLevel(ctx context.Context, level string) error {
	if _, err := logrus.ParseLevel(level); err != nil {
		return fmt.Errorf("%q is not a log level: use debug, info, warn or error", level)
	}
	return act(ctx, s, func(now time.Time, done func(error)) {
		s.reg.now = now
		if set := s.opts.SetLogLevel; set != nil {
			if err := set(level); err != nil {
				done(err)
				return
			}
		}
		s.reg.logLevel = level
		s.toAll(s.reg.consumers, wire.Command{Kind: wire.CommandLogLevel, Value: level}, done)
	})
}

// Dump writes the goroutine stacks of all processes to the log.
func (s *Supervisor) Dump(ctx context.Context) error {
	return act(ctx, s, func(now time.Time, done func(error)) { s.reg.now = now; s.dump(); done(nil) })
}

// Config is what runs: each consumer's effective configuration with the source
// of each value.
func (s *Supervisor) Config(ctx context.Context) ([]wire.Consumer, error) {
	return ask(ctx, s, func(_ time.Time, done func([]wire.Consumer, error)) {
		var list []wire.Consumer
		for _, c := range s.reg.consumers {
			list = append(list, c.rel.consumer)
		}
		done(list, nil)
	})
}

// toAll sends a command to the workers of these consumers and waits for all.
func (s *Supervisor) toAll(cs []*consumer, cmd wire.Command, done func(error)) {
	open := 1
	var errs []error
	one := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
		if open--; open == 0 {
			done(errors.Join(errs...))
		}
	}
	for _, c := range cs {
		for _, slot := range c.slots {
			p := slot.cur
			if p == nil {
				continue // is told with its handshake
			}
			open++
			sent := s.reg.command(p, cmd)
			s.pending[sent.ID] = waiter{p, func(reply wire.Reply, err error) {
				switch {
				case errors.Is(err, errGone): // its successor is told with its handshake
					err = nil
				case err == nil && reply.Error != "":
					err = errors.New(reply.Error)
				}
				if err != nil {
					err = fmt.Errorf("%s: %w", p.name(), err)
				}
				one(err)
			}}
		}
	}
	one(nil)
}

// wholePaused refuses to resume single partitions of a topic that was paused as a
// whole: workers to come could not be told which ones are meant.
func wholePaused(cs []*consumer, partitions []wire.Partition) error {
	for _, c := range cs {
		for _, p := range partitions {
			if p.Partition >= 0 && slices.Contains(c.paused, wire.Partition{Topic: p.Topic, Partition: -1}) {
				return fmt.Errorf("topic %s is paused as a whole: resume %s", p.Topic, p.Topic)
			}
		}
	}
	return nil
}

// setPaused remembers what an operator has paused.
func (r *registry) setPaused(c *consumer, partitions []wire.Partition, paused bool) {
	var kept []wire.Partition
	for _, old := range c.paused {
		again := false
		for _, p := range partitions {
			again = again || old.Topic == p.Topic && (p.Partition < 0 || p.Partition == old.Partition)
		}
		if !again {
			kept = append(kept, old)
		}
	}
	if paused {
		kept = append(kept, partitions...)
	} else if c.suspects.resumed(partitions) {
		r.tellSuspects(c)
	}
	c.paused = kept
}

// watchers are told of progress.
type watchers struct {
	mu    sync.Mutex
	all   map[chan Progress]bool
	ended bool
}

// watchQueue is how many steps a subscriber may lag behind before it loses some.
const watchQueue = 256

// Subscribe delivers progress until cancel is called or Run is over; then the
// channel is closed. A subscriber that does not read loses the newest steps.
func (s *Supervisor) Subscribe() (<-chan Progress, func()) {
	c := make(chan Progress, watchQueue)
	w := &s.watchers
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		close(c)
		return c, func() {}
	}
	if w.all == nil {
		w.all = map[chan Progress]bool{}
	}
	w.all[c] = true
	return c, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.all[c] {
			delete(w.all, c)
			close(c)
		}
	}
}

func (w *watchers) tell(p Progress) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.all {
		select {
		case c <- p:
		default:
		}
	}
}

func (w *watchers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	for c := range w.all {
		close(c)
	}
	w.all = nil
}
