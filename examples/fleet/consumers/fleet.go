// Package consumers is a fleet of small consumers with one middleware.
package consumers

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/racecar-go/racecar/racecar"
)

func init() {
	racecar.Use(observe)
	register("SignupConsumer", "signups", signup)
	register("LoginConsumer", "logins", login)
	racecar.Register(NewAuditConsumer, racecar.Spec{
		Subscriptions: []racecar.Subscription{{Topic: "signups"}, {Topic: "logins"}},
	})
}

// register registers a consumer of one topic whose messages are JSON. Retries and pauses stand
// in config/racecar.yml, in a section for each consumer.
func register[T any](name, topic string, f func(context.Context, *racecar.Message, T) error) {
	newConsumer := func(racecar.Runtime) (racecar.ProcessFunc, error) {
		return racecar.JSON(f, racecar.OnMalformed(racecar.Skip)), nil
	}
	racecar.Register(newConsumer, racecar.Spec{Name: name, Subscriptions: []racecar.Subscription{{Topic: topic}}})
}

var seconds = promauto.NewHistogramVec(prometheus.HistogramOpts{Name: "fleet_call_seconds", Help: "Duration of calls."}, []string{"topic", "failed"})

// observe measures each call of each consumer, and logs the slow ones.
func observe(next racecar.Handler) racecar.Handler {
	return func(ctx context.Context, messages []*racecar.Message) error {
		began := time.Now()
		err := next(ctx, messages)
		took := time.Since(began)
		seconds.WithLabelValues(messages[0].Topic, fmt.Sprint(err != nil)).Observe(took.Seconds())
		if took > time.Second {
			racecar.Logger(ctx).Warn("a slow call", "duration", took)
		}
		return err
	}
}

type user struct {
	Name string `json:"name"`
}

func signup(ctx context.Context, _ *racecar.Message, u user) error {
	racecar.Logger(ctx).Info("signed up", "user", u.Name)
	return nil
}

func login(ctx context.Context, _ *racecar.Message, u user) error {
	racecar.Logger(ctx).Info("logged in", "user", u.Name)
	return nil
}

// AuditConsumer counts what has happened, in batches.
type AuditConsumer struct{ rt racecar.Runtime }

// NewAuditConsumer returns an AuditConsumer.
func NewAuditConsumer(rt racecar.Runtime) (*AuditConsumer, error) { return &AuditConsumer{rt}, nil }

// ProcessBatch produces one summary for each batch.
func (c *AuditConsumer) ProcessBatch(ctx context.Context, messages []*racecar.Message) error {
	summary, err := json.Marshal(map[string]any{"topic": messages[0].Topic, "events": len(messages)})
	if err != nil {
		return err
	}
	return c.rt.Producer.Produce(ctx, racecar.ProducerMessage{Topic: "audit", Value: summary})
}
