package consumers

import (
	"testing"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
)

func TestGeoCodingConsumer(t *testing.T) {
	result := racecartest.Run(t, NewGeoCodingConsumer, []*racecar.Message{
		{Value: []byte(`{"id":"a","ip_address":"192.0.2.7"}`)},
		{Value: []byte(`{"id":"b","ip_address":"nowhere"}`)},
	})
	if got := racecartest.VerdictOf(result.Errors[1]); got != racecartest.Skipped {
		t.Errorf("an address that is none is %s: %v", got, result.Errors[1])
	}
	if len(result.Produced) != 1 {
		t.Fatalf("%d messages produced, want 1", len(result.Produced))
	}
	m := result.Produced[0]
	if m.Topic != "pageviews-with-country" || string(m.Key) != "a" || string(m.Value) != `{"id":"a","ip_address":"192.0.2.7","country":"DK"}` {
		t.Errorf("produced %s %s=%s", m.Topic, m.Key, m.Value)
	}
}

// The output is complete after failures and a rebalance.
func TestGeoCodingConsumerOnABroker(t *testing.T) {
	b := racecartest.NewBroker(t)
	w := racecartest.RunWorker(t, b, NewGeoCodingConsumer, racecartest.WithSpec(racecar.Spec{
		Subscriptions: []racecar.Subscription{{Topic: "pageviews"}},
	}))
	for range 10 {
		b.Produce(racecar.ProducerMessage{Topic: "pageviews", Value: []byte(`{"id":"a","ip_address":"2001:db8::1"}`)})
	}
	w.Rebalance()
	b.WaitMessages("pageviews-with-country", 10)
	b.WaitConsumed("geo-coding-consumer", "pageviews")
	w.Stop()
	if n := len(b.Messages("pageviews-with-country")); n != 10 {
		t.Errorf("%d messages came out, want 10", n)
	}
}
