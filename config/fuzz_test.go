package config

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// loaded checks what holds for each outcome of Load: either problems, each on a line
// of its own, or a whole configuration that is valid, prints and travels.
func loaded(t *testing.T, l *Loaded, err error) {
	t.Helper()
	if err != nil {
		if l != nil {
			t.Fatalf("half a configuration beside %v", err)
		}
		for _, e := range unjoin(err) {
			if s := e.Error(); s == "" || strings.Contains(s, "\n") && !strings.Contains(s, "\\n") {
				t.Fatalf("a problem takes one line: %q", s)
			}
		}
		return
	}
	if err := l.Config.Validate(); err != nil {
		t.Fatalf("loaded, but not valid: %v", err)
	}
	if s := l.Config.String(); strings.Contains(s, "\n") {
		t.Fatalf("not one line: %q", s)
	}
	if len(l.Sources) != len(allKeys) {
		t.Fatalf("%d sources", len(l.Sources))
	}
	b, err := json.Marshal(WithSecrets(l.Config))
	if err != nil {
		t.Fatal(err)
	}
	var back Config
	if err := json.Unmarshal(b, (*WithSecrets)(&back)); err != nil || !reflect.DeepEqual(back, l.Config) {
		t.Fatalf("arrives as %v, %v", back, err)
	}
}

func FuzzFile(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b), "a,b")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		env := map[string]string{"V": value, "RAILS_ENV": "production"}
		r := parseFile(text, "f.yml", sectionFrom(env), env, func(string) (string, error) { return value, nil })
		l := newLoader(Options{Dir: t.TempDir(), NoFile: true})
		l.problems, l.unread = r.problems, r.unread
		l.apply(r.settings)
		l.run()
		if len(l.problems) > 0 {
			loaded(t, nil, errors.Join(l.problems...))
			return
		}
		loaded(t, &Loaded{Config: l.config, Sources: l.sources}, nil)
	})
}

func FuzzEnvironment(f *testing.F) {
	for _, k := range allKeys {
		f.Add(k.Env, k.Default)
		f.Add(k.Env, "-1")
	}
	f.Add("RACECAR_NOPE", "1")
	f.Add("RACECAR_CONSUMER", "session.timeout.ms=1,linger.ms=x,bootstrap.servers=a,b")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, name, value string) {
		if name == envFile {
			t.Skip() // reads whatever file that is
		}
		l, err := Load(Options{Dir: dir, Environ: []string{name + "=" + value}, Spec: &SpecValues{Name: "X"}})
		loaded(t, l, err)
		if err == nil && !utf8.ValidString(value) && strings.HasPrefix(name, EnvPrefix) && !strings.Contains(name, "=") {
			if _, isKey := Lookup(strings.ToLower(strings.TrimPrefix(name, EnvPrefix))); isKey && name == strings.ToUpper(name) {
				t.Fatal("what cannot travel as JSON was accepted")
			}
		}
	})
}

func FuzzFlags(f *testing.F) {
	for _, k := range allKeys {
		f.Add(k.Name, k.Default, "group_id", "g")
	}
	f.Add("nope", "", "max_retries", "1")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, key, text, key2, text2 string) {
		flags := map[string]Flag{key: {text, "--a"}, key2: {text2, "--b"}}
		l, err := Load(Options{Dir: dir, Flags: flags, Spec: &SpecValues{Name: "X", GroupID: "g"}})
		loaded(t, l, err)
		if _, err := os.Stat(filepath.Join(dir, "config")); !errors.Is(err, fs.ErrNotExist) {
			t.Fatal("loading made files")
		}
	})
}
