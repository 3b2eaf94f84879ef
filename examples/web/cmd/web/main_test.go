package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
)

func TestCommentsReachKafka(t *testing.T) {
	b := racecartest.NewBroker(t)
	producer, err := racecar.OpenProducer(t.Context(), func(c *racecar.Config) error {
		c.Brokers = b.Addrs()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	h := (&app{producer}).handler()
	request := func(method, path, body string) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
		return w.Code
	}
	if code := request(http.MethodPost, "/comments", `{"id":"1","text":"nice"}`); code != http.StatusCreated {
		t.Errorf("posted: %d", code)
	}
	if got := b.Messages("comments"); len(got) != 1 || string(got[0].Value) != `{"id":"1","text":"nice"}` {
		t.Errorf("after the answer there are %d comments", len(got))
	}
	if code := request(http.MethodPost, "/comments", `nice`); code != http.StatusBadRequest {
		t.Errorf("posted what is no comment: %d", code)
	}
	if code := request(http.MethodGet, "/comments/1", ""); code != http.StatusOK {
		t.Errorf("got: %d", code)
	}
	if err := producer.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	if n := len(b.Messages("activity")); n != 1 {
		t.Errorf("%d views were counted, want 1", n)
	}
}
