package config

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The page about moving from Ruby shows a file and the exact messages about it.
func TestMigrationPage(t *testing.T) {
	page, err := os.ReadFile("../docs/migrating-from-racecar.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```(yaml|text)\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) < 4 {
		t.Fatalf("%d blocks", len(blocks))
	}
	dir := project(t, blocks[0][2])
	load := func(environment string) (string, []string) {
		l, err := Load(Options{Dir: dir, Environ: []string{"RAILS_ENV=" + environment, "KAFKA_USERNAME=u", "KAFKA_PASSWORD=s3cr3t", "KAFKA_BROKERS=k1:9092,k2:9092"}})
		if err != nil {
			return err.Error(), nil
		}
		return "", l.Warnings
	}
	for i, environment := range []string{"production", "test"} {
		got, _ := load(environment)
		if want := strings.TrimSpace(blocks[i+1][2]); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", environment, got, want)
		}
	}
	wrong, warnings := load("development")
	if !strings.Contains(wrong, "Socket.gethostname") {
		t.Errorf("development: %q, %q", wrong, warnings)
	}

	after := project(t, blocks[3][2])
	for _, environment := range []string{"development", "test", "production"} {
		l, err := Load(Options{Dir: after, Environ: []string{"RAILS_ENV=" + environment}, Spec: &SpecValues{Name: "InvoiceConsumer"}})
		if err != nil || l.Config.GroupID != "billing.invoice-consumer" {
			t.Errorf("%s: %v, %v", environment, l, err)
			continue
		}
		idle := strings.Contains(strings.Join(l.Warnings, "\n"), "sasl_mechanism: has no effect")
		if idle == (environment == "production") {
			t.Errorf("%s: %q", environment, l.Warnings)
		}
	}
}
