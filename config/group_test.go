package config

import (
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
