package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The expectations are what upstream's own line of Ruby gives:
// name.gsub(/[a-z][A-Z]/) { |s| "#{s[0]}-#{s[1]}" }.downcase
func TestGroupIDFor(t *testing.T) {
	for _, tt := range []struct{ name, prefix, want string }{
		{"UserBanConsumer", "", "user-ban-consumer"},
		{"BaconConsumer", "kevin.", "kevin.bacon-consumer"},
		{"HTTPLogConsumer", "", "httplog-consumer"},
		{"LogHTTPConsumer", "", "log-httpconsumer"},
		{"S3UploadConsumer", "", "s3upload-consumer"},
		{"Sha256SumConsumer", "", "sha256sum-consumer"},
		{"V2Consumer", "", "v2consumer"},
		{"ABTestConsumer", "", "abtest-consumer"},
		{"AConsumer", "", "aconsumer"},
		{"Billing::InvoiceConsumer", "", "billing::invoice-consumer"},
		{"Billing::V2::InvoicePaidConsumer", "Prod.", "Prod.billing::v2::invoice-paid-consumer"},
		{"aBcDeF", "", "a-bc-de-f"},
		{"already-dashed", "", "already-dashed"},
		{"snake_Case", "", "snake_case"},
		{"ÉclairConsumer", "", "éclair-consumer"},
		{"", "p", "p"},
	} {
		if got := GroupIDFor(tt.name, tt.prefix); got != tt.want {
			t.Errorf("%s with prefix %q: %s, want %s", tt.name, tt.prefix, got, tt.want)
		}
	}
}

func TestDeadLetterTopicFor(t *testing.T) {
	for group, want := range map[string]string{
		"user-ban-consumer":         "user-ban-consumer.dlq",
		"billing::invoice-consumer": "billing__invoice-consumer.dlq",
		"é b":                       "__b.dlq",
	} {
		if got := DeadLetterTopicFor(group); got != want || !ValidTopic(got) {
			t.Errorf("%s: %s, want %s", group, got, want)
		}
	}
	if got := DeadLetterTopicFor(strings.Repeat("x", 300)); !ValidTopic(got) {
		t.Errorf("a long group's topic has %d characters", len(got))
	}
}

func TestDefaultLivenessFile(t *testing.T) {
	dir := fmt.Sprintf("/t/racecar-%d/", os.Geteuid())
	o := Options{Dir: t.TempDir(), Environ: []string{"TMPDIR=/t", "RACECAR_LIVENESS_PROBE_ENABLED=true"}}
	specs := []SpecValues{{Name: "Billing/Invoice"}, {Name: "B"}}
	one, err := LoadAll(o, specs[:1])
	if err != nil || one[0].Config.LivenessProbeFilePath != dir+"billing_invoice.liveness" {
		t.Errorf("one: %v, %v", one, err)
	}
	two, err := LoadAll(o, specs)
	if err != nil || two[0].Config.LivenessProbeFilePath != dir+"racecar.liveness" || two[1].Config.LivenessProbeFilePath != dir+"racecar.liveness" {
		t.Errorf("two: %v, %v", two, err)
	}
}
