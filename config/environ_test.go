package config

import (
	"strings"
	"testing"
)

func TestEnvironProblems(t *testing.T) {
	_, err := Load(Options{Dir: t.TempDir(), Environ: []string{
		"RACECAR_FETCH_MESAGES=1",
		"RACECAR_FETCH_MESSAGES=many",
		"RACECAR_SESSION_TIMEOUT=",
		"RACECAR_SASL_PASSWORDS=s3cr3t",
		"RACECAR_SERVICE_HOST=10.0.0.1",
		"RACECAR_WEB_PORT_9394_TCP_ADDR=10.0.0.1",
		"RACECAR_MAX_BYTES=1KiB",
		"RACECAR_FETCH_MIN_BYTES=2KiB",
		"RACECAR_ENV=test",
		"RACECAR_INTERNAL_ROLE=worker",
		"RACECARX=1", "racecar_client_id=x", "=C:=x", "RACECAR_",
	}})
	const service = ": it looks like one that Kubernetes makes for a service named racecar; set enableServiceLinks: false for the pod"
	want := []string{
		`RACECAR_FETCH_MESAGES: unknown environment variable (did you mean RACECAR_FETCH_MESSAGES?)`,
		`RACECAR_SASL_PASSWORDS: unknown environment variable (did you mean RACECAR_SASL_PASSWORD?)`,
		`RACECAR_SERVICE_HOST: unknown environment variable` + service,
		`RACECAR_WEB_PORT_9394_TCP_ADDR: unknown environment variable` + service,
		`RACECAR_FETCH_MESSAGES: "many" is not a whole number (example: 1000)`,
		`RACECAR_SESSION_TIMEOUT: empty, where a number of seconds (example: 30) belongs`,
		`RACECAR_FETCH_MIN_BYTES: 2048 bytes is more than max_bytes (RACECAR_MAX_BYTES), 1024: brokers would always wait for max_wait_time`,
	}
	if err == nil || err.Error() != strings.Join(want, "\n") {
		t.Errorf("got\n%v\nwant\n%s", err, strings.Join(want, "\n"))
	}
}

// An empty variable says "none" to a text or a list, over what a file says.
func TestEmptyVariable(t *testing.T) {
	dir := project(t, "common: {logfile: x.log, datadog_tags: [a]}")
	l, err := Load(Options{Dir: dir, Environ: []string{"RACECAR_LOGFILE=", "RACECAR_DATADOG_TAGS="}})
	if err != nil || l.Config.Logfile != "" || len(l.Config.DatadogTags) != 0 || l.Sources["logfile"] != "RACECAR_LOGFILE" {
		t.Errorf("%v, %v", l, err)
	}
}

func TestEachKeyIsAVariable(t *testing.T) {
	values := map[string]string{
		TypeString: "x", TypeList: "x", TypeInteger: "3", TypeSize: "3", TypeFloat: "0.5", TypeBoolean: "true", TypeDuration: "3",
	}
	for _, k := range Keys() {
		settings, problems := readEnviron(map[string]string{k.Env: values[k.Type]})
		if len(problems) > 0 || len(settings) != 1 || settings[0].key.Name != k.Name || settings[0].in.text != values[k.Type] {
			t.Errorf("%s: %v, %v", k.Env, settings, problems)
		}
	}
}

func TestSection(t *testing.T) {
	for _, tt := range []struct {
		env  map[string]string
		want string
	}{
		{nil, "development"},
		{map[string]string{"RACK_ENV": "c"}, "c"},
		{map[string]string{"RACK_ENV": "c", "RAILS_ENV": "b"}, "b"},
		{map[string]string{"RACK_ENV": "c", "RAILS_ENV": "b", "RACECAR_ENV": "a"}, "a"},
		{map[string]string{"RACECAR_ENV": "", "RACK_ENV": "c"}, "c"},
	} {
		if got := sectionFrom(tt.env); got.name != tt.want {
			t.Errorf("%v: %v, want %s", tt.env, got, tt.want)
		}
	}
}

// A value that could not be read is not compared with others.
func TestUnreadableValueCausesNoFurtherErrors(t *testing.T) {
	_, err := Load(Options{Dir: t.TempDir(), Environ: []string{"RACECAR_SOCKET_TIMEOUT=soon", "RACECAR_MAX_WAIT_TIME=40", "RACECAR_BROKERS=:x"}})
	const want = `RACECAR_SOCKET_TIMEOUT: "soon" is not a number of seconds (example: 30)` + "\n" +
		`RACECAR_BROKERS: "localhost:x" has no proper port: write host:port`
	if text(err) != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}
