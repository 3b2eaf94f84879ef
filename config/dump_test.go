package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
)

// TestDumpMatchesUpstream compares with what Racecar 2.12 wrote on SIGUSR1
// (testdata/upstream-usr1.txt), where only the defaults that the documentation
// names differ.
func TestDumpMatchesUpstream(t *testing.T) {
	b, err := os.ReadFile("testdata/upstream-usr1.txt")
	if err != nil {
		t.Fatal(err)
	}
	c := Default()
	c.Brokers = []string{"127.0.0.1:19092"}
	c.GroupID, c.Pidfile = "peer-tr-28373", "peer-tr-28373.pid"
	c.LivenessProbeFilePath = "$TMPDIR/racecar-liveness"
	differs := map[string]string{
		"heartbeat_interval = 10.0":                   "heartbeat_interval = 1.0",
		"sasl_kerberos_min_time_before_relogin = nil": "sasl_kerberos_min_time_before_relogin = 60000",
	}
	want := strings.Split(strings.TrimSpace(string(b)), "\n")
	var got []string
	for _, s := range Inspect(c, nil) {
		got = append(got, s.Key+" = "+s.Written)
	}
	for i, w := range want {
		if d := differs[w]; d != "" {
			w = d
		}
		if got[i] != w {
			t.Errorf("line %d: %s, want %s", i+1, got[i], w)
		}
	}
	if len(got) <= len(want) || !strings.HasPrefix(got[len(want)], "topic_metadata_refresh_interval = 60.0") {
		t.Errorf("our keys do not follow: %v", got[len(want):])
	}
}

// secretive has a secret in each place that can hold one.
func secretive() Config {
	c := Default()
	for _, k := range Keys() {
		if k.Secret {
			k.value(&c).SetString("s3cr3t")
		}
	}
	c.Consumer = []string{"sasl.password=s3cr3t", "client.rack=r1"}
	c.Producer = []string{"ssl.keystore.password=s3cr3t"}
	return c
}

func TestSecretsAreHidden(t *testing.T) {
	c := secretive()
	var shown bytes.Buffer
	for _, o := range []DumpOptions{{}, {JSON: true}, {Changed: true}, {JSON: true, Changed: true}} {
		if err := Dump(&shown, c, map[string]string{}, o); err != nil {
			t.Fatal(err)
		}
	}
	type holder struct {
		C Config
		P *Config
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		fmt.Fprintf(&shown, verb+verb+verb+verb, c, &c, holder{c, &c}, []any{c})
	}
	slog.New(slog.NewJSONHandler(&shown, nil)).Info("x", "c", c, "p", &c)
	slog.New(slog.NewTextHandler(&shown, nil)).Info("x", "c", c)
	l := logrus.New()
	l.SetOutput(&shown)
	l.WithField("c", c).Info("x")
	l.SetFormatter(&logrus.JSONFormatter{})
	l.WithField("c", c).WithField("p", &c).Info("x")
	if i := strings.Index(shown.String(), "s3cr3t"); i >= 0 {
		t.Errorf("a secret shows: …%s", shown.String()[max(0, i-200):i+10])
	}
	if !strings.Contains(shown.String(), "client.rack=r1") || strings.Count(shown.String(), hidden) < 20 {
		t.Errorf("what is no secret should show, and that there is one:\n%s", shown.String())
	}
}

func TestJSON(t *testing.T) {
	c := secretive()
	b, err := json.Marshal(&c)
	if err != nil || !json.Valid(b) || strings.Contains(string(b), "s3cr3t") || !strings.Contains(string(b), `"max_poll_interval":300`) {
		t.Errorf("%s, %v", b, err)
	}
	var back Config
	if err := json.Unmarshal(b, &back); err == nil {
		t.Error("a Config without its secrets was taken for one")
	}
	c.DatadogTags, c.MaxWaitTime, c.PauseJitter = []string{"é\u2028"}, 1234567, 0.1+0.2
	if b, err = json.Marshal(WithSecrets(c)); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, (*WithSecrets)(&back)); err != nil || !reflect.DeepEqual(back, c) {
		t.Errorf("what is carried must arrive exactly: %v, %v", back, err)
	}
}

func TestDumpJSON(t *testing.T) {
	c := Default()
	c.Brokers, c.StatusToken = []string{"a:1", "b:2"}, "t"
	var out bytes.Buffer
	if err := Dump(&out, c, map[string]string{"brokers": "--brokers", "status_token": "RACECAR_STATUS_TOKEN"}, DumpOptions{JSON: true, Changed: true}); err != nil {
		t.Fatal(err)
	}
	const want = `{
  "brokers": {"value":["a:1","b:2"],"source":"--brokers"},
  "status_token": {"value":"[hidden]","source":"RACECAR_STATUS_TOKEN"}
}
`
	if out.String() != want || !json.Valid(out.Bytes()) {
		t.Errorf("got %s", out.String())
	}
}

func TestDumpNamesSources(t *testing.T) {
	var out bytes.Buffer
	c := Default()
	c.ClientID = "x"
	if err := Dump(&out, c, map[string]string{"client_id": "config/racecar.yml:3"}, DumpOptions{Changed: true}); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%-48s # config/racecar.yml:3\n", `client_id = "x"`); out.String() != want {
		t.Errorf("got %q", out.String())
	}
}

func TestRubyNotation(t *testing.T) {
	for s, want := range map[string]string{
		"a":         `"a"`,
		`q"\`:       `"q\"\\"`,
		"#{x} # #y": `"\#{x} # #y"`,
		"\n\t\x1b":  `"\n\t\e"`,
		"é\x01":     `"é\x01"`,
		"\u200b":    `"\u200B"`,
	} {
		if got := rubyQuote(s); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
	for f, want := range map[float64]string{10: "10.0", 0.5: "0.5", -1: "-1.0", 0.00001: "1.0e-05", 1e16: "1.0e+16", 1.5e-7: "1.5e-07", 123456789: "123456789.0"} {
		if got := rubyFloatText(f); got != want {
			t.Errorf("%v: %s, want %s", f, got, want)
		}
	}
}
