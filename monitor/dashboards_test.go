package monitor

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/racecar-go/racecar/internal/appmetrics"
)

// family is a metric with its labels.
type family struct {
	kind   string
	labels map[string]bool
}

// gathered returns the metrics of a status with one problem of each kind.
func gathered(t *testing.T) map[string]family {
	t.Helper()
	log, _ := logtest.NewNullLogger()
	st, err := newStage(3, 4).Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	c := &collector{log: log, seen: map[string]float64{}, missed: map[appmetrics.Slot]float64{}}
	c.miss([]appmetrics.Slot{{Consumer: "A", Worker: "A[0]"}})
	if err := reg.Register(snapshot{c, st}); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]family{}
	for _, f := range families {
		labels := map[string]bool{}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = true
			}
		}
		found[f.GetName()] = family{strings.ToLower(f.GetType().String()), labels}
	}
	return found
}

// prometheusNames are all metrics that /metrics can have, with their labels.
func prometheusNames(t *testing.T) map[string]map[string]bool {
	t.Helper()
	names := map[string]map[string]bool{}
	for name, f := range gathered(t) {
		f.labels["instance"], f.labels["job"] = true, true // Prometheus adds them
		names[name] = f.labels
		if f.kind == "histogram" {
			f.labels["le"] = true
			for _, part := range []string{"_sum", "_count", "_bucket"} {
				names[name+part] = f.labels
			}
		}
	}
	return names
}

var (
	metricName = regexp.MustCompile(`racecar_[a-z0-9_]+`)
	matcher    = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)\s*"`)
	grouping   = regexp.MustCompile(`\b(?:by|on|without|ignoring) \(([a-z_, ]+)\)`)
	legend     = regexp.MustCompile(`\{\{ ?(?:\$labels\.)?([a-z_]+)`)
)

// checkPromQL fails the test if an expression uses a metric or label that does not exist.
func checkPromQL(t *testing.T, names map[string]map[string]bool, expr string, texts ...string) {
	t.Helper()
	used := metricName.FindAllString(expr, -1)
	if len(used) == 0 {
		t.Errorf("%s: no metric of ours", expr)
	}
	labels := map[string]bool{}
	for _, name := range used {
		if names[name] == nil {
			t.Errorf("%s: there is no metric %s", expr, name)
		}
		for l := range names[name] {
			labels[l] = true
		}
	}
	var wanted []string
	for _, m := range matcher.FindAllStringSubmatch(expr, -1) {
		wanted = append(wanted, m[1])
	}
	for _, m := range grouping.FindAllStringSubmatch(expr, -1) {
		wanted = append(wanted, strings.Split(strings.ReplaceAll(m[1], " ", ""), ",")...)
	}
	for _, text := range texts {
		for _, m := range legend.FindAllStringSubmatch(text, -1) {
			wanted = append(wanted, m[1])
		}
	}
	for _, l := range wanted {
		if !labels[l] {
			t.Errorf("%s: %v have no label %s", expr, used, l)
		}
	}
	for _, pair := range []string{"()", "{}", "[]"} {
		if strings.Count(expr, pair[:1]) != strings.Count(expr, pair[1:]) {
			t.Errorf("%s: %s do not match", expr, pair)
		}
	}
}

func deployed(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// each calls f for all strings under that key, however deep.
func each(v any, key string, f func(string)) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if s, ok := x.(string); ok && k == key {
				f(s)
			}
			each(x, key, f)
		}
	case []any:
		for _, x := range v {
			each(x, key, f)
		}
	}
}

func TestGrafanaDashboardUsesExistingMetrics(t *testing.T) {
	names := prometheusNames(t)
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
		Templating any
	}
	if err := json.Unmarshal(deployed(t, "grafana-dashboard.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			checkPromQL(t, names, target.Expr, target.LegendFormat)
			n++
		}
	}
	each(dashboard.Templating, "query", func(q string) {
		for _, name := range metricName.FindAllString(q, -1) {
			if names[name] == nil {
				t.Errorf("%s: there is no metric %s", q, name)
			}
		}
	})
	if n < 20 {
		t.Errorf("%d queries", n)
	}
}

func TestPrometheusRulesUseExistingMetrics(t *testing.T) {
	names := prometheusNames(t)
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Annotations map[string]string
			}
		}
	}
	if err := yaml.UnmarshalWithOptions(deployed(t, "prometheus-rules.yml"), &rules); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			checkPromQL(t, names, r.Expr, r.Annotations["summary"], r.Annotations["description"])
			if r.Alert == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%+v", r)
			}
			n++
		}
	}
	if n < 8 {
		t.Errorf("%d rules", n)
	}
}

var datadogQuery = regexp.MustCompile(`^(?:sum|avg|max):racecar\.([a-z0-9_.]+)\{([^}]*)\}(?: by \{([a-z_,]+)\})?(?:\.as_rate\(\)|\.as_count\(\))?$`)

// The suffixes that the agent gives timings and histograms.
var aggregations = regexp.MustCompile(`\.(?:avg|count|max|median|95percentile)$`)

func TestDatadogDashboardUsesExistingMetrics(t *testing.T) {
	kinds, tags := map[string]string{}, map[string]map[string]bool{}
	for line := range expected("racecar") {
		fields := strings.SplitN(line, "|", 3)
		name := strings.TrimPrefix(fields[0], "racecar.")
		kinds[name], tags[name] = fields[1], map[string]bool{}
		for tag := range strings.SplitSeq(fields[2], ",") {
			key, _, _ := strings.Cut(tag, ":")
			tags[name][key] = true
		}
	}
	var dashboard any
	if err := json.Unmarshal(deployed(t, "datadog-dashboard.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	n := 0
	query := func(q string) {
		n++
		m := datadogQuery.FindStringSubmatch(q)
		if m == nil {
			t.Errorf("%q is no query", q)
			return
		}
		name := m[1]
		if base := aggregations.ReplaceAllString(name, ""); base != name {
			if k := kinds[base]; k != "h" && k != "ms" {
				t.Errorf("%q: %s is no timing and no histogram (%q)", q, base, k)
				return
			}
			name = base
		} else if k := kinds[name]; k != "c" && k != "g" {
			t.Errorf("%q: there is no count or gauge %s (%q)", q, name, k)
			return
		}
		for _, tag := range append(strings.Split(strings.ReplaceAll(m[2], "$", ""), ","), strings.Split(m[3], ",")...) {
			if tag != "" && !tags[name][tag] {
				t.Errorf("%q: %s has no tag %s", q, name, tag)
			}
		}
	}
	each(dashboard, "q", func(sum string) { // of queries
		for q := range strings.SplitSeq(sum, " + ") {
			if inner, ok := strings.CutPrefix(q, "default_zero("); ok {
				q = strings.TrimSuffix(inner, ")")
			}
			query(q)
		}
	})
	if n < 25 {
		t.Errorf("%d queries", n)
	}
}

var documented = regexp.MustCompile("(?m)^\\| `(racecar_[a-z_]+)` \\| ([a-z]+) \\| ([a-z_, ]*) ?\\| ")

// docs/monitoring.md lists all metrics, with types and labels.
func TestDocumentedMetrics(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "docs", "monitoring.md"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, m := range documented.FindAllStringSubmatch(string(raw), -1) {
		labels := strings.FieldsFunc(m[3], func(r rune) bool { return r == ',' || r == ' ' })
		slices.Sort(labels)
		got[m[1]] = m[2] + " " + strings.Join(labels, ",")
	}
	want := map[string]string{}
	for name, f := range gathered(t) {
		want[name] = f.kind + " " + strings.Join(slices.Sorted(maps.Keys(f.labels)), ",")
	}
	for name, is := range want {
		if got[name] != is {
			t.Errorf("%s is %q, documented as %q", name, is, got[name])
		}
	}
	for name := range got {
		if want[name] == "" {
			t.Errorf("%s is documented, and there is none", name)
		}
	}
	for _, e := range everything(time.Now()) {
		if !strings.Contains(string(raw), "`"+e.EventName()+"`") {
			t.Errorf("event %s is not documented", e.EventName())
		}
	}
	for line := range expected("") {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "."), "|")
		if !strings.Contains(string(raw), "`"+regexp.MustCompile(`rdkafka_error\..*`).ReplaceAllString(name, "rdkafka_error.<code>")+"`") {
			t.Errorf("datadog's %s is not documented", name)
		}
	}
}
