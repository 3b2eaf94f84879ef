package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/racecar-go/racecar/ctl/view"
)

// Command is `racecar demo`.
type Command struct {
	Once bool    `help:"Produce the week once, as fast as possible, and exit when all of it is processed"`
	Rate float64 `default:"40" placeholder:"N" help:"Earthquakes per second (${default}: the week takes 43 s and then repeats); not with --once"`
}

// Help is the end of --help's text.
func (Command) Help() string {
	return `Keys: k kills the worker that the cursor is on, q stops; ? shows the others.
Without a terminal, and with TERM=dumb, it writes lines.

Example: racecar demo --once`
}

// stuck is how long nothing may come out while there is something to do.
const stuck = 30 * time.Second

// errStopped ends the demo before all was processed.
var errStopped = errors.New("stopped before all was processed")

// audience is who watches.
type audience struct {
	in       io.Reader
	out      io.Writer
	terminal bool // both are one that can show a picture
}

// Run shows the demo until it is told to stop, or with Once until all is done.
func (c *Command) Run() error {
	return c.run(audience{os.Stdin, os.Stdout, view.CanRedraw(os.Stdin) && view.CanRedraw(os.Stdout)})
}

func (c *Command) run(a audience) error {
	if c.Rate <= 0 {
		return fmt.Errorf("--rate %v: there must be some earthquakes", c.Rate)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	signal.Ignore(syscall.SIGPIPE) // a reader that goes away is an error as any: what runs is stopped
	stage, err := build()
	if err != nil {
		return err
	}
	summary, err := c.play(ctx, stage, a)
	err = errors.Join(err, stage.strike())
	if summary != nil {
		if err == nil { // what was in hand when the end was asked for is assessed by now
			err = summary.tally.until(stage.assessments())
		}
		summary.tally.stop()
	}
	if err != nil && !errors.Is(err, errStopped) {
		return fmt.Errorf("%w; the log is %s", err, stage.log)
	}
	summary.committed = stage.committed()
	if err := errors.Join(err, stage.remove()); err != nil {
		return err
	}
	return summary.write(a.out)
}

// play feeds, shows and counts until the end. The summary's tally goes on: it is
// the caller's to stop.
func (c *Command) play(ctx context.Context, s *stage, a audience) (*summary, error) {
	t, err := s.startTally()
	if err != nil {
		return nil, err
	}
	f := &feed{stage: s}
	feeding := start(ctx, func(ctx context.Context) error {
		if c.Once {
			return f.once(ctx)
		}
		return f.forever(ctx, c.Rate)
	})
	showing := start(ctx, func(ctx context.Context) error {
		if a.terminal && !c.Once { // the week takes a second: too short for a picture
			return picture(ctx, s, f, t, a.in, a.out)
		}
		return lines(ctx, s, f, t, a.out)
	})
	err = c.wait(ctx, s, f, t, feeding, showing)
	if fed := feeding.stop(); err == nil && !errors.Is(fed, context.Canceled) {
		err = fed
	}
	if shown := showing.stop(); err == nil {
		err = shown
	}
	return &summary{once: c.Once, fed: f.count(), tally: t}, err
}

// wait returns when the demo is over: nil when all was done or somebody asked
// for the end.
func (c *Command) wait(ctx context.Context, s *stage, f *feed, t *tally, feeding, showing *task) error {
	progress := time.NewTimer(stuck)
	defer progress.Stop()
	fed, last := feeding.ended, 0
	for {
		select {
		case <-ctx.Done():
			if c.Once {
				return errStopped
			}
			return nil
		case <-showing.ended: // q, or nobody looks any more
			return showing.err
		case err := <-s.died:
			return err
		case err := <-t.failed:
			return err
		case <-fed:
			if feeding.err != nil {
				return feeding.err
			}
			fed = nil
		case <-t.changed:
		case <-progress.C:
			return fmt.Errorf("nothing was processed for %v", stuck)
		}
		n, _ := t.counts()
		if n > last {
			last = n
			progress.Reset(stuck)
		}
		if c.Once && fed == nil && n == f.count() {
			return nil
		}
	}
}

// task is a function that runs beside its starter.
type task struct {
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // set when ended is closed
}

func start(ctx context.Context, f func(context.Context) error) *task {
	ctx, cancel := context.WithCancel(ctx)
	t := &task{cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(t.ended)
		t.err = f(ctx)
	}()
	return t
}

// stop asks it to end and waits for that.
func (t *task) stop() error {
	t.cancel()
	<-t.ended
	return t.err
}
