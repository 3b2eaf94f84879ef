package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/fleet"
	"github.com/racecar-go/racecar/supervisor/process"
)

// The control methods hand a request to the loop and wait for its answer. They are safe
// for concurrent use, block until Run has begun, and return ErrEnded when it is over. A
// ctx that ends stops the waiting, not what was begun.

// ErrEnded is returned by control methods once Run has returned.
var ErrEnded = errors.New("racecar has stopped")

// statusWithin is how long workers may take to report.
const statusWithin = time.Second

// ask runs f in the loop. f, or whatever it begins, calls done once.
func ask[T any](ctx context.Context, s *Supervisor, f func(now time.Time, done func(T, error))) (T, error) {
	type answer struct {
		v   T
		err error
	}
	var none T
	c := make(chan answer, 1)
	select {
	case s.requests <- func(now time.Time) { f(now, func(v T, err error) { c <- answer{v, err} }) }:
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
		case a := <-c: // answered just before
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

// operate hands an event of an operator to the fleet and waits for its answer.
func (s *Supervisor) operate(ctx context.Context, event func(ref uint64) fleet.Event) error {
	return act(ctx, s, func(now time.Time, done func(error)) {
		s.request(now, event, func(r *replies) { done(errors.Join(r.errs...)) })
	})
}

// Status asks all workers and returns what they and the supervisor know. A
// worker that does not report within a second has no Report.
func (s *Supervisor) Status(ctx context.Context) (status.Status, error) {
	return ask(ctx, s, func(now time.Time, done func(status.Status, error)) {
		var asked *replies
		var limit *time.Timer
		finished := false
		finish := func() {
			if finished {
				return
			}
			finished = true
			limit.Stop()
			done(s.report(func(id fleet.ProcID) bool { return asked.reports[id] }), nil)
		}
		limit = time.AfterFunc(statusWithin, func() { s.deliver(func(time.Time) { finish() }) })
		s.request(now, func(ref uint64) fleet.Event {
			asked = s.replies[ref]
			return fleet.RequestReports{Ref: ref}
		}, func(*replies) { finish() })
	})
}

// report is the fleet's, with the counters as they are now and with what concerns this
// process.
func (s *Supervisor) report(fresh func(fleet.ProcID) bool) status.Status {
	work := fleet.Counted{}
	for id, c := range s.workers {
		work[id] = c.process.Work()
	}
	s.step(time.Now(), work)
	st := s.fleet.Status(fresh)
	st.PID, st.Pidfile, st.Socket, st.Dir = os.Getpid(), s.opts.Pidfile, s.opts.Socket, s.opts.Dir
	st.RSS = process.OwnRSS()
	if s.opts.LogProblem != nil {
		st.LogProblem = s.opts.LogProblem()
	}
	return st
}

// StatusWithoutReports is Status without asking the workers, so without their Reports.
func (s *Supervisor) StatusWithoutReports(ctx context.Context) (status.Status, error) {
	return ask(ctx, s, func(_ time.Time, done func(status.Status, error)) {
		done(s.report(func(fleet.ProcID) bool { return false }), nil)
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
		s.step(now, fleet.Shutdown{Grace: o.Timeout, Force: o.Force, LeaveGroups: o.Leave})
		done(nil)
	})
}

// RestartOptions say what to restart.
type RestartOptions struct {
	Consumer string // empty: all
	NewGroup bool   // also when a consumer's group has changed
}

// Restart replaces workers one by one, with the program and configuration as they are
// found now, and returns when that is done. An error says why it was refused or stopped;
// then workers go on with what they have. Subscribers get each step.
func (s *Supervisor) Restart(ctx context.Context, o RestartOptions) error {
	return act(ctx, s, func(_ time.Time, done func(error)) {
		if o.Consumer != "" && !s.runs(o.Consumer) {
			done(fmt.Errorf("no consumer %q runs here", o.Consumer))
			return
		}
		s.restart(restartRequest{fleet.Rollout{Only: o.Consumer, NewGroup: o.NewGroup}, done})
	})
}

// runs reports whether there is a consumer of that name.
func (s *Supervisor) runs(consumer string) bool {
	for _, c := range s.consumers() {
		if c.Name == consumer {
			return true
		}
	}
	return false
}

// Reload is HUP: log files are reopened, and workers are replaced if the program or the
// configuration changed.
func (s *Supervisor) Reload(ctx context.Context) error {
	return act(ctx, s, func(now time.Time, done func(error)) { s.reload(now); done(nil) })
}

// Scale sets the number of workers of a consumer; its name may be empty when there is
// one. It returns when that many workers have settled, or an error when they never will:
// a later command asks for another number, the consumer stopped permanently, or
// everything stops.
func (s *Supervisor) Scale(ctx context.Context, consumer string, n int) error {
	return s.operate(ctx, func(ref uint64) fleet.Event { return fleet.Scale{Ref: ref, Consumer: consumer, Workers: n} })
}

// Pause stops a consumer (empty: all) from taking messages of these partitions,
// until Resume; a Partition of -1 is the whole topic. It holds for workers that start
// later as well. It returns when all workers have replied.
func (s *Supervisor) Pause(ctx context.Context, consumer string, partitions []wire.Partition) error {
	return s.operate(ctx, func(ref uint64) fleet.Event {
		return fleet.Pause{Ref: ref, Consumer: consumer, Partitions: partitions}
	})
}

// Resume undoes Pause. It also ends a backoff and retries a poisoned message.
func (s *Supervisor) Resume(ctx context.Context, consumer string, partitions []wire.Partition) error {
	return s.operate(ctx, func(ref uint64) fleet.Event {
		return fleet.Resume{Ref: ref, Consumer: consumer, Partitions: partitions}
	})
}

// SkipBatch is Resume behind a batch that cannot be decoded. A worker that has such a
// partition and no such batch refuses.
func (s *Supervisor) SkipBatch(ctx context.Context, consumer string, partitions []wire.Partition) error {
	return s.operate(ctx, func(ref uint64) fleet.Event {
		return fleet.Resume{Ref: ref, Consumer: consumer, Partitions: partitions, SkipBatch: true}
	})
}

// Quiet makes a consumer (empty: all) finish what is in hand and take nothing new,
// keeping its group membership.
func (s *Supervisor) Quiet(ctx context.Context, consumer string) error {
	return s.operate(ctx, func(ref uint64) fleet.Event { return fleet.Quiet{Ref: ref, Consumer: consumer, On: true} })
}

// Continue ends Quiet.
func (s *Supervisor) Continue(ctx context.Context, consumer string) error {
	return s.operate(ctx, func(ref uint64) fleet.Event { return fleet.Quiet{Ref: ref, Consumer: consumer} })
}

// LogLevel changes the level of supervisor and workers, also of those that start later.
func (s *Supervisor) LogLevel(ctx context.Context, level string) error {
	if _, err := logrus.ParseLevel(level); err != nil {
		return fmt.Errorf("%q is not a log level: use debug, info, warn or error", level)
	}
	if set := s.opts.SetLogLevel; set != nil {
		if err := act(ctx, s, func(_ time.Time, done func(error)) { done(set(level)) }); err != nil {
			return err
		}
	}
	return s.operate(ctx, func(ref uint64) fleet.Event { return fleet.SetLogLevel{Ref: ref, Level: level} })
}

// Dump writes the goroutine stacks of all processes to the log.
func (s *Supervisor) Dump(ctx context.Context) error {
	return act(ctx, s, func(now time.Time, done func(error)) { s.dump(now); done(nil) })
}

// Config is what runs: each consumer's effective configuration with the source
// of each value.
func (s *Supervisor) Config(ctx context.Context) ([]wire.Consumer, error) {
	return ask(ctx, s, func(_ time.Time, done func([]wire.Consumer, error)) { done(s.consumers(), nil) })
}

// watchers are the subscribers to progress.
type watchers struct {
	mu    sync.Mutex
	all   map[chan fleet.Progress]bool
	ended bool
}

// watchQueue is how many steps a subscriber may lag behind before it loses some.
const watchQueue = 256

// Subscribe delivers progress until cancel is called or Run is over; then the
// channel is closed. A subscriber that does not read loses the newest steps.
func (s *Supervisor) Subscribe() (<-chan fleet.Progress, func()) {
	c := make(chan fleet.Progress, watchQueue)
	w := &s.watchers
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		close(c)
		return c, func() {}
	}
	if w.all == nil {
		w.all = map[chan fleet.Progress]bool{}
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

func (w *watchers) report(p fleet.Progress) {
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
