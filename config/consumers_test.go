package config

import (
	"strings"
	"testing"
)

func TestSectionsOfConsumers(t *testing.T) {
	for name, test := range map[string]struct {
		yml   string
		check bool
		// wants is max_retries of X and where it comes from; else the problem or warning.
		retries         int
		source          string
		problem, warned string
	}{
		"own":                 {yml: "  consumers: {X: {max_retries: 5}, Y: {max_retries: 6}}", retries: 5, source: "f.yml:2"},
		"only another's":      {yml: "  consumers: {Y: {max_retries: 6}}", retries: 2, source: "Spec of X"},
		"none":                {yml: "  consumers:", retries: 2, source: "Spec of X"},
		"without keys":        {yml: "  consumers: {X: }", retries: 2, source: "Spec of X"},
		"the default again":   {yml: "  consumers: {X: {max_retries: null}}", retries: 0, source: SourceDefault},
		"below the general":   {yml: "  max_retries: 9\n  consumers: {X: {max_retries: 5}}", retries: 5, source: "f.yml:3"},
		"a Ruby symbol":       {yml: "  :consumers:\n    X:\n      :max_retries: 5", retries: 5, source: "f.yml:4"},
		"the Spec's group":    {yml: "  consumers: {X: {group_id: g}}", retries: 2, source: "Spec of X"},
		"another group":       {yml: "  consumers: {X: {group_id: h}}", problem: `f.yml:2: group "h", but the Spec of X says "g"`},
		"of the process":      {yml: "  consumers: {X: {logfile: a.log}}", problem: "f.yml:2:19: logfile concerns the process, not one of its consumers: move it out of consumers"},
		"unknown key":         {yml: "  consumers: {X: {max_retrys: 5}}", problem: `f.yml:2:19: unknown key "max_retrys" (did you mean "max_retries"?)`},
		"bad value":           {yml: "  consumers: {X: {max_retries: many}}", problem: "f.yml:2:19: max_retries: "},
		"another's bad value": {yml: "  consumers: {Y: {max_retrys: 1}}", problem: `unknown key "max_retrys"`},
		"no keys at all":      {yml: "  consumers: {X: 5}", problem: "f.yml:2:15: consumers.X must hold keys"},
		"no consumers":        {yml: "  consumers: [X]", problem: "f.yml:2:3: consumers must hold consumers"},
		"a variable's name":   {yml: "  consumers: {'${X}': {max_retries: 1}}", problem: "a variable cannot name a consumer"},
		"not registered":      {yml: "  consumers: {Billing: {max_retries: 5}}", retries: 2, source: "Spec of X", warned: "f.yml:2:15: consumers.Billing: this program has no consumer of that name; it has X, Y"},
		"checked":             {yml: "  consumers: {Billing: {max_retries: 5}}", check: true, problem: "consumers.Billing: this program has no consumer of that name; it has X, Y"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "f.yml", "development:\n"+test.yml+"\n")
			l, err := Load(Options{
				Dir: dir, File: "f.yml", FileGiven: true, Consumers: []string{"X", "Y"}, Check: test.check,
				Spec: &SpecValues{Name: "X", GroupID: "g", MaxRetries: 2},
			})
			if test.problem != "" {
				if err == nil || !strings.Contains(err.Error(), test.problem) {
					t.Errorf("%v, want %s", err, test.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if l.Config.MaxRetries != test.retries || l.Sources["max_retries"] != test.source {
				t.Errorf("max_retries %d from %s, want %d from %s", l.Config.MaxRetries, l.Sources["max_retries"], test.retries, test.source)
			}
			if got := strings.Join(l.Warnings, "\n"); !strings.Contains(got, test.warned) || test.warned == "" && got != "" {
				t.Errorf("warned %q, want %q", got, test.warned)
			}
		})
	}
}

// Without a registry nobody knows which consumers there are.
func TestSectionsWithoutARegistry(t *testing.T) {
	dir := project(t, "development:\n  consumers: {X: {max_retries: 5}, Z: {max_retries: 6}}\n")
	l, err := Load(Options{Dir: dir, Check: true, Spec: &SpecValues{Name: "Z"}})
	if err != nil || len(l.Warnings) != 0 || l.Config.MaxRetries != 6 {
		t.Errorf("%+v, %v", l, err)
	}
	if l, err = Load(Options{Dir: dir}); err != nil || l.Config.MaxRetries != 0 {
		t.Errorf("without a consumer: %+v, %v", l, err)
	}
}
