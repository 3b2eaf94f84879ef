package cli

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/ctl"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor"
	"github.com/racecar-go/racecar/supervisor/fleet"
)

// control connects the control socket to the supervisor. Longer operations report their
// steps and return when they are done.
type control struct{ sup *supervisor.Supervisor }

var _ ctl.Supervisor = control{}

func (c control) Status(ctx context.Context) (status.Status, error) { return c.sup.Status(ctx) }

func (c control) Config(ctx context.Context) ([]ctl.ConsumerConfig, error) {
	running, err := c.sup.Config(ctx)
	if err != nil {
		return nil, err
	}
	var all []ctl.ConsumerConfig
	for _, consumer := range running {
		all = append(all, ctl.ConsumerConfig{Consumer: consumer.Name, Keys: config.Inspect(consumer.Config, consumer.Sources)})
	}
	return all, nil
}

func (c control) Settings(ctx context.Context, consumer string) (ctl.Settings, error) {
	running, err := c.sup.Config(ctx)
	if err != nil {
		return ctl.Settings{}, err
	}
	i := slices.IndexFunc(running, func(c wire.Consumer) bool { return c.Name == consumer })
	if i < 0 {
		return ctl.Settings{}, fmt.Errorf("no consumer is called %q there", consumer)
	}
	dir, err := os.Getwd()
	if err != nil {
		return ctl.Settings{}, err
	}
	conf := running[i].Config
	conf.ResolvePaths(dir) // who asks may stand elsewhere
	s := ctl.Settings{Consumer: consumer, Config: config.WithSecrets(conf)}
	for _, sub := range running[i].Subscriptions {
		if sub.Topic != "" {
			s.Topics = append(s.Topics, sub.Topic)
		} else {
			s.Patterns = append(s.Patterns, sub.Pattern)
		}
	}
	return s, nil
}

func (c control) Stop(ctx context.Context, o ctl.StopOptions, progress func(ctl.Progress)) error {
	steps, cancel := c.sup.Subscribe()
	defer cancel()
	if err := c.sup.Stop(ctx, supervisor.StopOptions{Timeout: o.Timeout, Force: o.Force, Leave: o.Leave}); err != nil {
		return err
	}
	for {
		select {
		case step, open := <-steps:
			if !open { // Run is over
				return nil
			}
			report(progress, step)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c control) Restart(ctx context.Context, o ctl.RestartOptions, progress func(ctl.Progress)) error {
	return c.follow(progress, func() error {
		return c.sup.Restart(ctx, supervisor.RestartOptions{Consumer: o.Consumer, NewGroup: o.NewGroup})
	})
}

func (c control) Scale(ctx context.Context, consumer string, workers int, progress func(ctl.Progress)) error {
	return c.follow(progress, func() error { return c.sup.Scale(ctx, consumer, workers) })
}

// follow reports the supervisor's steps until do returns.
func (c control) follow(progress func(ctl.Progress), do func() error) error {
	steps, cancel := c.sup.Subscribe()
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- do() }()
	for {
		select {
		case step, open := <-steps:
			if !open {
				return <-done
			}
			report(progress, step)
		case err := <-done:
			for len(steps) > 0 { // reported before it was done
				report(progress, <-steps)
			}
			return err
		}
	}
}

func (c control) Pause(ctx context.Context, consumer, topic string, partition int32) error {
	running, err := c.sup.Config(ctx)
	if err != nil {
		return err
	}
	if err := subscribed(running, consumer, topic); err != nil {
		return err
	}
	return c.sup.Pause(ctx, consumer, []wire.Partition{{Topic: topic, Partition: partition}})
}

// subscribed returns an error unless the consumer, or any consumer if the name is empty,
// subscribes to the topic. The supervisor reports an unknown consumer.
func subscribed(running []wire.Consumer, consumer, topic string) error {
	found := false
	for _, c := range running {
		if consumer != "" && c.Name != consumer {
			continue
		}
		found = true
		for _, s := range c.Subscriptions {
			if s.Topic == topic {
				return nil
			}
			if re, err := regexp.Compile("^(?:" + s.Pattern + ")$"); s.Pattern != "" && err == nil && re.MatchString(topic) {
				return nil
			}
		}
	}
	switch {
	case !found:
		return nil
	case consumer != "":
		return fmt.Errorf("%s does not subscribe to topic %q", consumer, topic)
	}
	return fmt.Errorf("no consumer here subscribes to topic %q", topic)
}

func (c control) Resume(ctx context.Context, consumer, topic string, partition int32) error {
	return c.sup.Resume(ctx, consumer, []wire.Partition{{Topic: topic, Partition: partition}})
}

func (c control) SkipBatch(ctx context.Context, consumer, topic string, partition int32) error {
	return c.sup.SkipBatch(ctx, consumer, []wire.Partition{{Topic: topic, Partition: partition}})
}

func (c control) Quiet(ctx context.Context, consumer string) error {
	return c.sup.Quiet(ctx, consumer)
}

func (c control) Continue(ctx context.Context, consumer string) error {
	return c.sup.Continue(ctx, consumer)
}

func (c control) SetLogLevel(ctx context.Context, level string) error {
	return c.sup.LogLevel(ctx, level)
}

func (c control) Dump(ctx context.Context) error { return c.sup.Dump(ctx) }

// report passes a step on, unless it lies between two that say more: a worker's states
// without a detail come between "restarting" and "restarted".
func report(progress func(ctl.Progress), p fleet.Progress) {
	switch status.State(p.Step) {
	case status.Standby, status.Stopping, status.Waiting, status.Joining, status.Running:
		if p.Worker != "" && p.Detail == "" {
			return
		}
	case "done": // the end of the answer says so
		return
	}
	progress(progressOf(p))
}

func progressOf(p fleet.Progress) ctl.Progress {
	message := p.Step
	if p.Detail != "" {
		message += ": " + p.Detail
	}
	return ctl.Progress{Worker: p.Worker, Message: message}
}
