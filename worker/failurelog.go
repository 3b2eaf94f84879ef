package worker

import (
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// Upstream tries ten times and then gives up. We never do, but log as it does:
// ten times, then once a minute.
const (
	loggedTries = 10
	loggedEvery = time.Minute
)

// failureLog logs an error that repeats, and that it has ended.
type failureLog struct {
	entry *logrus.Entry

	mu     sync.Mutex
	tries  int
	since  time.Time
	last   time.Time
	logged time.Time
}

// log logs the error of one more try. It returns the number of tries so far.
func (t *failureLog) log(err error, message string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.tries == 0 || now.Sub(t.last) > 2*loggedEvery {
		t.tries, t.since = 0, now // another one
	}
	t.last = now
	t.tries++
	log := t.entry.WithField("about", message)
	if t.tries <= loggedTries {
		t.logged = now
		log.Errorf("(try %d/%d): %v", t.tries, loggedTries, err)
	} else if now.Sub(t.logged) >= loggedEvery {
		t.logged = now
		log.WithField("since", t.since.Format(time.RFC3339)).WithField("tries", t.tries).Errorf("(try %d): %v", t.tries, err)
	}
	return t.tries
}

// clear notes that it works again.
func (t *failureLog) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tries > 0 {
		t.entry.WithField("after", time.Since(t.since).Round(time.Millisecond).String()).WithField("tries", t.tries).Info("works again")
	}
	t.tries = 0
}

// backoff is the pause before try n+1: 100 ms, doubling, at most 10 s.
func backoff(n int) time.Duration {
	return min(100*time.Millisecond<<min(max(n-1, 0), 10), 10*time.Second)
}
