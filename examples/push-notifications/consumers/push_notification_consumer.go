// Package consumers pushes notifications.
package consumers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"example.com/push-notifications/push"

	"github.com/racecar-go/racecar/racecar"
)

// PushNotificationConsumer pushes each notification to its recipient.
type PushNotificationConsumer struct {
	rt      racecar.Runtime
	service *push.Service
}

// NewPushNotificationConsumer runs once in each worker process; all messages share the client
// that it opens.
func NewPushNotificationConsumer(rt racecar.Runtime) (*PushNotificationConsumer, error) {
	url := cmp.Or(os.Getenv("PUSH_URL"), "http://127.0.0.1:8089/")
	return &PushNotificationConsumer{rt: rt, service: push.NewService(url)}, nil
}

// Process pushes one notification.
func (c *PushNotificationConsumer) Process(ctx context.Context, m *racecar.Message) error {
	var n push.Notification
	if err := json.Unmarshal(m.Value, &n); err != nil {
		return racecar.Skip(fmt.Errorf("not a notification: %w", err))
	}
	err := c.service.Notify(ctx, n)
	if refused, ok := errors.AsType[*push.RefusedError](err); ok {
		return racecar.Skip(refused)
	}
	return err // if the service cannot be reached, this partition pauses and Racecar retries
}

// Teardown runs when the worker stops, after the last message.
func (c *PushNotificationConsumer) Teardown(ctx context.Context) error {
	c.service.Close()
	c.rt.Logger.InfoContext(ctx, "connections closed")
	return nil
}

func init() {
	racecar.Register(NewPushNotificationConsumer, racecar.Spec{
		Subscriptions: []racecar.Subscription{{Topic: "notifications"}},
	})
}
