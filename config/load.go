package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Options are those of Load. The zero value reads only the default file of the working
// directory.
type Options struct {
	// Dir is the base of relative paths; empty: the working directory.
	Dir string
	// File is the configuration file; empty: DefaultFile. FileGiven is true if a user
	// asked for it, so that it must exist. RACECAR_CONFIG is equivalent; --config
	// overrides it.
	File      string
	FileGiven bool
	// NoFile reads no file at all (liveness_probe_skip_config_files).
	NoFile bool
	// Environ has the form of os.Environ.
	Environ []string
	// DevBroker is the address of an embedded broker that overrides the brokers and the
	// security settings. Empty: the value of the variable EnvDevelopment, if any.
	DevBroker string
	// Flags are the flags given, by key.
	Flags map[string]Flag
	// Configure are racecar.Configure's functions, in order.
	Configure []func(*Config) error
	// Consumers are the names of all registered consumers. A section for another one is a
	// mistake, or belongs to another program. Nil: unknown.
	Consumers []string
	// Check makes that an error and not a warning.
	Check bool
	// Spec is the part of the consumer's Spec that Load reads; nil: no consumer
	// (racecarctl, the standalone producer), and nothing is derived from its name.
	Spec *SpecValues
}

// Flag is one flag of the command line.
type Flag struct {
	Text string // its value; "true" or "false" for a boolean
	As   string // how it was typed, for messages: --logfile, --log, --no-daemonize
}

// SpecValues are the settings of a consumer's Spec. The zero value of each means
// "as configured".
type SpecValues struct {
	Name            string
	GroupID         string
	ParallelWorkers int
	Concurrency     int
	FetchMessages   int
	MaxWaitTime     time.Duration
	MaxPollInterval time.Duration
	PauseTimeout    *time.Duration // nil: as configured, for 0 is a value
	MaxRetries      int
	DeadLetterTopic string
	Transactional   bool
	Ordering        Ordering // empty: as configured
	// Properties are the subscriptions' AdditionalConfig, by topic or pattern. They
	// are checked here and applied by the worker (SubscriptionProperties).
	Properties map[string]map[string]string
	// Topics are those subscribed to by name; for Review.
	Topics []string
}

// Loaded is an effective configuration.
type Loaded struct {
	Config Config
	// Sources are the sources of the keys' values, by key: "default",
	// "config/racecar.yml:12", "Configure (app/config.go:9)",
	// "Spec of UserBanConsumer", "RACECAR_CLIENT_ID", "--client-id", or
	// "derived from …".
	Sources map[string]string
	// Warnings are for the log, one line each.
	Warnings []string
}

// SourceDefault is the source of a value that nobody set.
const SourceDefault = "default"

// Default returns the default of every key.
func Default() Config {
	c, err := defaults()
	if err != nil {
		panic("config: " + err.Error()) // a mistake in Config's tags
	}
	return c
}

func defaults() (Config, error) {
	var c Config
	for _, k := range allKeys {
		if err := k.set(&c, input{text: k.Default, null: k.Default == ""}); err != nil {
			return c, fmt.Errorf("default of %s: %w", k.Name, err)
		}
	}
	return c, nil
}

// Load builds the configuration of one consumer, lowest first: defaults; the file's
// common section; its section for the environment; Configure; the Spec; the consumer's
// section in the file; variables; flags. The error joins all problems, one line each; then there is no
// configuration.
func Load(o Options) (*Loaded, error) {
	all, problems := load(o, []*SpecValues{o.Spec})
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return all[0], nil
}

// LoadAll builds the configurations of the consumers that one supervisor runs and checks
// them together. It reports problems and warnings that they share once.
func LoadAll(o Options, specs []SpecValues) ([]*Loaded, error) {
	pointers := make([]*SpecValues, len(specs))
	for i := range specs {
		pointers[i] = &specs[i]
	}
	all, problems := load(o, pointers)
	if len(problems) == 0 {
		problems = together(all, specs)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return all, nil
}

// load builds a configuration for each Spec. It reports a problem once even if a merge or
// several consumers repeat it.
func load(o Options, specs []*SpecValues) (all []*Loaded, problems []error) {
	told := map[string]bool{}
	once := func(message string) bool {
		known := told[message]
		told[message] = true
		return !known
	}
	for _, s := range specs {
		o.Spec = s
		l := newLoader(o)
		l.run()
		loaded := &Loaded{Config: l.config, Sources: l.sources}
		for _, p := range l.problems {
			if once(p.Error()) {
				problems = append(problems, p)
			}
		}
		for _, w := range l.warnings {
			if once(w) {
				loaded.Warnings = append(loaded.Warnings, w)
			}
		}
		all = append(all, loaded)
	}
	return all, problems
}

// together checks the consumers against each other and sets their common pidfile.
func together(all []*Loaded, specs []SpecValues) []error {
	var problems []error
	owner := map[string]int{}
	for i, l := range all {
		group := l.Config.GroupID
		first, taken := owner[group]
		if !taken {
			owner[group] = i
			continue
		}
		problems = append(problems, fmt.Errorf(
			"%s: %s and %s would both consume as group %q, and each would get only part of its topics' messages: give each its own GroupID in its Spec",
			Locate("group_id", l.Sources), specs[first].Name, specs[i].Name, group))
	}
	if len(all) > 1 {
		for _, l := range all {
			if strings.HasPrefix(l.Sources["pidfile"], sourceDerived) {
				l.Config.Pidfile = pidfileFor()
				l.Sources["pidfile"] = sourceDerived + "running several consumers"
			}
			if strings.HasPrefix(l.Sources["liveness_probe_file_path"], sourceDerived) {
				l.Config.LivenessProbeFilePath = filepath.Join(filepath.Dir(l.Config.LivenessProbeFilePath), livenessFileFor())
				l.Sources["liveness_probe_file_path"] = sourceDerived + "running several consumers"
			}
		}
	}
	return problems
}

// sourceDerived begins the source of a value that follows from others.
const sourceDerived = "derived from "
