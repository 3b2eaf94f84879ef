package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A value put in from a variable is a value whatever it looks like, even where YAML
// would see something else.
func TestValuesOfVariablesAreNotYAML(t *testing.T) {
	for _, value := range []string{"p#ss", "a: b", `x'"\`, "*anchor", "[1: 2]", "- x", "x${A}", `x<%= ENV["A"] %>`, "é 日本", "%{x}"} {
		dir := project(t, "common:\n  client_id: <%= ENV[\"V\"] %>\n  datadog_host: \"${V}\"\n  datadog_tags: [\"a\", ${V}, 'b']\n")
		l, err := Load(Options{Dir: dir, Environ: []string{"V=" + value}})
		if err != nil || l.Config.ClientID != value || l.Config.DatadogHost != value || strings.Join(l.Config.DatadogTags, "|") != "a|"+value+"|b" {
			t.Errorf("%q: %v, %v", value, l, err)
		}
	}
}

// Lines and columns are those of the file, also after a variable.
func TestPositionsAfterVariables(t *testing.T) {
	dir := project(t, "common: {client_id: <%= ENV.fetch('LONG', 'd') %>, é: 1}\n")
	_, err := Load(Options{Dir: dir})
	if err == nil || err.Error() != `config/racecar.yml:1:52: unknown key "é"` {
		t.Errorf("got %v", err)
	}
}

func TestRubyConfigurationIsNamed(t *testing.T) {
	dir := project(t, "common: {}")
	write(t, dir, "config/racecar.rb", `
Racecar.configure do |config|
  config.brokers = ServiceDiscovery.find("kafka-brokers")
  config.sasl_password = "s3cr3t"
  config.on_error do |e, data|
    Bugsnag.notify(e) if config.client_id == "x"
  end
  config.error_handler = nil
end
`)
	l, err := Load(Options{Dir: dir})
	const want = "config/racecar.rb is Ruby and is not read (it sets c.Brokers, c.SASLPassword, c.OnError): move its settings to config/racecar.yml, or to racecar.Configure(func(c *racecar.Config) error { … }) in an init function"
	if err != nil || len(l.Warnings) == 0 || l.Warnings[0] != want {
		t.Errorf("%v, %v", l, err)
	}
}

func TestUnreadableFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "big.yml", "common: {}\n"+strings.Repeat("# filler\n", maxFile/9))
	if err := os.Mkdir(filepath.Join(dir, "dir.yml"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"big.yml":  "big.yml: larger than 256 KiB: not a configuration file",
		"dir.yml":  "dir.yml: read: is a directory",
		"none.yml": "none.yml: open: no such file or directory",
	} {
		_, err := Load(Options{Dir: dir, File: name, FileGiven: true})
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	// The default file may be missing, but not something else in its place.
	write(t, dir, "config/racecar.yml/x", "")
	if _, err := Load(Options{Dir: dir}); err == nil || err.Error() != "config/racecar.yml: read: is a directory" {
		t.Errorf("got %v", err)
	}
	// Many folders have a file named config.
	dir = t.TempDir()
	write(t, dir, "config", "")
	if _, err := Load(Options{Dir: dir}); err != nil {
		t.Error(err)
	}
	if _, err := Load(Options{Dir: dir, File: DefaultFile, FileGiven: true}); err == nil || err.Error() != "config/racecar.yml: open: not a directory" {
		t.Errorf("got %v", err)
	}
}

func TestAbsolutePath(t *testing.T) {
	path := filepath.Join(project(t, "common: {client_id: x}"), DefaultFile)
	l, err := Load(Options{Dir: "elsewhere", File: path, FileGiven: true})
	if err != nil || l.Config.ClientID != "x" || l.Sources["client_id"] != path+":1" {
		t.Errorf("%v, %v", l, err)
	}
}

// Merges that double at each step are no way to keep a process busy.
func TestMergesOfMerges(t *testing.T) {
	var yml strings.Builder
	yml.WriteString("a0: &a0 {client_id: x}\n")
	for i := 1; i <= 60; i++ {
		fmt.Fprintf(&yml, "a%d: &a%d {<<: [*a%d, *a%d]}\n", i, i, i-1, i-1)
	}
	yml.WriteString("common: {<<: *a60}\n")
	l, err := Load(Options{Dir: project(t, yml.String())})
	if err != nil || l.Config.ClientID != "x" || l.Sources["client_id"] != "config/racecar.yml:1" {
		t.Errorf("%v, %v", l, err)
	}
}

func TestVariablesCannotNameProperties(t *testing.T) {
	_, err := Load(Options{Dir: project(t, "common:\n  consumer:\n    \"${X}\": 1\n")})
	if want := "config/racecar.yml:3:5: consumer: ${X}: a variable cannot name a property"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
