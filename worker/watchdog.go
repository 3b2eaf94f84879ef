package worker

import (
	"context"
	"fmt"
	"time"
)

// The escalation for a call longer than max_poll_interval, without a supervisor: its
// ctx is cancelled, then the stacks are written, then the worker ends.
const (
	stuckDump = 2 * time.Second
	stuckEnd  = 5 * time.Second
)

// watch escalates against calls that take too long. A supervisor does so itself, by the
// scoreboard: it can also kill.
func (w *worker) watch(ctx context.Context) {
	if w.opts.Conn != nil && !w.opts.Watch {
		return
	}
	logged, dumped := false, false
	for sleep(ctx, min(time.Second, max(w.cfg.MaxPollInterval/10, 10*time.Millisecond))) {
		longest := time.Duration(0)
		for _, c := range w.board.InHand() {
			longest = max(longest, c.Since)
		}
		over := longest - w.cfg.MaxPollInterval
		if over >= 0 {
			w.cancelCalls("longer than max_poll_interval")
		}
		switch {
		case over < 0:
			logged, dumped = false, false
		case !logged:
			logged = true
			w.log.WithField("calls", w.inHand()).Error("a call takes longer than max_poll_interval: cancelling it")
		case over >= stuckDump && !dumped:
			dumped = true
			w.dumpStacks()
		case over >= stuckEnd:
			w.crash(fmt.Errorf("a call takes longer than max_poll_interval (%v) and does not end: %s", w.cfg.MaxPollInterval, w.inHand()))
			return
		}
	}
}
