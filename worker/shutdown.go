package worker

import "time"

// stopWithin sets when all must be over, work a little earlier. A second call may only
// shorten it.
func (w *worker) stopWithin(d, reserve time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := time.Now().Add(d)
	if old := w.stopAt.Load(); old != nil && !at.Before(*old) {
		return
	}
	w.stopAt.Store(&at)
	if w.timer != nil {
		w.timer.Stop()
	}
	w.timer = time.AfterFunc(d-reserve, func() { w.timeUp(errTimeUp) })
}

// stopDeadline says that nothing is left that could take too long.
func (w *worker) stopDeadline() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
}

// stay reports that all is finished and waits for the exit command, or for the end of the
// supervisor.
func (w *worker) stay() {
	w.stopDeadline()
	w.finished.Store(true)
	w.sendFrame()
	select {
	case <-w.exit:
	case <-w.orphaned.Done():
	}
}
