package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/racecar-go/racecar/internal/addresses"
)

type loader struct {
	Options

	env      map[string]string
	defaults Config
	config   Config
	sources  map[string]string
	warnings []string
	problems []error
	// unsound are the keys whose value could not be read. They are not compared with
	// others.
	unsound map[string]bool
	// shared has the sources of values in the file's common section that are for
	// environments with another protocol.
	shared map[string]string
	// sections are the file's sections of single consumers.
	sections []consumerSection
	// unread is true when not even the file's keys are known.
	unread bool
}

func newLoader(o Options) *loader {
	l := &loader{Options: o, env: environMap(o.Environ), sources: make(map[string]string, len(allKeys))}
	c, err := defaults()
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
	l.ownSection()
	vars, problems := readEnviron(l.env)
	l.problems = append(l.problems, problems...)
	l.apply(vars)
	l.apply(l.secretVariables())
	l.apply(l.flags())
	if specGroup != "" && l.config.GroupID != specGroup {
		l.problem(fmt.Errorf("%s: group %q, but the Spec of %s says %q; in another group the consumer would read its topics from their start: change the Spec, or leave this out",
			l.sources["group_id"], l.config.GroupID, l.Spec.Name, specGroup))
	}
	if l.unread {
		return // what follows would judge values that nobody meant
	}
	l.normalize()
	l.development()
	l.properties()
	l.derive()
	l.ordering()
	v := validator{c: &l.config, sources: l.sources, unsound: l.unsound, shared: l.shared}
	if l.Spec != nil {
		v.topics = l.Spec.Topics
	}
	l.problems = append(l.problems, v.all()...)
	l.warnings = append(l.warnings, v.warnings...)
	if len(l.problems) == 0 {
		l.subscriptions()
	}
	l.warnings = append(l.warnings, warnings(&l.config, l.sources)...)
	l.warnings = append(l.warnings, l.readableSecrets()...)
	if l.config.Review != nil && l.Spec != nil {
		l.warnings = append(l.warnings, l.config.Review(Reviewed{Consumer: l.Spec.Name, Group: l.config.GroupID, Topics: l.Spec.Topics})...)
	}
}

// apply applies the settings of a source.
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
	if _, err := os.Stat(path); !given && (errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)) { // config may be a file
		return
	}
	if w := writableByOthers(path, name); w != "" {
		l.warnings = append(l.warnings, w)
	}
	r := readFile(path, name, sectionFrom(l.env), l.env, l.readSecret)
	l.unread, l.shared, l.sections = r.unread, r.shared, r.consumers
	l.problems = append(l.problems, r.problems...)
	l.warnings = append(l.warnings, r.warnings...)
	for _, key := range r.unsound {
		l.unsound[key] = true
	}
	if !given {
		all := slices.Clone(r.settings)
		for _, s := range r.consumers {
			all = append(all, s.settings...)
		}
		l.strangersFile(path, name, all)
	}
	l.apply(r.settings)
}

// spec applies the consumer's Spec and returns the group that it requires.
func (l *loader) spec() string {
	s := l.Spec
	if s == nil {
		return ""
	}
	c := &l.config
	set := func(key string) { l.sources[key] = "Spec of " + s.Name }
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
	if s.Ordering != "" {
		c.Ordering = s.Ordering
		set("ordering")
	}
	if s.FetchMessages != 0 {
		c.FetchMessages = s.FetchMessages
		set("fetch_messages")
	}
	l.specDurations(s)
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

// ordering refuses an order that the consumer's Spec does not allow.
func (l *loader) ordering() {
	order := l.config.Ordering
	if k, _ := Lookup("ordering"); l.Spec == nil || l.unsound["ordering"] || !slices.Contains(k.Enum, string(order)) {
		return
	}
	switch {
	case l.Spec.Ordering != "" && order != l.Spec.Ordering:
		l.problem(fmt.Errorf("%s: ordering %s, but the Spec of %s says %s, and the consumer relies on it: change the Spec, or leave this out",
			l.sources["ordering"], order, l.Spec.Name, l.Spec.Ordering))
	case l.Spec.Transactional && order != OrderingPartition:
		l.problem(fmt.Errorf("%s: ordering %s does not go with %s, which is Transactional: only ordering partition does",
			l.sources["ordering"], order, l.Spec.Name))
	}
}

// specDurations refuses a few nanoseconds, the result of a number without a unit in a Spec.
func (l *loader) specDurations(s *SpecValues) {
	check := func(field, key string, d time.Duration) {
		l.refuseNanoseconds("Spec of "+s.Name+": "+field, key, d)
	}
	check("MaxWaitTime", "max_wait_time", s.MaxWaitTime)
	check("MaxPollInterval", "max_poll_interval", s.MaxPollInterval)
	if s.PauseTimeout != nil {
		check("PauseTimeout", "pause_timeout", *s.PauseTimeout)
	}
}

// refuseNanoseconds refuses a duration that Go code set to less than a millisecond: a
// number without a unit, as Ruby's Racecar takes it, is nanoseconds to Go.
func (l *loader) refuseNanoseconds(place, key string, d time.Duration) {
	if d <= 0 || d >= time.Millisecond {
		return
	}
	unit := "time.Second"
	if k, _ := Lookup(key); k.Unit == unitMilliseconds {
		unit = "time.Millisecond"
	}
	advice := fmt.Sprintf("write %d * %s", d, unit)
	if d%time.Microsecond == 0 && d >= 100*time.Microsecond { // nobody means a day or more
		advice = "the shortest duration is 1 ms"
	}
	l.problem(fmt.Errorf("%s: %v: %s", place, d, advice))
	l.unsound[key] = true
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

// normalize gives values set by functions the shape and spelling of those in files.
func (l *loader) normalize() {
	c := &l.config
	for _, k := range allKeys {
		if k.Type != TypeString && k.Type != TypeList || l.unsound[k.Name] {
			continue
		}
		words := slices.Clone(k.words(c))
		in := input{items: words, list: true, literal: true}
		if k.Type == TypeString {
			in = input{text: words[0], literal: true}
		}
		if err := k.set(c, in); err != nil {
			l.problem(fmt.Errorf("%s: %w", Locate(k.Name, l.sources), err))
			l.unsound[k.Name] = true
		}
	}
	for i, b := range c.Brokers {
		c.Brokers[i] = addresses.WithPort(b)
	}
}

// derive sets the keys that are derived from the consumer's name.
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
	if c.LivenessProbeFilePath == "" && c.LivenessProbeEnabled {
		c.LivenessProbeFilePath = filepath.Join(LivenessDir(l.Environ), livenessFileFor(c.GroupID))
		l.sources["liveness_probe_file_path"] = sourceDerived + "group_id"
	}
	if c.Pidfile == "" && c.Daemonize {
		c.Pidfile = pidfileFor(c.GroupID)
		l.sources["pidfile"] = sourceDerived + "group_id"
	}
}

// Locate names a key by the source of its value: "RACECAR_BROKERS", "--brokers" or
// "config/racecar.yml:12: brokers".
func Locate(key string, sources map[string]string) string {
	source := sources[key]
	switch {
	case source == "", source == SourceDefault, strings.HasPrefix(source, sourceDerived):
		return key
	case strings.HasPrefix(source, "--"), strings.HasPrefix(source, EnvPrefix):
		return source
	}
	return source + ": " + key
}
