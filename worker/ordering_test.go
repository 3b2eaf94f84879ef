package worker

import (
	"testing"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
)

// An order that is not implemented ends the worker, and never means the order of partitions.
func TestOrderingThatIsNotSupported(t *testing.T) {
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: "t"}}}, func(racecar.Runtime) (*processor, error) {
		t.Error("an instance was constructed")
		return &processor{}, nil
	})
	for _, order := range []config.Ordering{config.OrderingKey, config.OrderingNone} {
		cfg := config.Default()
		cfg.Ordering = order
		if code := Run(t.Context(), inlineOptions(t, reg, cfg)); code != wire.ExitPermanent {
			t.Errorf("%s: exit code %d", order, code)
		}
	}
}
