package consumers

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
)

// service is a stub. It answers nothing until it has enough requests at once, so that the
// test does not depend on how fast the machine is.
type service struct {
	mu       sync.Mutex
	atOnce   int
	enough   chan struct{} // closed once atOnce requests were there
	waiting  int
	busy     map[string]bool // users with a request in hand
	received map[string][]string
	failed   []string
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	user := r.URL.Query().Get("user")
	s.mu.Lock()
	if s.busy[user] {
		s.failed = append(s.failed, user+" has two requests at once")
	}
	s.busy[user] = true
	s.received[user] = append(s.received[user], string(body))
	if s.waiting++; s.waiting == s.atOnce {
		close(s.enough)
	}
	s.mu.Unlock()
	select {
	case <-s.enough:
	case <-r.Context().Done():
	}
	s.mu.Lock()
	s.busy[user] = false
	s.mu.Unlock()
}

// On one partition, as many users as there are calls are served at once, and the notifications of
// each arrive in their order.
func TestNotifyConsumer(t *testing.T) {
	const users, each, calls = 60, 5, 50
	s := &service{atOnce: calls, enough: make(chan struct{}), busy: map[string]bool{}, received: map[string][]string{}}
	server := httptest.NewServer(s)
	defer server.Close()
	t.Setenv("NOTIFY_URL", server.URL)
	b := racecartest.NewBroker(t)
	b.Topic("notifications", 1)
	w := racecartest.RunWorker(t, b, NewNotifyConsumer, racecartest.WithSpec(racecar.Spec{
		Subscriptions: []racecar.Subscription{{Topic: "notifications"}}, Ordering: racecar.ByKey, Concurrency: calls,
	}))
	for n := range each {
		for user := range users {
			b.Produce(racecar.ProducerMessage{Topic: "notifications", Key: fmt.Appendf(nil, "user-%d", user), Value: fmt.Append(nil, n)})
		}
	}
	b.WaitConsumed("notify-consumer", "notifications")
	w.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.failed {
		t.Error(f)
	}
	for user := range users {
		if got := fmt.Sprint(s.received[fmt.Sprintf("user-%d", user)]); got != "[0 1 2 3 4]" {
			t.Errorf("user %d received %s", user, got)
		}
	}
}
