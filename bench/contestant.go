package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/racecar-go/racecar/bench/board"
)

// contestant is a program that the benchmark measures.
type contestant struct {
	name     string
	settings string // in the output
	build    func(ctx context.Context, into string) error
	args     func(task board.Task, e entrant) []string
}

var contestants = []*contestant{
	{
		name: "racecar", build: goBuild(".", "./bench/app"), args: racecarArgs,
		settings: "supervisor and worker processes, default configuration; read_committed; acks=all, idempotent, no compression unless the row says so",
	},
	{
		name: "sarama", build: goBuild(".", "./bench/bare"),
		settings: "sarama.NewConfig() as it is, Offsets.Initial oldest; range over Messages(), MarkMessage each; read_uncommitted; producing: acks=1 beside the consumer, acks=all else",
	},
	{
		name: "franz", build: goBuild("bench/contestants", "./franz"),
		settings: "defaults, reset to the start; PollFetches and EachRecord (EachPartition for batches); read_uncommitted; acks=all, idempotent, compression as racecar's (its default is snappy)",
	},
	{
		name: "confluent", build: goBuild("bench/contestants", "./confluent"),
		settings: "defaults, auto.offset.reset earliest; ReadMessage; read_committed; acks=all",
	},
	{
		name: "librdkafka", build: buildC,
		settings: "defaults, auto.offset.reset earliest, in C; rd_kafka_consumer_poll (rd_kafka_consume_batch_queue for batches); read_committed",
	},
}

func contestantNamed(name string) *contestant {
	for _, c := range contestants {
		if c.name == name {
			return c
		}
	}
	return nil
}

// goBuild builds a package of the module in dir.
func goBuild(dir, pkg string) func(context.Context, string) error {
	return func(ctx context.Context, into string) error {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", into, pkg)
		cmd.Dir = dir
		return output(cmd)
	}
}

// buildC builds the contestant in C with the librdkafka that comes with
// confluent-kafka-go, so that the two are of one version.
func buildC(ctx context.Context, into string) error {
	list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/confluentinc/confluent-kafka-go/v2")
	list.Dir = "bench/contestants"
	dir, err := list.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", list, err)
	}
	vendor := filepath.Join(strings.TrimSpace(string(dir)), "kafka", "librdkafka_vendor")
	lib := filepath.Join(vendor, "librdkafka_glibc_"+runtime.GOOS+"_"+runtime.GOARCH+".a")
	return output(exec.CommandContext(ctx, "cc", "-O2", "-o", into, "-isystem", vendor, //nolint:gosec // we compile our own code
		"bench/contestants/librdkafka/main.c", lib, "-lm", "-ldl", "-lpthread", "-lrt"))
}

// output runs a command and puts its output into the error.
func output(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}

// consumerOf returns the consumer of bench/app for a mode.
var consumerOf = map[string]string{
	"process": "Count", "batch": "CountBatch", "copy": "Copy", "copy-deliver": "CopyDeliver", "copy-txn": "CopyTransactional", "latency": "Latency", "slow": "SlowFirst", "stall": "Stall", "stall-batch": "StallBatch",
}

func racecarArgs(task board.Task, e entrant) []string {
	consumer, ok := consumerOf[e.mode]
	if !ok {
		return nil // produces only
	}
	args := []string{consumer, "--brokers", strings.Join(task.Brokers, ","), "--group-id", task.Group,
		"--parallel-workers", strconv.Itoa(max(1, e.workers)), "--control-socket", socketOf(task)}
	return append(args, e.flags...)
}

// socketOf returns the path of the supervisor's control socket.
func socketOf(task board.Task) string { return filepath.Join(filepath.Dir(task.Path), "control.sock") }

// buildAll builds the contestants that rows need.
func (b *bench) buildAll(ctx context.Context, rows []*row) error {
	for _, r := range rows {
		for _, e := range r.who {
			if b.binaries[e.contestant] != "" {
				continue
			}
			c := contestantNamed(e.contestant)
			b.say("building %s", c.name)
			into := filepath.Join(b.dir, c.name)
			if err := c.build(ctx, into); err != nil {
				return fmt.Errorf("build %s: %w", c.name, err)
			}
			b.binaries[c.name] = into
		}
	}
	return nil
}

// inModule returns an error outside of the module's root.
func inModule() error {
	if _, err := os.Stat("bench/contestants/go.mod"); err != nil {
		return fmt.Errorf("run it in the root of the module: go run ./bench (%w)", err)
	}
	return nil
}
