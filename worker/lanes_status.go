package worker

import (
	"time"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/worker/lanes"
)

// report fills in what the status shows of lanes. Called with scheduler.mu held.
func (r *laneRunner) report(s *status.Partition) {
	s.Beyond, s.InHand, s.InFlight = r.lanes.FinishedBeyond(), 0, r.unsettled
	for task := range r.calls {
		s.InHand += len(task.messages)
	}
	if m := r.lanes.First(); m != nil {
		s.Retries = m.Attempts
	}
	waiting, n := r.lanes.Waiting(status.MaxWaitingKeys)
	s.WaitingKeys = n
	for _, m := range waiting {
		s.OldestWaiting = append(s.OldestWaiting, waitingKey(m))
	}
	if m := r.lanes.Full(); m != nil {
		key := waitingKey(m)
		s.WindowFull = &key
	}
}

// logFull logs which message holds a window that is full, once for each. Only the goroutine
// that watches progress calls it.
func (r *laneRunner) logFull() {
	r.t.mu.Lock()
	m := r.lanes.Full()
	var key status.WaitingKey
	if m != nil {
		key = waitingKey(m)
	}
	r.t.mu.Unlock()
	if m == nil || r.fullLogged == key.Offset+1 {
		return
	}
	r.fullLogged = key.Offset + 1
	log := r.w.partLog(r.p).WithField("offset", key.Offset).WithField("key", key.Key).WithField("attempts", key.Attempts)
	if !key.Since.IsZero() {
		log = log.WithField("since", key.Since.UTC().Format(time.RFC3339))
	}
	log.Warn("window full: no further message begins before the one at the committed offset is finished")
}

func waitingKey(m *lanes.Message) status.WaitingKey {
	wait, waits := m.Wait()
	key := status.WaitingKey{Key: status.KeyText(m.Key()), Offset: m.Offset, Attempts: m.Attempts, Since: wait.Since}
	if waits && !wait.Until.IsZero() {
		key.Until = &wait.Until
	}
	return key
}
