// Package push is a client of a push service over HTTP.
package push

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Notification is a notification for one recipient.
type Notification struct {
	Recipient string `json:"recipient"`
	Text      string `json:"notification"`
}

// RefusedError is the error for a notification that the service refuses.
type RefusedError struct{ Status string }

func (e *RefusedError) Error() string { return "the push service refuses: " + e.Status }

// Service is a client of the push service. It keeps connections open; Close closes them.
type Service struct {
	url  string
	http http.Client
}

// NewService returns a client.
func NewService(url string) *Service {
	return &Service{url: url, http: http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}}
}

// Notify delivers a notification.
func (s *Service) Notify(ctx context.Context, n Notification) error {
	body, err := json.Marshal(n)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	switch {
	case answer.StatusCode < 300:
		return nil
	case answer.StatusCode >= 400 && answer.StatusCode < 500:
		return &RefusedError{answer.Status}
	}
	return fmt.Errorf("push service: %s", answer.Status)
}

// Close closes the connections.
func (s *Service) Close() { s.http.CloseIdleConnections() }
