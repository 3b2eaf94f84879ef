package nearest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNames(t *testing.T) {
	known := []string{"UserBanConsumer", "ArchiveConsumer", "GeoCodingConsumer", "brokers", "broker"}
	for name, want := range map[string][]string{
		"UserBanConsumr":  {"UserBanConsumer"},
		"userbanconsumer": {"UserBanConsumer"},
		"UesrBanConsumer": {"UserBanConsumer"},
		"archive":         {"ArchiveConsumer"},
		"brokesr":         {"broker", "brokers"},
		"PaymentProcess":  nil,
		"":                nil,
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(want, Names(name, known)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestHint(t *testing.T) {
	if got := Hint("brokesr", []string{"brokers", "broker"}); got != ` (did you mean "broker" or "brokers"?)` {
		t.Error(got)
	}
	if got := Hint("xyzzy", []string{"brokers"}); got != "" {
		t.Error(got)
	}
}

// A name from a file may have any length; finding that nothing resembles it must
// not take longer than reading it.
func TestLongNames(t *testing.T) {
	long := strings.Repeat("client_id", 100_000)
	if got := Names(long, []string{"client_id", "brokers"}); got != nil {
		t.Errorf("got %v", got)
	}
}
