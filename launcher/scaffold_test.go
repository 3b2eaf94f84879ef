package launcher

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/racecar-go/racecar/config"
)

func TestTheGeneratedConfigurationIsValid(t *testing.T) {
	text, err := render("racecar.yml.tmpl", map[string]string{"Name": "dance"})
	if err != nil {
		t.Fatal(err)
	}
	// The commented lines must be valid, too.
	name := filepath.Join(t.TempDir(), "racecar.yml")
	all := strings.NewReplacer("  # pause", "  pause", "  # max_", "  max_", "  # parallel", "  parallel", "  # sasl_mechanism", "  sasl_mechanism",
		"  # sasl_user", "  sasl_user", "  # sasl_pass", "  sasl_pass", "  # security", "  security").Replace(string(text))
	if n := strings.Count(string(text), "\n  # ") - strings.Count(all, "\n  # "); n < 8 {
		t.Fatalf("%d settings were uncommented", n)
	}
	if err := os.WriteFile(name, []byte(all), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, env := range []string{"development", "test", "production"} {
		loaded, err := config.Load(config.Options{File: name, FileGiven: true,
			Environ: []string{"RACECAR_ENV=" + env, "KAFKA_BROKERS=k1:9092,k2:9092", "KAFKA_USER=u", "KAFKA_PASSWORD=p"}})
		if err != nil {
			t.Fatalf("%s: %v", env, err)
		}
		if len(loaded.Warnings) > 0 {
			t.Errorf("%s: %v", env, loaded.Warnings)
		}
		c := loaded.Config
		if c.ClientID != "dance" || c.MaxRetries != 10 || !c.PauseWithExponentialBackoff {
			t.Errorf("%s: %+v", env, c)
		}
		if env == "production" && (len(c.Brokers) != 2 || c.SASLUsername != "u") {
			t.Errorf("%s: brokers %v, user %q", env, c.Brokers, c.SASLUsername)
		}
	}
}

func TestModulePathFor(t *testing.T) {
	for folder, want := range map[string]string{"dance": "dance", "Tap Dance!": "tap-dance", "...": "consumers", "ünö_x": "n-_x"} {
		if got := modulePathFor(folder); got != want {
			t.Errorf("%q: %q, want %q", folder, got, want)
		}
	}
}

func TestProgramBase(t *testing.T) {
	for path, want := range map[string]string{"dance": "dance", "example.com/dance": "dance", "example.com/dance/v2": "dance", "v2": "v2", "example.com/v8engine": "v8engine"} {
		if got := programBase(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}
