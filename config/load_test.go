package config

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
)

// project makes a directory with a config/racecar.yml.
func project(t *testing.T, yml string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, DefaultFile, yml)
	return dir
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestPrecedence adds one source after the other; each must win over all before it.
func TestPrecedence(t *testing.T) {
	dir := project(t, "")
	steps := []struct {
		source string
		add    func(*Options, *string)
		wants  [3]string // fetch_messages, max_wait_time, dead_letter_topic
	}{
		{"default", func(*Options, *string) {}, [3]string{"1000", "1.0", "nil"}},
		{"common", func(_ *Options, yml *string) {
			*yml = "common:\n  fetch_messages: 11\n  max_wait_time: 1.1\n  dead_letter_topic: common\n"
		}, [3]string{"11", "1.1", `"common"`}},
		{"section", func(_ *Options, yml *string) {
			*yml += "production:\n  fetch_messages: 12\n  max_wait_time: 1.2\n  dead_letter_topic: section\n"
		}, [3]string{"12", "1.2", `"section"`}},
		{"Configure", func(o *Options, _ *string) {
			o.Configure = []func(*Config) error{func(c *Config) error {
				c.FetchMessages, c.MaxWaitTime, c.DeadLetterTopic = 13, 1300*time.Millisecond, "configure"
				return nil
			}}
		}, [3]string{"13", "1.3", `"configure"`}},
		{"Spec", func(o *Options, _ *string) {
			o.Spec = &SpecValues{Name: "X", FetchMessages: 14, MaxWaitTime: 1400 * time.Millisecond, DeadLetterTopic: "spec"}
		}, [3]string{"14", "1.4", `"spec"`}},
		{"consumer of common", func(_ *Options, yml *string) {
			*yml = strings.Replace(*yml, "production:", "  consumers: {X: {fetch_messages: 141, max_wait_time: 1.41, dead_letter_topic: c}, Y: {fetch_messages: 1}}\nproduction:", 1)
		}, [3]string{"141", "1.41", `"c"`}},
		{"consumer of the section", func(_ *Options, yml *string) {
			*yml += "  consumers:\n    X: {fetch_messages: 142, max_wait_time: 1.42, dead_letter_topic: d}\n"
		}, [3]string{"142", "1.42", `"d"`}},
		{"variable", func(o *Options, _ *string) {
			o.Environ = append(o.Environ, "RACECAR_FETCH_MESSAGES=15", "RACECAR_MAX_WAIT_TIME=1.5", "RACECAR_DEAD_LETTER_TOPIC=env")
		}, [3]string{"15", "1.5", `"env"`}},
		{"flag", func(o *Options, _ *string) {
			o.Flags = map[string]Flag{
				"fetch_messages":    {"16", "--fetch-messages"},
				"max_wait_time":     {"1.6", "--max-wait-time"},
				"dead_letter_topic": {"flag", "--dead-letter-topic"},
			}
		}, [3]string{"16", "1.6", `"flag"`}},
	}
	o := Options{Dir: dir, Environ: []string{"RAILS_ENV=production"}}
	yml := "common: {}\nproduction: {}\n"
	for _, s := range steps {
		s.add(&o, &yml)
		write(t, dir, DefaultFile, yml)
		l, err := Load(o)
		if err != nil {
			t.Fatalf("%s: %v", s.source, err)
		}
		for i, name := range []string{"fetch_messages", "max_wait_time", "dead_letter_topic"} {
			k, _ := Lookup(name)
			if got := k.written(&l.Config); got != s.wants[i] {
				t.Errorf("with %s: %s = %s, want %s (from %s)", s.source, name, got, s.wants[i], l.Sources[name])
			}
		}
		if s.source != "default" && l.Sources["fetch_messages"] == SourceDefault {
			t.Errorf("with %s: fetch_messages is said to come from nowhere", s.source)
		}
	}
}

func TestSources(t *testing.T) {
	dir := project(t, "common:\n  client_id: a\n  fetch_messages: 5\nproduction:\n  brokers: [k1, 'k2:9']\n")
	l, err := Load(Options{
		Dir:     dir,
		Environ: []string{"RACECAR_ENV=production", "RACECAR_LOG_LEVEL=debug"},
		Flags:   map[string]Flag{"logfile": {"x.log", "--log"}},
		Configure: []func(*Config) error{func(c *Config) error {
			c.DatadogHost = "dd"
			return nil
		}},
		Spec: &SpecValues{Name: "UserBanConsumer", ParallelWorkers: 3, MaxRetries: 2},
	})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"client_id":         "config/racecar.yml:2",
		"brokers":           "config/racecar.yml:5",
		"log_level":         "RACECAR_LOG_LEVEL",
		"logfile":           "--log",
		"parallel_workers":  "Spec of UserBanConsumer",
		"group_id":          "derived from the consumer's name",
		"dead_letter_topic": "derived from group_id",
		"session_timeout":   "default",
	} {
		if got := l.Sources[key]; got != want {
			t.Errorf("%s comes from %q, want %q", key, got, want)
		}
	}
	if got := l.Sources["datadog_host"]; !strings.HasPrefix(got, "Configure (config/load_test.go:") {
		t.Errorf("datadog_host comes from %q", got)
	}
	c := l.Config
	if c.GroupID != "user-ban-consumer" || c.DeadLetterTopic != "user-ban-consumer.dlq" || c.Pidfile != "" {
		t.Errorf("derived: group %q, dead letters %q, pidfile %q", c.GroupID, c.DeadLetterTopic, c.Pidfile)
	}
	if got := strings.Join(c.Brokers, " "); got != "k1:9092 k2:9" {
		t.Errorf("brokers %s", got)
	}
}

func TestLoadAllChecksConsumersTogether(t *testing.T) {
	dir := t.TempDir()
	specs := []SpecValues{{Name: "FirstConsumer"}, {Name: "SecondConsumer"}}
	all, err := LoadAll(Options{Dir: dir, Flags: map[string]Flag{"daemonize": {"true", "--daemonize"}}}, specs)
	if err != nil {
		t.Fatal(err)
	}
	for i, group := range []string{"first-consumer", "second-consumer"} {
		if c := all[i].Config; c.GroupID != group || c.Pidfile != "racecar.pid" {
			t.Errorf("group %q, pidfile %q", c.GroupID, c.Pidfile)
		}
	}
	if all, err = LoadAll(Options{Dir: dir, Environ: []string{"RACECAR_SASL_OVER_SSL=no"}}, specs); err != nil || len(all[0].Warnings) != 1 || len(all[1].Warnings) != 0 {
		t.Errorf("a warning that both share is to be told once: %v, %v", all, err)
	}
	_, err = LoadAll(Options{Dir: dir, Flags: map[string]Flag{"group_id": {"one", "--group-id"}, "fetch_messages": {"no", "--fetch-messages"}}}, specs)
	if err == nil || strings.Count(err.Error(), "\n") != 0 {
		t.Errorf("a problem that both share is to be told once: %v", err)
	}
	_, err = LoadAll(Options{Dir: dir, Flags: map[string]Flag{"group_id": {"one", "--group-id"}}}, specs)
	const want = `--group-id: FirstConsumer and SecondConsumer would both consume as group "one", and each would get only part of its topics' messages: give each its own GroupID in its Spec`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// A bare number in a Spec is nanoseconds to Go, which nobody means.
func TestDurationsOfTheSpec(t *testing.T) {
	thirty := 30 * time.Nanosecond
	_, err := Load(Options{Dir: t.TempDir(), Spec: &SpecValues{Name: "X", PauseTimeout: &thirty, MaxWaitTime: 5, MaxPollInterval: 300}})
	const want = "Spec of X: MaxWaitTime: 5ns: write 5 * time.Second\nSpec of X: MaxPollInterval: 300ns: write 300 * time.Second\nSpec of X: PauseTimeout: 30ns: write 30 * time.Second"
	if text(err) != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	short := 999 * time.Microsecond
	_, err = Load(Options{Dir: t.TempDir(), Spec: &SpecValues{Name: "X", PauseTimeout: &short, MaxWaitTime: time.Millisecond}})
	if got := text(err); got != "Spec of X: PauseTimeout: 999µs: the shortest duration is 1 ms" {
		t.Errorf("got %s", got)
	}
}

func TestGroupOfTheSpecCannotBeMoved(t *testing.T) {
	o := Options{Dir: t.TempDir(), Spec: &SpecValues{Name: "X", GroupID: "mine"}, Environ: []string{"RACECAR_GROUP_ID=other"}}
	_, err := Load(o)
	const want = `RACECAR_GROUP_ID: group "other", but the Spec of X says "mine"; in another group the consumer would read its topics from their start: change the Spec, or leave this out`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	o.Environ = []string{"RACECAR_GROUP_ID=mine"}
	if _, err := Load(o); err != nil {
		t.Errorf("the same group from both: %v", err)
	}
	// A file's is a default for all consumers: the Spec overrides it, as upstream.
	o = Options{Dir: project(t, "common: {group_id: other}"), Spec: o.Spec}
	if l, err := Load(o); err != nil || l.Config.GroupID != "mine" {
		t.Errorf("from a file: %v, %v", l, err)
	}
}

// A consumer that names an order relies on it. The file's common section is a default for
// all consumers, which the Spec overrides.
func TestOrderingOfTheSpecCannotBeChanged(t *testing.T) {
	byKey := SpecValues{Name: "X", Ordering: OrderingKey, Concurrency: 8}
	transactional := SpecValues{Name: "X", Transactional: true, Concurrency: 8}
	flag := func(v string) map[string]Flag { return map[string]Flag{"ordering": {Text: v, As: "--ordering"}} }
	for _, c := range []struct {
		name string
		file string
		spec SpecValues
		env  []string
		flag map[string]Flag
		want Ordering // or
		err  string
	}{
		{name: "default", spec: SpecValues{Name: "X"}, want: OrderingPartition},
		{name: "as configured", file: "common: {ordering: key, concurrency: 4}", spec: SpecValues{Name: "X"}, want: OrderingKey},
		{name: "symbol", env: []string{"RACECAR_ORDERING=:None"}, spec: SpecValues{Name: "X", Concurrency: 2}, want: OrderingNone},
		{name: "section", file: "common: {consumers: {X: {ordering: key, concurrency: 4}}}", spec: SpecValues{Name: "X"}, want: OrderingKey},
		{name: "Spec over file", file: "common: {ordering: none}", spec: byKey, want: OrderingKey},
		{name: "the same", env: []string{"RACECAR_ORDERING=key"}, flag: flag("key"), spec: byKey, want: OrderingKey},
		{name: "variable", env: []string{"RACECAR_ORDERING=none"}, spec: byKey,
			err: "RACECAR_ORDERING: ordering none, but the Spec of X says key, and the consumer relies on it: change the Spec, or leave this out"},
		{name: "flag", flag: flag("partition"), spec: byKey,
			err: "--ordering: ordering partition, but the Spec of X says key, and the consumer relies on it: change the Spec, or leave this out"},
		{name: "section against Spec", file: "common:\n  consumers:\n    X:\n      ordering: none\n", spec: byKey,
			err: "config/racecar.yml:4: ordering none, but the Spec of X says key, and the consumer relies on it: change the Spec, or leave this out"},
		{name: "unknown", env: []string{"RACECAR_ORDERING=keys"}, spec: byKey,
			err: `RACECAR_ORDERING: "keys" is not one of partition, key, none (did you mean "key"?)`},
		{name: "unknown in the Spec", spec: SpecValues{Name: "X", Ordering: "racecar.Ordering(7)"},
			err: `Spec of X: ordering: "racecar.Ordering(7)" is not one of partition, key, none`},
		{name: "transactional Spec", spec: SpecValues{Name: "X", Transactional: true, Ordering: OrderingKey, Concurrency: 8},
			err: "Spec of X: ordering key does not go with X, which is Transactional: only ordering partition does"},
		{name: "transactional", env: []string{"RACECAR_ORDERING=none"}, spec: transactional,
			err: "RACECAR_ORDERING: ordering none does not go with X, which is Transactional: only ordering partition does"},
		{name: "transactional by partition", env: []string{"RACECAR_ORDERING=partition"}, spec: transactional, want: OrderingPartition},
	} {
		l, err := Load(Options{Dir: project(t, c.file), Environ: c.env, Flags: c.flag, Spec: &c.spec})
		switch {
		case text(err) != c.err:
			t.Errorf("%s: got\n%v\nwant\n%s", c.name, err, c.err)
		case err == nil && l.Config.Ordering != c.want:
			t.Errorf("%s: ordering %s, want %s", c.name, l.Config.Ordering, c.want)
		case err == nil && strings.Contains(strings.Join(l.Warnings, "\n"), "ordering"):
			t.Errorf("%s: warned: %q", c.name, l.Warnings)
		}
	}
}

// Concurrency 1 is allowed with every order, and hardly meant.
func TestOrderingWithoutConcurrency(t *testing.T) {
	for order, want := range map[Ordering]string{
		OrderingPartition: "",
		OrderingKey:       "Spec of X: ordering: key with concurrency 1: a worker still makes one call at a time, and the order only decides which messages wait for a failed one",
		OrderingNone:      "Spec of X: ordering: none with concurrency 1: a worker still makes one call at a time, and the order only decides which messages wait for a failed one",
	} {
		l, err := Load(Options{Dir: t.TempDir(), Spec: &SpecValues{Name: "X", Ordering: order}})
		if err != nil || strings.Join(l.Warnings, "\n") != want {
			t.Errorf("%s: got %v, %q, want %q", order, err, l.Warnings, want)
		}
	}
}

// An order by key has no outages of the whole consumer, so keys about those say that.
func TestOutageKeysWithoutEffect(t *testing.T) {
	wide := []string{
		"--outage-scope: consumer has no effect with ordering %s: only what reported the outage waits",
		"--outage-not-ready: has no effect with ordering %s: /readyz does not know of such an outage",
	}
	for order, want := range map[Ordering][]string{OrderingPartition: nil, OrderingKey: wide, OrderingNone: wide} {
		l, err := Load(Options{
			Dir: t.TempDir(), Spec: &SpecValues{Name: "X", Ordering: order, Concurrency: 2},
			Flags: map[string]Flag{
				"outage_scope":     {Text: "consumer", As: "--outage-scope"},
				"outage_not_ready": {Text: "true", As: "--outage-not-ready"},
			},
		})
		text := strings.ReplaceAll(strings.Join(want, "\n"), "%s", string(order))
		if err != nil || strings.Join(l.Warnings, "\n") != text {
			t.Errorf("%s: got %v, %q, want %q", order, err, l.Warnings, text)
		}
	}
}

// The same in Configure: c.PauseTimeout = 10 is what Ruby's config.pause_timeout = 10 becomes.
func TestDurationsOfConfigure(t *testing.T) {
	_, err := Load(Options{Dir: t.TempDir(), Configure: []func(*Config) error{func(c *Config) error {
		c.PauseTimeout, c.SessionTimeout, c.SASLKerberosMinTimeBeforeRelogin = 10, 30, 60000
		c.MaxWaitTime = 500 * time.Microsecond
		c.TransactionInterval = time.Millisecond
		return nil
	}}})
	got := regexp.MustCompile(`Configure \([^)]*\)`).ReplaceAllString(text(err), "Configure")
	const want = "Configure: pause_timeout: 10ns: write 10 * time.Second\nConfigure: session_timeout: 30ns: write 30 * time.Second\n" +
		"Configure: max_wait_time: 500µs: the shortest duration is 1 ms\nConfigure: sasl_kerberos_min_time_before_relogin: 60µs: write 60000 * time.Millisecond"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestConfigureFailures(t *testing.T) {
	boom := errors.New("no service discovery")
	_, err := Load(Options{Dir: t.TempDir(), Configure: []func(*Config) error{
		func(*Config) error { return boom },
		func(*Config) error { panic("oops") },
		func(c *Config) error { c.PauseTimeout = -5 * time.Second; return nil },
	}})
	if !errors.Is(err, boom) || !strings.Contains(err.Error(), "panic: oops") || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("got %v", err)
	}
	_, err = Load(Options{Dir: t.TempDir(), Configure: []func(*Config) error{
		func(c *Config) error { c.PauseTimeout = -5 * time.Second; return nil },
	}})
	if err == nil || !strings.HasPrefix(err.Error(), "Configure (config/load_test.go:") || !strings.HasSuffix(err.Error(), "): pause_timeout: -5 s must be at least 0 (or -1)") {
		t.Errorf("got %v", err)
	}
}

// Logger accepts three types; the error about any other names its source.
func TestLoggers(t *testing.T) {
	var none *slog.Logger
	for want, logger := range map[string]any{
		"":    nil,
		" ":   slog.Default(),
		"  ":  logrus.New(),
		"   ": logrus.New().WithField("app", "shop"),
		"Logger: a *slog.Logger, *logrus.Logger or *logrus.Entry is needed, not a string": "stdout",
		"Logger: the *slog.Logger is nil":                                                 none,
	} {
		_, err := Load(Options{Dir: t.TempDir(), Configure: []func(*Config) error{func(c *Config) error {
			c.Logger = logger
			return nil
		}}})
		switch {
		case strings.TrimSpace(want) == "":
			if err != nil {
				t.Errorf("%T: %v", logger, err)
			}
		case err == nil || !strings.HasPrefix(err.Error(), "Configure (config/load_test.go:") || !strings.HasSuffix(err.Error(), want):
			t.Errorf("%T: got %v, want %s", logger, err, want)
		}
	}
}

func TestApplyFunctionsChangesFunctionsOnly(t *testing.T) {
	c := Default()
	c.ClientID = "from the supervisor"
	err := ApplyFunctions(&c, []func(*Config) error{func(c *Config) error {
		c.ClientID, c.Brokers[0] = "mine", "mine:1"
		c.OnError = func(context.Context, error, ErrorInfo) {}
		return nil
	}})
	if err != nil || c.ClientID != "from the supervisor" || c.Brokers[0] != "localhost:9092" || c.OnError == nil {
		t.Errorf("%v %v %v", err, c, c.OnError == nil)
	}
	before := c.OnError
	err = ApplyFunctions(&c, []func(*Config) error{
		func(c *Config) error { c.OnError = nil; return nil },
		func(*Config) error { return errors.New("no") },
	})
	if err == nil || before == nil || c.OnError == nil {
		t.Errorf("a failure must leave all as it was: %v", err)
	}
}

func TestFileGivenMustExist(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(Options{Dir: dir}); err != nil {
		t.Errorf("the default file may be missing: %v", err)
	}
	for _, o := range []Options{
		{Dir: dir, File: "nope.yml", FileGiven: true},
		{Dir: dir, Environ: []string{"RACECAR_CONFIG=nope.yml"}},
	} {
		if _, err := Load(o); err == nil || err.Error() != "nope.yml: open: no such file or directory" {
			t.Errorf("got %v", err)
		}
	}
	if _, err := Load(Options{Dir: dir, File: "nope.yml", FileGiven: true, NoFile: true}); err != nil {
		t.Errorf("NoFile: %v", err)
	}
}

func TestSecretsOnTheCommandLine(t *testing.T) {
	l, err := Load(Options{Dir: t.TempDir(), Flags: map[string]Flag{"status_token": {"s3cr3t", "--status-token"}}})
	const want = "--status-token: a secret on the command line can be read by every user of this host: use RACECAR_STATUS_TOKEN"
	if err != nil || len(l.Warnings) != 1 || l.Warnings[0] != want {
		t.Errorf("%v, %v", l, err)
	}
}

// A consumer that reads its own dead letters would fail at them for ever.
func TestDeadLetterTopicThatIsConsumed(t *testing.T) {
	spec := &SpecValues{Name: "X", GroupID: "x", MaxRetries: 1, Topics: []string{"a", "x.dlq"}}
	for name, o := range map[string]Options{
		"derived": {Dir: t.TempDir(), Spec: spec},
		"given":   {Dir: t.TempDir(), Spec: spec, Environ: []string{"RACECAR_DEAD_LETTER_TOPIC=a"}},
	} {
		if _, err := Load(o); err == nil || !strings.Contains(err.Error(), "is a topic that the consumer reads") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Load(Options{Dir: t.TempDir(), Spec: spec, Environ: []string{"RACECAR_DEAD_LETTER_TOPIC=b"}}); err != nil {
		t.Error(err)
	}
}
