package cli

import (
	"testing"

	"github.com/racecar-go/racecar/internal/wire"
)

func TestPauseRequiresASubscription(t *testing.T) {
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
