package launcher

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
)

// generateCommand is `racecar generate`.
type generateCommand struct {
	Consumer generateConsumer `cmd:"" help:"Write a consumer and its test."`
}

// generateConsumer is `racecar generate consumer NAME`.
type generateConsumer struct {
	Name  string `arg:"" help:"In any case style: TapDance, tap_dance, Billing::Invoice"`
	Topic string `short:"t" placeholder:"TOPIC" help:"What it consumes (default: the name, tap-dance)"`
	Batch bool   `help:"Whole batches of messages at a time"`
	Force bool   `help:"Overwrite files that are there"`
}

func (generateConsumer) Help() string {
	return `Example: racecar generate consumer TapDance --topic steps`
}

// topicName is what Kafka takes for one.
var topicName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)

// Run writes the files.
func (c *generateConsumer) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	name, err := parseConsumerName(c.Name)
	if err != nil {
		return err
	}
	if c.Topic != "" {
		name.Topic = c.Topic
	}
	if !topicName.MatchString(name.Topic) {
		return fmt.Errorf("topic %q: Kafka takes up to 249 letters of ASCII, digits, dots, dashes and underscores; name one with --topic", name.Topic)
	}
	m, err := findModule(".")
	if err != nil {
		return err
	}
	g, err := findGo(m.root)
	if err != nil {
		return err
	}
	s := &scaffold{root: m.root, force: c.Force, out: os.Stdout}
	data := struct {
		consumerName
		Batch bool
	}{name, c.Batch}
	base := name.Dir + "/" + name.File
	files := []struct{ name, from string }{{base + ".go", "consumer.go.tmpl"}, {base + "_test.go", "consumer_test.go.tmpl"}}
	for _, f := range files { // all or nothing
		if err := s.refuse(f.name, f.from, data); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := s.add(f.name, f.from, data); err != nil {
			return err
		}
	}
	if err := s.requireRacecar(ctx, g, m, ownSource()); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "\nTest it:  go test ./%s\nRun it:   racecar --dev %s\n", name.Dir, name.CommandLine())
	return nil
}
