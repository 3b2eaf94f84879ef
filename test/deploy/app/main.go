// The app is what the tests of deploy/ put in place of a user's program: one
// consumer that logs what it is handed.
package main

import (
	"context"
	"log/slog"

	"github.com/racecar-go/racecar/cli"
	"github.com/racecar-go/racecar/racecar"
)

type echo struct{ log *slog.Logger }

func (e *echo) Process(_ context.Context, m *racecar.Message) error {
	e.log.Info("echo", "value", string(m.Value))
	return nil
}

func init() {
	racecar.Register(func(rt racecar.Runtime) (*echo, error) { return &echo{rt.Logger}, nil },
		racecar.Spec{Name: "Echo", Subscriptions: []racecar.Subscription{{Topic: "words"}}})
}

func main() { cli.Main() }
