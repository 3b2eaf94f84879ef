package consumers

import (
	"os"
	"testing"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
)

func account(t *testing.T, name string) {
	t.Helper()
	if err := os.MkdirAll("tmp/accounts", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("tmp/accounts/"+name, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPaymentConsumer(t *testing.T) {
	t.Chdir(t.TempDir())
	account(t, "ada")
	for value, want := range map[string]racecartest.Verdict{
		`{"account":"ada","cents":250}`: racecartest.Processed,
		`{"account":"ada"}`:             racecartest.Skipped,
		`{"account":"bob","cents":250}`: racecartest.Retried,
		`250 to Ada`:                    racecartest.DeadLettered,
	} {
		result := racecartest.Run(t, NewPaymentConsumer, []*racecar.Message{{Value: []byte(value)}})
		if got := racecartest.VerdictOf(result.Errors[0]); got != want {
			t.Errorf("%s: %s (%v), want %s", value, got, result.Errors[0], want)
		}
	}
	if got, err := os.ReadFile("tmp/accounts/ada"); err != nil || string(got) != "250\n" {
		t.Errorf("ada's account: %q, %v", got, err)
	}
}

func TestFailedPaymentsAreDeadLettered(t *testing.T) {
	t.Chdir(t.TempDir())
	b := racecartest.NewBroker(t)
	w := racecartest.RunWorker(t, b, NewPaymentConsumer, racecartest.WithSpec(racecar.Spec{
		Subscriptions: []racecar.Subscription{{Topic: "payments"}},
		MaxRetries:    2,
	}))
	b.Produce(racecar.ProducerMessage{Topic: "payments", Value: []byte(`{"account":"bob","cents":250}`)})
	dead := b.WaitMessages("payment-consumer.dlq", 1)
	w.Stop()
	if got := string(dead[0].Value); got != `{"account":"bob","cents":250}` {
		t.Errorf("dead letter %s", got)
	}
}
