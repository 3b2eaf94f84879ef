// Package consumers sends notifications.
package consumers

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/racecar-go/racecar/racecar"
)

// NotifyConsumer sends each message to a service that needs some time for it. The key is the
// user: a user's notifications are sent one after the other, those of different users at the
// same time.
type NotifyConsumer struct {
	url    string
	client *http.Client
}

// transport is shared by the 50 instances of a worker, and so are its connections.
var transport = &http.Transport{MaxIdleConnsPerHost: 50}

// NewNotifyConsumer returns a consumer, one of the 50 of a worker.
func NewNotifyConsumer(racecar.Runtime) (*NotifyConsumer, error) {
	return &NotifyConsumer{
		url:    cmp.Or(os.Getenv("NOTIFY_URL"), "http://127.0.0.1:8099/notify"),
		client: &http.Client{Transport: transport},
	}, nil
}

// Process sends one notification. If the service fails, only this user waits for the retry.
func (c *NotifyConsumer) Process(ctx context.Context, m *racecar.Message) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"?user="+url.QueryEscape(string(m.Key)), bytes.NewReader(m.Value))
	if err != nil {
		return racecar.Skip(err)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil { // so that the connection can be used again
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("notify: %s", resp.Status)
	}
	return nil
}

func init() {
	racecar.Register(NewNotifyConsumer, racecar.Spec{
		Subscriptions: []racecar.Subscription{{Topic: "notifications"}},
		Ordering:      racecar.ByKey,
		Concurrency:   50,
	})
}
