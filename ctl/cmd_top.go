package ctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/racecar-go/racecar/ctl/top"
	"github.com/racecar-go/racecar/ctl/view"
	"github.com/racecar-go/racecar/internal/status"
)

type topCmd struct {
	consumerFlags
	Interval span `default:"1" placeholder:"SECONDS" help:"How often to refresh"`
}

// Run shows the picture until q.
func (c *topCmd) Run(ctx context.Context, a *app) error {
	if !view.CanRedraw(a.in) || !view.CanRedraw(a.out) {
		if kind := os.Getenv("TERM"); kind == "" || kind == "dumb" {
			return fmt.Errorf("top needs a terminal with cursor control (TERM is %q); use racecarctl status", kind)
		}
		return errors.New("top needs a terminal as its input and output; use racecarctl status")
	}
	client, err := a.running(ctx, c.supervisorFlags, c.Consumer)
	if err != nil {
		return err
	}
	defer client.Close()
	o := top.Options{
		Title: "racecar",
		Every: max(minInterval, c.Interval.duration()),
		Status: func(ctx context.Context) (status.Status, error) {
			st, err := client.Status(ctx)
			return only(st, c.Consumer), err
		},
		Actions: Actions(client),
	}
	return top.Run(ctx, o, a.in, a.out)
}

// minInterval keeps a mistyped interval from making the supervisor busy.
const minInterval = 100 * time.Millisecond

// Controller is what the keys of top do to a supervisor: a Client has it, and so has
// anything in front of a Supervisor in the same process.
type Controller interface {
	Restart(ctx context.Context, consumer string, progress func(Progress)) error
	Scale(ctx context.Context, consumer string, workers int, progress func(Progress)) error
	Pause(ctx context.Context, consumer, topic string, partition int32) error
	Resume(ctx context.Context, consumer, topic string, partition int32) error
}

// Actions are the keys of top that control a supervisor.
func Actions(r Controller) []top.Action {
	quietly := func(Progress) {}
	scale := func(by int) func(context.Context, top.Selection) (string, error) {
		return func(ctx context.Context, s top.Selection) (string, error) {
			if s.Consumer == "" {
				return "", errors.New("choose a worker first")
			}
			n := s.Workers + by
			if n < 0 {
				return "", fmt.Errorf("%s has no workers", s.Consumer)
			}
			return fmt.Sprintf("Scaled %s to %d", s.Consumer, n), r.Scale(ctx, s.Consumer, n, quietly)
		}
	}
	return []top.Action{
		{Key: "p", Help: "pause/resume", Do: func(ctx context.Context, s top.Selection) (string, error) {
			switch {
			case s.Topic == "":
				return "", errors.New("choose a partition first: tab")
			case s.Paused:
				return fmt.Sprintf("Resumed %s/%d", s.Topic, s.Partition), r.Resume(ctx, s.Consumer, s.Topic, s.Partition)
			}
			return fmt.Sprintf("Paused %s/%d", s.Topic, s.Partition), r.Pause(ctx, s.Consumer, s.Topic, s.Partition)
		}},
		{Key: "+", Help: "scale up", Do: scale(1)},
		{Key: "-", Help: "scale down", Do: scale(-1), Ask: func(s top.Selection) string {
			if s.Workers != 1 {
				return ""
			}
			return fmt.Sprintf("Stop the last worker of %s?", s.Consumer)
		}},
		{
			Key: "r", Help: "restart",
			Ask: func(s top.Selection) string {
				return fmt.Sprintf("Replace the workers of %s one by one?", view.Line(orAll(s.Consumer)))
			},
			Do: func(ctx context.Context, s top.Selection) (string, error) {
				return "Restarted " + orAll(s.Consumer), r.Restart(ctx, s.Consumer, quietly)
			},
		},
	}
}

func orAll(consumer string) string {
	if consumer == "" {
		return "all consumers"
	}
	return consumer
}
