package ctl

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/racecar-go/racecar/ctl/view"
	"github.com/racecar-go/racecar/internal/status"
)

// The commands here ask a running supervisor for one thing.

type restartCmd struct {
	consumerFlags
	NewGroup bool `help:"Restart even if a consumer's group_id has changed; the new group begins like one that has committed nothing"`
}

// Run rolls the workers and prints a line for each.
func (c *restartCmd) Run(ctx context.Context, a *app) error {
	client, err := a.running(ctx, c.supervisorFlags, c.Consumer)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.RestartWith(ctx, RestartOptions{Consumer: c.Consumer, NewGroup: c.NewGroup}, a.result()); err != nil {
		return err
	}
	a.printf("Racecar restarted\n")
	return nil
}

type scaleCmd struct {
	Args []string `arg:"" name:"[CONSUMER] N" help:"The consumer (default: the only one) and its number of workers"`
	supervisorFlags
}

// Run sets the number of workers.
func (c *scaleCmd) Run(ctx context.Context, a *app) error {
	consumer, number, err := optionalFirst(c.Args, "a number of workers")
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is not a number of workers; write racecarctl scale [CONSUMER] N", number)
	}
	client, err := a.running(ctx, c.supervisorFlags, consumer)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Scale(ctx, consumer, n, a.result()); err != nil {
		return err
	}
	what := "Scaled"
	if consumer != "" {
		what += " " + consumer
	}
	a.printf("%s to %d\n", what, n)
	return nil
}

type pauseCmd struct {
	Args []string `arg:"" name:"[CONSUMER] TOPIC[/PARTITION]" help:"The topic or partition to pause"`
	supervisorFlags
}

// Run pauses it until resume or the end of the run.
func (c *pauseCmd) Run(ctx context.Context, a *app) error {
	return a.onPartition(ctx, c.Args, c.supervisorFlags, func(client *Client, ctx context.Context, consumer, topic string, partition int32) error {
		err := client.Pause(ctx, consumer, topic, partition)
		if err != nil {
			return err
		}
		st, err := client.Status(ctx)
		if err == nil && !has(st, consumer, topic, partition) {
			a.note("No worker is assigned to it at the moment; whichever is assigned next keeps it paused.\n")
		}
		return err
	}, "Paused")
}

// has says whether a worker has such a partition; -1: any of the topic.
func has(st status.Status, consumer, topic string, partition int32) bool {
	for _, w := range st.Workers {
		if w.Report == nil {
			continue
		}
		for _, p := range w.Report.Partitions {
			if p.Topic == topic && (partition == wholeTopic || p.Partition == partition) && (consumer == "" || w.Consumer == consumer) {
				return true
			}
		}
	}
	return false
}

type resumeCmd struct {
	Args      []string `arg:"" name:"[CONSUMER] TOPIC[/PARTITION]" help:"The topic or partition to resume, with all its keys"`
	SkipBatch bool     `help:"Skip the batch that cannot be decoded: the group loses its messages"`
	supervisorFlags
}

// Run ends a pause, a backoff or a poisoned state, of the partition and of all its keys.
func (c *resumeCmd) Run(ctx context.Context, a *app) error {
	if c.SkipBatch {
		return a.onPartition(ctx, c.Args, c.supervisorFlags, (*Client).SkipBatch, "Skipped the batch, resumed")
	}
	return a.onPartition(ctx, c.Args, c.supervisorFlags, (*Client).Resume, "Resumed")
}

func (a *app) onPartition(ctx context.Context, args []string, w supervisorFlags,
	do func(*Client, context.Context, string, string, int32) error, done string,
) error {
	consumer, name, err := optionalFirst(args, "a topic")
	if err != nil {
		return err
	}
	topic, partition, err := parsePartition(name)
	if err != nil {
		return err
	}
	client, err := a.running(ctx, w, consumer)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := do(client, ctx, consumer, topic, partition); err != nil {
		return err
	}
	a.printf("%s %s\n", done, name)
	return nil
}

type quietCmd struct{ consumerFlags }

// Run lets the workers finish and take nothing new.
func (c *quietCmd) Run(ctx context.Context, a *app) error {
	return a.onConsumer(ctx, c.consumerFlags, (*Client).Quiet, "Quiet: what is in hand is finished, nothing new is taken; racecarctl continue goes on")
}

type continueCmd struct{ consumerFlags }

// Run ends quiet.
func (c *continueCmd) Run(ctx context.Context, a *app) error {
	return a.onConsumer(ctx, c.consumerFlags, (*Client).Continue, "Continued")
}

func (a *app) onConsumer(ctx context.Context, o consumerFlags, do func(*Client, context.Context, string) error, done string) error {
	client, err := a.running(ctx, o.supervisorFlags, o.Consumer)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := do(client, ctx, o.Consumer); err != nil {
		return err
	}
	a.printf("%s\n", done)
	return nil
}

type configCmd struct {
	consumerFlags
	JSON bool `help:"Print it as JSON"`
}

// Run prints what is in effect, as the supervisor has it, in the lines of SIGUSR1.
func (c *configCmd) Run(ctx context.Context, a *app) error {
	client, err := a.running(ctx, c.supervisorFlags, c.Consumer)
	if err != nil {
		return err
	}
	defer client.Close()
	all, err := client.Config(ctx)
	if err != nil {
		return err
	}
	var shown []ConsumerConfig
	for _, cc := range all {
		if c.Consumer == "" || cc.Consumer == c.Consumer {
			shown = append(shown, cc)
		}
	}
	if len(shown) == 0 && c.Consumer != "" {
		return fmt.Errorf("no consumer is called %q there", c.Consumer)
	}
	if c.JSON {
		return a.json(shown)
	}
	for i, cc := range shown {
		if i > 0 {
			a.printf("\n")
		}
		a.printf("# %s\n", cc.Consumer)
		for _, k := range cc.Keys {
			a.printf("%s\n", k)
		}
	}
	return nil
}

type logLevelCmd struct {
	Args []string `arg:"" name:"[CONSUMER] LEVEL" help:"debug, info, warn or error; for the supervisor and all of its workers"`
	supervisorFlags
}

// Run changes the level until the end of the run.
func (c *logLevelCmd) Run(ctx context.Context, a *app) error {
	consumer, level, err := optionalFirst(c.Args, "a log level")
	if err != nil {
		return err
	}
	client, err := a.running(ctx, c.supervisorFlags, consumer)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.SetLogLevel(ctx, level); err != nil {
		return err
	}
	a.printf("Log level is %s until the next start\n", level)
	return nil
}

type dumpCmd struct{ consumerFlags }

// Run writes the stacks of all that run with the consumer to their log.
func (c *dumpCmd) Run(ctx context.Context, a *app) error {
	client, err := a.running(ctx, c.supervisorFlags, c.Consumer)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Dump(ctx); err != nil {
		return err
	}
	a.printf("Stacks are in the log\n")
	return nil
}

// optionalFirst reads [CONSUMER] and one more argument.
func optionalFirst(args []string, what string) (first, last string, err error) {
	switch len(args) {
	case 1:
		return "", args[0], nil
	case 2:
		return args[0], args[1], nil
	}
	return "", "", fmt.Errorf("expected an optional consumer and %s, got %q", what, strings.Join(args, " "))
}

// result prints the steps of an operation as its result.
func (a *app) result() func(Progress) { return func(p Progress) { a.printf("%s\n", p.text()) } }

// progress shows the steps of an operation to a person at a terminal, beside
// the words that are an interface.
func (a *app) progress() func(Progress) {
	if _, ok := terminal(a.err); !ok {
		return func(Progress) {}
	}
	return func(p Progress) { a.note("%s\n", p.text()) }
}

// text is a step in one line.
func (p Progress) text() string {
	var b strings.Builder
	if p.Total > 0 {
		fmt.Fprintf(&b, "[%d/%d] ", p.Done, p.Total)
	}
	b.WriteString(p.Worker + " " + string(p.State))
	if p.Message != "" {
		if p.State != "" {
			b.WriteString(":")
		}
		b.WriteString(" " + p.Message)
	}
	return view.Line(b.String())
}
