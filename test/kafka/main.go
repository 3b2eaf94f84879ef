// Kafka starts real Apache Kafka brokers on free loopback ports and keeps them
// until it is interrupted:
//
//	go run ./test/kafka --brokers 3
//
// or for as long as a command runs, which finds the addresses in KAFKA_ADDR:
//
//	go run ./test/kafka -- go test ./...
//
// It needs java (17 or later) and mvn; see package cluster.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/racecar-go/racecar/test/kafka/cluster"
)

func main() {
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kafka:", err)
	}
	os.Exit(code)
}

// run returns the exit code: the command's own where there is one.
func run() (code int, err error) {
	var opts cluster.Options
	flag.IntVar(&opts.Brokers, "brokers", 1, "how many brokers to start")
	flag.IntVar(&opts.HeapMB, "heap", 0, "Java heap of each in `MiB` (default 320)")
	flag.BoolVar(&opts.AutoCreateTopics, "auto-create-topics", false, "let clients create topics by using them")
	flag.StringVar(&opts.Dir, "dir", "", "keep data and logs in this `directory` (default: a temporary one)")
	topics := flag.String("topics", "", "topics to create, as `name:partitions,…`")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: go run ./test/kafka [flags] [-- command …]\n\nflags:")
		flag.PrintDefaults()
	}
	flag.Parse()

	// The command gets the terminal's signals by itself; we outlive it.
	interrupted, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	begin := time.Now()
	c, err := cluster.New(interrupted, opts)
	if err != nil {
		return 1, err
	}
	defer func() {
		if closeErr := c.Close(); closeErr != nil {
			code, err = 1, errors.Join(err, closeErr)
		}
	}()
	if err := createTopics(interrupted, c, *topics); err != nil {
		return 1, err
	}
	fmt.Fprintf(os.Stderr, "Apache Kafka %s ready after %.1f s\n", cluster.Version(), time.Since(begin).Seconds())
	addrs := strings.Join(c.Addrs(), ",")
	if flag.NArg() > 0 {
		return runCommand(interrupted, flag.Args(), addrs)
	}
	fmt.Printf("KAFKA_ADDR=%s\n", addrs)
	<-interrupted.Done()
	return 0, nil
}

// createTopics creates what --topics lists.
func createTopics(ctx context.Context, c *cluster.Cluster, list string) error {
	for _, entry := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' }) {
		name, count, found := strings.Cut(entry, ":")
		partitions := int32(1)
		if found {
			if _, err := fmt.Sscan(count, &partitions); err != nil {
				return fmt.Errorf("--topics %q: %q is no number of partitions", list, count)
			}
		}
		if err := c.CreateTopic(ctx, name, partitions, 0); err != nil {
			return err
		}
	}
	return nil
}

// runCommand runs args with the cluster's addresses in its environment and
// returns its exit code. An interrupt is passed on to it.
func runCommand(ctx context.Context, args []string, addrs string) (int, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "KAFKA=real", "KAFKA_ADDR="+addrs)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 1, fmt.Errorf("%s: %w", args[0], err)
	}
	return 0, nil
}
