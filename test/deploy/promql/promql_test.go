// Package promql parses deploy/prometheus-rules.yml and the queries of
// deploy/grafana-dashboard.json as Prometheus itself does. A module of its own,
// since Prometheus requires much that nothing else needs. That there are metrics
// and labels of those names is for monitor's tests to say.
package promql

import (
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

const (
	rules     = "../../../deploy/prometheus-rules.yml"
	dashboard = "../../../deploy/grafana-dashboard.json"
)

// variables of Grafana, and what it may put in their place.
var variables = strings.NewReplacer("$__rate_interval", "5m", "$consumer", "(A|B)")

func parse(t *testing.T, text []byte) []error {
	t.Helper()
	_, errs := rulefmt.Parse(text, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	return errs
}

func TestRules(t *testing.T) {
	text, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range parse(t, text) {
		t.Error(err)
	}
	for what, change := range map[string]*strings.Replacer{
		"an expression that is none": strings.NewReplacer("expr: ", "expr: sum by "),
		"a key that there is not":    strings.NewReplacer("    expr:", "    expression:"),
		"a label that there is not":  strings.NewReplacer("$labels.", "$label."),
	} {
		if changed := change.Replace(string(text)); changed == string(text) || len(parse(t, []byte(changed))) == 0 {
			t.Errorf("%s is not found", what)
		}
	}
}

func TestDashboard(t *testing.T) {
	text, err := os.ReadFile(dashboard)
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	p, n := parser.NewParser(parser.Options{}), 0
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			n++
			query := variables.Replace(target.Expr)
			if strings.Contains(query, "$") {
				t.Errorf("%s: a variable that this test does not know: %s", panel.Title, query)
			}
			if _, err := p.ParseExpr(query); err != nil {
				t.Errorf("%s: %s: %v", panel.Title, query, err)
			}
		}
	}
	if n < 20 {
		t.Errorf("%d queries", n)
	}
}
