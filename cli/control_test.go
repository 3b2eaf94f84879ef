package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/wire"
)

// What racecarctl config is told makes the same lines as SIGUSR1.
func TestKeyInfosAreTheDumps(t *testing.T) {
	c := config.Default()
	c.SASLPassword = "open sesame"
	sources := map[string]string{"sasl_password": "RACECAR_SASL_PASSWORD"}
	var dump bytes.Buffer
	if err := config.Dump(&dump, c, sources, config.DumpOptions{}); err != nil {
		t.Fatal(err)
	}
	keys, err := keyInfos(wire.Consumer{Name: "A", Config: c, Sources: sources})
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for _, k := range keys {
		lines.WriteString(config.Line(k.Key, k.Written, k.Source) + "\n")
	}
	if lines.String() != dump.String() {
		t.Errorf("racecarctl config shows:\n%s\nSIGUSR1:\n%s", lines.String(), dump.String())
	}
}

func TestOnlyWhatIsSubscribedToIsPaused(t *testing.T) {
	running := []wire.Consumer{
		{Name: "A", Subscriptions: []wire.Subscription{{Topic: "a"}}},
		{Name: "B", Subscriptions: []wire.Subscription{{Topic: "b"}, {Pattern: `orders\..*`}}},
	}
	for _, test := range []struct{ consumer, topic, want string }{
		{"", "a", ""}, {"", "b", ""}, {"", "orders.eu", ""}, {"A", "a", ""}, {"C", "a", ""},
		{"", "nope", `no consumer here subscribes to topic "nope"`}, {"", "my.orders.eu", `no consumer here subscribes to topic "my.orders.eu"`},
		{"A", "b", `A does not subscribe to topic "b"`},
	} {
		got := ""
		if err := subscribed(running, test.consumer, test.topic); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s %s: %q, want %q", test.consumer, test.topic, got, test.want)
		}
	}
}
