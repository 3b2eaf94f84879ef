package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/nearest"
	"github.com/racecar-go/racecar/internal/registered"
	"github.com/racecar-go/racecar/internal/registry"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
)

// invocation is what the command line and the environment ask for.
type invocation struct {
	names   []string // of the consumers
	all     bool
	check   bool   // --check
	file    string // --config; empty: the default file
	flags   map[string]config.Flag
	environ []string
}

// logfile is the log file as the user named it.
func (in invocation) logfile(r *run) string {
	if f, ok := in.flags["logfile"]; ok {
		return f.Text
	}
	return r.process().Logfile
}

// run is a loaded invocation.
type run struct {
	consumers []*config.Loaded // in the order of plan.Consumers
	plan      wire.Plan
}

// process is the configuration of the supervisor itself. A Spec cannot change the keys
// that concern the process (pidfile, logs, status page), so all consumers have the same.
func (r *run) process() *config.Config { return &r.consumers[0].Config }

// sources are those of process.
func (r *run) sources() map[string]string { return r.consumers[0].Sources }

// load chooses the consumers and loads and validates the configuration of each.
// The error holds every problem found, a line each.
func load(in invocation) (*run, error) {
	warnings, err := mistakesOf(in)
	if err != nil {
		return nil, err
	}
	chosen, err := choose(in)
	if err != nil {
		return nil, err
	}
	specs := make([]config.SpecValues, len(chosen))
	for i, c := range chosen {
		specs[i] = registered.SpecValues(c)
	}
	all, err := config.LoadAll(in.options(), specs)
	if err != nil {
		return nil, err
	}
	dir, err := workingDir()
	if err != nil {
		return nil, err
	}
	r := &run{consumers: all, plan: wire.Plan{Warnings: warnings}}
	for i, l := range all {
		if l.Config.Daemonize { // a daemon leaves this directory
			l.Config.ResolvePaths(dir)
		}
		digest, err := digestOf(l, chosen[i])
		if err != nil {
			return nil, err
		}
		r.plan.Consumers = append(r.plan.Consumers, wire.Consumer{
			Name: chosen[i].Name(), Config: l.Config, Sources: l.Sources, Digest: digest, Subscriptions: subscriptions(chosen[i]),
		})
		r.plan.Warnings = append(r.plan.Warnings, l.Warnings...)
	}
	return r, nil
}

func subscriptions(c *racecar.Registration) []wire.Subscription {
	var all []wire.Subscription
	for _, s := range c.Spec().Subscriptions {
		all = append(all, wire.Subscription{Topic: s.Topic, Pattern: s.TopicPattern})
	}
	return all
}

// workingDir is the current directory, as it was typed.
func workingDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("the working directory cannot be used, it was removed or replaced: change to it again (%w)", err)
	}
	return dir, nil
}

// options is the configuration asked for, without a Spec.
func (in invocation) options() config.Options {
	return config.Options{
		File: in.file, FileGiven: in.file != "", Environ: in.environ, Flags: in.flags, Configure: registered.Configures(),
		Consumers: registeredNames(), Check: in.check,
	}
}

// mistakes are those that were made with racecar.Register.
func mistakes() error { return errors.Join(registered.Mistakes()...) }

// mistakesOf returns all mistakes as an error if one keeps what was asked for from
// running. Those of other consumers alone are warnings.
func mistakesOf(in invocation) (warnings []string, err error) {
	for _, m := range registered.Mistakes() {
		var of *registry.ConsumerError
		if in.all || len(in.names) == 0 || !errors.As(m, &of) || slices.Contains(in.names, of.Consumer) {
			return nil, mistakes()
		}
		warnings = append(warnings, m.Error())
	}
	return warnings, nil
}

// choose finds the consumers that are named, or all.
func choose(in invocation) ([]*racecar.Registration, error) {
	all := registered.Consumers()
	if len(all) == 0 {
		return nil, noneRegistered(in.names)
	}
	known := make([]string, len(all))
	for i, r := range all {
		known[i] = r.Name()
	}
	switch {
	case in.all && len(in.names) > 0:
		return nil, fmt.Errorf("--all runs every consumer; leave out %s", strings.Join(in.names, " "))
	case in.all:
		return all, nil
	case len(in.names) == 0:
		return nil, fmt.Errorf("no consumer specified: name one or more of %s, or use --all", strings.Join(known, ", "))
	}
	var chosen []*racecar.Registration
	for i, name := range in.names {
		r := registered.Lookup(name)
		if r == nil {
			return nil, fmt.Errorf("no consumer is called %q%s; registered: %s", name, meant(name, known), strings.Join(known, ", "))
		}
		if slices.Contains(in.names[:i], name) {
			return nil, fmt.Errorf("consumer %s is named twice; use --parallel-workers for more workers", name)
		}
		chosen = append(chosen, r)
	}
	return chosen, nil
}

// noneRegistered is the error when there are no consumers at all: before the first one is
// written, a name may be a mistyped command.
func noneRegistered(names []string) error {
	for _, name := range names {
		if hint := meant(name, nil); hint != "" {
			return fmt.Errorf("no consumer is called %q%s; none is registered", name, hint)
		}
	}
	return errors.New("no consumer is registered in this program: call racecar.Register from an init function of a package that main imports")
}

// digestOf changes whenever the configuration or the Spec changes, so that new workers are
// needed.
func digestOf(l *config.Loaded, c *racecar.Registration) (string, error) {
	data, err := json.Marshal(struct {
		Config config.WithSecrets // with its secrets: new credentials call for new workers
		Spec   racecar.Spec
		Batch  bool
	}{config.WithSecrets(l.Config), c.Spec(), c.Batch()})
	if err != nil {
		return "", fmt.Errorf("%s: digest: %w", c.Name(), err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16]), nil
}

// runPlan answers a supervisor that wants to know what this binary would run.
func runPlan(conn *wire.Conn, args []string) int {
	plan := wire.Plan{}
	if in, err := parseArgs(args); err != nil {
		plan.Error = err.Error()
	} else if r, err := load(in.invocation); err != nil {
		plan.Error = err.Error()
	} else if err := checkFiles(r); err != nil {
		plan.Error = err.Error()
	} else {
		plan = r.plan
	}
	plan.Versions = wire.Supported()
	if err := conn.Write(wire.KindPlan, plan); err != nil {
		return wire.ExitCrash // nobody is there to read it
	}
	_, _ = conn.Read() // EOF: the supervisor has seen which program we are
	if plan.Error != "" {
		return wire.ExitPermanent
	}
	return wire.ExitOK
}

// launcherCommands are commands of racecar that a program built with it does not have.
var launcherCommands = []string{"broker", "build", "demo", "generate", "install"}

// meant suggests a consumer with a similar name, or a command, for a word that is no
// consumer.
func meant(name string, consumers []string) string {
	if slices.Contains(launcherCommands, name) {
		return fmt.Sprintf(" (`racecar %s` is a command of racecar, not of a program built with it)", name)
	}
	if hint := nearest.Hint(name, consumers); hint != "" {
		return hint
	}
	return nearest.Hint(name, append([]string{"config", "list", "run"}, launcherCommands...))
}
