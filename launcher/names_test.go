package launcher

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseConsumerName(t *testing.T) {
	tapDance := consumerName{Type: "TapDanceConsumer", Dir: "consumers", Package: "consumers", File: "tap_dance_consumer", Topic: "tap-dance"}
	for name, want := range map[string]consumerName{
		"TapDance": tapDance, "tapDance": tapDance, "tap_dance": tapDance, "tap-dance": tapDance, "tap dance": tapDance,
		"TAP_DANCE": tapDance, "TapDanceConsumer": tapDance, "tap_dance_consumer": tapDance, " tap.dance ": tapDance,
		"HTTPLog":                  {Type: "HTTPLogConsumer", Dir: "consumers", Package: "consumers", File: "http_log_consumer", Topic: "http-log"},
		"userV2Ban":                {Type: "UserV2BanConsumer", Dir: "consumers", Package: "consumers", File: "user_v2_ban_consumer", Topic: "user-v2-ban"},
		"GPS":                      {Type: "GPSConsumer", Dir: "consumers", Package: "consumers", File: "gps_consumer", Topic: "gps"},
		"über_maß":                 {Type: "ÜberMaßConsumer", Dir: "consumers", Package: "consumers", File: "über_maß_consumer", Topic: "über-maß"},
		"Billing::InvoiceConsumer": {Type: "InvoiceConsumer", Registered: "Billing::InvoiceConsumer", Dir: "consumers/billing", Package: "billing", File: "invoice_consumer", Topic: "invoice"},
		"back_office/eu/tax":       {Type: "TaxConsumer", Registered: "BackOffice::Eu::TaxConsumer", Dir: "consumers/backoffice/eu", Package: "eu", File: "tax_consumer", Topic: "tax"},
	} {
		got, err := parseConsumerName(name)
		if err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q: %s", name, d)
		}
	}
	for name, want := range map[string]string{
		"":              `consumer name "": use letters and digits, beginning with a letter, as in TapDance or tap_dance`,
		"Consumer":      `consumer name "Consumer": use letters and digits, beginning with a letter, as in TapDance or tap_dance`,
		"2fast":         `consumer name "2fast": use letters and digits, beginning with a letter, as in TapDance or tap_dance`,
		"../etc/passwd": `consumer name "../etc/passwd": ".." cannot name a package`,
		"func::Call":    `consumer name "func::Call": "func" cannot name a package`,
		"/abs":          `consumer name "/abs": "" cannot name a package`,
		"internal/x":    `consumer name "internal/x": "internal" cannot name a package`,
		"Vendor::Order": `consumer name "Vendor::Order": "Vendor" cannot name a package`,
		"main/loop":     `consumer name "main/loop": "main" cannot name a package`,
	} {
		if _, err := parseConsumerName(name); err == nil || err.Error() != want {
			t.Errorf("%q: error %v, want %s", name, err, want)
		}
	}
}
