package cli

import (
	"context"
	"testing"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/registered"
	"github.com/racecar-go/racecar/racecar"
)

type digested struct{}

func (digested) Process(context.Context, *racecar.Message) error { return nil }

func init() {
	racecar.Register(func(racecar.Runtime) (digested, error) { return digested{}, nil }, racecar.Spec{
		Name:          "DigestedConsumer",
		Subscriptions: []racecar.Subscription{{Topic: "t", AdditionalConfig: map[string]string{"client.rack": "a"}}},
		Use:           []func(racecar.Handler) racecar.Handler{func(next racecar.Handler) racecar.Handler { return next }}, // has no digest
	})
}

// A new password is a reason for new workers like any other change.
func TestDigestCoversSecrets(t *testing.T) {
	c := registered.Lookup("DigestedConsumer")
	l := &config.Loaded{Config: config.Default()}
	before, err := digestOf(l, c)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := digestOf(l, c); err != nil || again != before {
		t.Errorf("the digest of the same is another: %s, %s (%v)", before, again, err)
	}
	l.Config.SASLPassword = "new"
	if after, err := digestOf(l, c); err != nil || after == before {
		t.Errorf("the digest does not see a password: %v", err)
	}
}

func TestSpecValuesCarryProperties(t *testing.T) {
	v := registered.SpecValues(registered.Lookup("DigestedConsumer"))
	if v.Properties["t"]["client.rack"] != "a" {
		t.Errorf("%+v", v)
	}
}
