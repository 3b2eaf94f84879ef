package launcher

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/racecar-go/racecar/devkafka"
)

// brokerCommand is `racecar broker`.
type brokerCommand struct {
	Port       int    `default:"9092" help:"Port on 127.0.0.1; 0: any free one"`
	Data       string `placeholder:"DIR" help:"Where to keep topics, messages and offsets (default: tmp/racecar-dev of the module you stand in, else memory)"`
	Partitions int    `default:"8" help:"Partitions of a topic made on first use"`
}

func (brokerCommand) Help() string {
	return `A Kafka broker for development, in this process: it listens on 127.0.0.1 and makes topics on first use. It is not for production.

Example: racecar broker --port 0 --data /tmp/kafka`
}

// Run serves until it is told to stop.
func (c *brokerCommand) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	where := c.Data
	if where == "" {
		if _, err := findModule("."); err == nil {
			where = devDataDir()
		}
	}
	b, err := devkafka.Start(devkafka.Options{Port: c.Port, DataDir: where, Partitions: c.Partitions, Logger: stderrLog()})
	if err != nil {
		return err
	}
	if where == "" {
		where = "memory"
	}
	fmt.Fprintf(os.Stderr, "=> Embedded broker at %s, data in %s; Ctrl-C to stop\n", b.Addr(), where)
	<-ctx.Done()
	return b.Close()
}

// command parses the arguments of one of the launcher's own commands and runs it.
func command(name, description string, c any, args []string) error {
	k, err := kong.New(c, kong.Name("racecar "+name), kong.Description(description))
	if err != nil {
		return err
	}
	parsed, err := k.Parse(args) // --help ends the process
	if err != nil {
		return fmt.Errorf("%w; see `racecar %s --help`", err, name)
	}
	return parsed.Run()
}
