package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Options says where Load looks. The zero value reads nothing but the default file
// of the working directory.
type Options struct {
	// Dir is the directory that relative paths are looked up in; empty: the working
	// directory.
	Dir string
	// File is the configuration file; empty: DefaultFile. FileGiven is true when a
	// user asked for it: it must then exist. RACECAR_CONFIG counts as that, after
	// --config.
	File      string
	FileGiven bool
	// NoFile reads no file at all (liveness_probe_skip_config_files).
	NoFile bool
	// Environ has the form of os.Environ.
	Environ []string
	// Flags are the flags given, by key.
	Flags map[string]Flag
	// Configure are racecar.Configure's functions, in order.
	Configure []func(*Config) error
	// Spec is what the consumer's Spec says; nil: no consumer (racecarctl, the
	// standalone producer), and nothing is derived from its name.
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
	// Properties are the subscriptions' AdditionalConfig, by topic or pattern. They
	// are checked here and applied by the worker (SubscriptionProperties).
	Properties map[string]map[string]string
}

// Loaded is an effective configuration.
type Loaded struct {
	Config Config
	// Sources says where each key's value comes from, by key: "default",
	// "config/racecar.yml:12", "Configure (app/config.go:9)", "Spec",
	// "RACECAR_CLIENT_ID", "--client-id", or "derived from …".
	Sources map[string]string
	// Warnings are for the log, one line each.
	Warnings []string
}

// The sources that are not places.
const (
	SourceDefault = "default"
	SourceSpec    = "Spec"
)

// Default is the configuration that nothing was said about.
func Default() Config {
	c, err := defaults(os.TempDir())
	if err != nil {
		panic("config: " + err.Error()) // a mistake in Config's tags
	}
	return c
}

func defaults(tempDir string) (Config, error) {
	var c Config
	for _, k := range allKeys {
		if err := k.set(&c, input{text: k.Default, null: k.Default == ""}); err != nil {
			return c, fmt.Errorf("default of %s: %w", k.Name, err)
		}
	}
	c.LivenessProbeFilePath = strings.Replace(c.LivenessProbeFilePath, "$TMPDIR", tempDir, 1)
	return c, nil
}

// Load builds the configuration of one consumer, lowest first: defaults; the file's
// common section; its section for the environment; Configure; the Spec; variables;
// flags. The error joins all problems, one line each; there is no configuration
// then, not even half of one.
func Load(o Options) (*Loaded, error) {
	l := newLoader(o)
	l.run()
	if len(l.problems) > 0 {
		return nil, errors.Join(l.problems...)
	}
	return &Loaded{Config: l.config, Sources: l.sources, Warnings: l.warnings}, nil
}

// LoadAll builds the configurations of the consumers that one supervisor is to run
// and checks them together. Problems and warnings that all share are told once.
func LoadAll(o Options, specs []SpecValues) ([]*Loaded, error) {
	var all []*Loaded
	var problems []error
	told := map[string]bool{}
	for i := range specs {
		o.Spec = &specs[i]
		l := newLoader(o)
		l.run()
		for _, p := range l.problems {
			if !told[p.Error()] {
				told[p.Error()] = true
				problems = append(problems, p)
			}
		}
		loaded := &Loaded{Config: l.config, Sources: l.sources}
		for _, w := range l.warnings {
			if !told[w] {
				told[w] = true
				loaded.Warnings = append(loaded.Warnings, w)
			}
		}
		all = append(all, loaded)
	}
	if len(problems) == 0 {
		problems = together(all, specs)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return all, nil
}

// together checks what concerns several consumers and names their common pidfile.
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
			place("group_id", l.Sources), specs[first].Name, specs[i].Name, group))
	}
	if len(all) > 1 {
		for _, l := range all {
			if strings.HasPrefix(l.Sources["pidfile"], sourceDerived) {
				l.Config.Pidfile = pidfileFor()
				l.Sources["pidfile"] = sourceDerived + "running several consumers"
			}
		}
	}
	return problems
}

// sourceDerived begins the source of a value that follows from others.
const sourceDerived = "derived from "

type loader struct {
	Options

	env      map[string]string
	defaults Config
	config   Config
	sources  map[string]string
	warnings []string
	problems []error
	// unsound are the keys whose value could not be read: what is between them and
	// others is not judged.
	unsound map[string]bool
	// unread is true when not even the file's keys are known.
	unread bool
}

func newLoader(o Options) *loader {
	l := &loader{Options: o, env: environMap(o.Environ), sources: make(map[string]string, len(allKeys))}
	temp := l.env["TMPDIR"]
	if temp == "" {
		temp = os.TempDir()
	}
	c, err := defaults(temp)
	if err != nil {
		panic("config: " + err.Error()) // a mistake in Config's tags
	}
	l.defaults, l.config, l.unsound = c, c.Clone(), map[string]bool{}
	for _, k := range allKeys {
		l.sources[k.Name] = SourceDefault
	}
	return l
}

func (l *loader) problem(err error) { l.problems = append(l.problems, err) }

func (l *loader) run() {
	l.file()
	l.configure()
	specGroup := l.spec()
	vars, problems := readEnviron(l.env)
	l.problems = append(l.problems, problems...)
	l.apply(vars)
	l.apply(l.flags())
	if specGroup != "" && l.config.GroupID != specGroup {
		l.problem(fmt.Errorf("%s: group %q, but the Spec of %s says %q; in another group the consumer would read its topics from their start: change the Spec, or leave this out",
			l.sources["group_id"], l.config.GroupID, l.Spec.Name, specGroup))
	}
	if l.unread {
		return // what follows would judge values that nobody meant
	}
	l.normalize()
	l.properties()
	l.derive()
	v := validator{c: &l.config, sources: l.sources, unsound: l.unsound}
	l.problems = append(l.problems, v.all()...)
	if len(l.problems) == 0 {
		l.subscriptions()
	}
	l.warnings = append(l.warnings, warnings(&l.config, l.sources)...)
}

// apply sets what a source gives.
func (l *loader) apply(settings []setting) {
	for _, s := range settings {
		if s.in.null { // null is the default
			s.key.value(&l.config).Set(s.key.value(&l.defaults))
			l.sources[s.key.Name] = SourceDefault
			continue
		}
		if err := s.key.set(&l.config, s.in); err != nil {
			l.problem(fmt.Errorf("%s: %w", s.place, err))
			l.unsound[s.key.Name] = true
			continue
		}
		l.sources[s.key.Name] = s.source
	}
}

func (l *loader) file() {
	name, given := l.File, l.FileGiven
	if v := l.env[envFile]; v != "" && !given {
		name, given = v, true
	}
	if name == "" {
		name = DefaultFile
	}
	if l.NoFile {
		return
	}
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(l.Dir, path)
	}
	if w := configRB(l.Dir); w != "" {
		l.warnings = append(l.warnings, w)
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && !given {
		return
	}
	r := readFile(path, name, sectionFrom(l.env), l.env)
	l.unread = r.unread
	l.problems = append(l.problems, r.problems...)
	l.warnings = append(l.warnings, r.warnings...)
	l.apply(r.settings)
}

// configure runs the Configure functions on what the file made. Which keys they set
// shows only where the value changes.
func (l *loader) configure() {
	for _, f := range l.Configure {
		before := l.config.Clone()
		source := "Configure (" + origin(f) + ")"
		if err := call(f, &l.config); err != nil {
			l.problem(fmt.Errorf("%s: %w", source, err))
			l.unread = true
		}
		for _, k := range allKeys {
			if !k.equal(&before, &l.config) {
				l.sources[k.Name] = source
			}
		}
	}
}

// call runs a Configure function; its panic is an error like any other.
func call(f func(*Config) error, c *Config) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f(c)
}

// origin is where a function is written: the last directory, file and line.
func origin(f func(*Config) error) string {
	fn := runtime.FuncForPC(reflect.ValueOf(f).Pointer())
	if fn == nil {
		return "unknown"
	}
	file, line := fn.FileLine(fn.Entry())
	dir, base := filepath.Split(file)
	return fmt.Sprintf("%s/%s:%d", filepath.Base(dir), base, line)
}

// ApplyFunctions runs Configure functions in a worker, whose configuration came
// from the supervisor: only the function-typed fields of c change, whatever else
// they set. c is unchanged when one fails.
func ApplyFunctions(c *Config, functions []func(*Config) error) error {
	scratch := c.Clone()
	for _, f := range functions {
		if err := call(f, &scratch); err != nil {
			return fmt.Errorf("Configure (%s): %w", origin(f), err)
		}
	}
	c.OnError, c.Logger, c.OAuthToken = scratch.OnError, scratch.Logger, scratch.OAuthToken
	return nil
}

// spec applies the consumer's Spec and returns the group that it insists on.
func (l *loader) spec() string {
	s := l.Spec
	if s == nil {
		return ""
	}
	c := &l.config
	set := func(key string) { l.sources[key] = SourceSpec }
	if s.GroupID != "" {
		c.GroupID = s.GroupID
		set("group_id")
	}
	if s.ParallelWorkers != 0 {
		c.ParallelWorkers = s.ParallelWorkers
		set("parallel_workers")
	}
	if s.Concurrency != 0 {
		c.Concurrency = s.Concurrency
		set("concurrency")
	}
	if s.FetchMessages != 0 {
		c.FetchMessages = s.FetchMessages
		set("fetch_messages")
	}
	if s.MaxWaitTime != 0 {
		c.MaxWaitTime = s.MaxWaitTime
		set("max_wait_time")
	}
	if s.MaxPollInterval != 0 {
		c.MaxPollInterval = s.MaxPollInterval
		set("max_poll_interval")
	}
	if s.PauseTimeout != nil {
		c.PauseTimeout = *s.PauseTimeout
		set("pause_timeout")
	}
	if s.MaxRetries != 0 {
		c.MaxRetries = s.MaxRetries
		set("max_retries")
	}
	if s.DeadLetterTopic != "" {
		c.DeadLetterTopic = s.DeadLetterTopic
		set("dead_letter_topic")
	}
	return s.GroupID
}

// flags turns the flags given into settings.
func (l *loader) flags() []setting {
	var settings []setting
	for _, name := range slices.Sorted(maps.Keys(l.Flags)) {
		f := l.Flags[name]
		k, ok := Lookup(name)
		if !ok {
			l.problem(fmt.Errorf("%s: unknown flag", f.As))
			continue
		}
		settings = append(settings, setting{key: k, in: input{text: f.Text}, source: f.As, place: f.As})
	}
	return settings
}

// normalize gives values that functions set the spelling that files' have.
func (l *loader) normalize() {
	c := &l.config
	for _, k := range allKeys {
		switch k.Type {
		case TypeString:
			v := k.value(c)
			v.SetString(k.canonical(v.String()))
		case TypeList:
			words := slices.Clone(k.words(c))
			for i := range words {
				words[i] = k.canonical(words[i])
			}
			k.value(c).Set(reflect.ValueOf(words))
		}
	}
	for i, b := range c.Brokers {
		c.Brokers[i] = withPort(b)
	}
}

// derive fills in what follows from the consumer's name.
func (l *loader) derive() {
	c := &l.config
	if l.Spec == nil {
		return
	}
	if c.GroupID == "" {
		c.GroupID = GroupIDFor(l.Spec.Name, c.GroupIDPrefix)
		l.sources["group_id"] = sourceDerived + "the consumer's name"
	}
	if c.DeadLetterTopic == "" && c.MaxRetries > 0 {
		c.DeadLetterTopic = DeadLetterTopicFor(c.GroupID)
		l.sources["dead_letter_topic"] = sourceDerived + "group_id"
	}
	if c.Pidfile == "" && c.Daemonize {
		c.Pidfile = pidfileFor(c.GroupID)
		l.sources["pidfile"] = sourceDerived + "group_id"
	}
}

// properties looks at the librdkafka properties: one that stands for a key of this
// side alone becomes that key's value.
func (l *loader) properties() {
	for _, p := range []struct {
		key  string
		list []string
		read func([]string) (Properties, error)
	}{
		{"consumer", l.config.Consumer, ConsumerProperties},
		{"producer", l.config.Producer, ProducerProperties},
	} {
		props, err := p.read(p.list)
		if err != nil {
			for _, e := range unjoin(err) {
				l.problem(fmt.Errorf("%s: %w", place(p.key, l.sources), e))
			}
			continue
		}
		l.overlay(p.key, props)
	}
}

func (l *loader) overlay(side string, props Properties) {
	for _, o := range props.overrides {
		k, _ := Lookup(o.key)
		changed := l.config.Clone()
		if err := k.set(&changed, o.in); err != nil {
			l.problem(fmt.Errorf("%s: %s: %w", place(side, l.sources), o.property, err))
			continue
		}
		switch {
		case k.equal(&changed, &l.config):
		case l.sources[o.key] != SourceDefault && o.own:
			l.problem(fmt.Errorf("%s: %s contradicts %s: leave one out",
				place(side, l.sources), o.property, place(o.key, l.sources)))
		case o.own:
			l.config = changed
			l.sources[o.key] = fmt.Sprintf("%s (%s)", o.property, place(side, l.sources))
		}
	}
}

// subscriptions checks the properties of each subscription, by themselves and with
// the keys they stand for.
func (l *loader) subscriptions() {
	if l.Spec == nil {
		return
	}
	for _, topic := range slices.Sorted(maps.Keys(l.Spec.Properties)) {
		props, err := SubscriptionProperties(l.config.Consumer, l.Spec.Properties[topic])
		problems := unjoin(err)
		if err == nil {
			problems = unjoin(props.Apply(l.config).Validate())
		}
		for _, p := range problems {
			l.problem(fmt.Errorf("Spec of %s: AdditionalConfig of %s: %w", l.Spec.Name, topic, p))
		}
	}
}

// unjoin takes a joined error apart.
func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// place names a key by where its value comes from: a variable or flag names it
// already, a file or function does not.
func place(key string, sources map[string]string) string {
	source := sources[key]
	switch {
	case source == "", source == SourceDefault, strings.HasPrefix(source, sourceDerived):
		return key
	case strings.HasPrefix(source, "--"), strings.HasPrefix(source, EnvPrefix):
		return source
	}
	return source + ": " + key
}
