package monitor

import (
	"fmt"

	"github.com/racecar-go/racecar/internal/status"
)

// What these two return is served without a token: it is made of names and states, and
// holds nothing that comes from consumer code, a broker or a message. The reasons are in
// the log, in status and on the page.

// notLive says why the whole is not live; empty: it is. Live is what a process
// supervisor need not restart: every worker runs, starts or waits for brokers,
// and none is stuck, crashing or given up.
func notLive(st status.Status) []string {
	if st.State == status.Stopping {
		return nil // in order, and bounded by shutdown_timeout
	}
	var why []string
	for _, c := range st.Consumers {
		if c.State == status.Fatal {
			why = append(why, c.Name+" has stopped permanently")
		}
	}
	for _, w := range st.Workers {
		switch {
		case w.State == status.Fatal, w.State == status.Exited:
			// Its consumer says so, or it was stopped by an operator.
		case w.State == status.Backoff:
			why = append(why, w.Name()+" crashed and waits to be started again")
		case w.State == status.Starting && w.Detail == "", w.State == status.Stopping:
			// Bounded by worker_boot_timeout, after which Detail says so, and by
			// shutdown_timeout.
		case !w.Live:
			why = append(why, w.Name()+" is stuck")
		}
	}
	return why
}

// notReady says why not everything consumes; empty: it does.
func notReady(st status.Status) []string {
	why := notLive(st)
	if st.State == status.Stopping {
		return append(why, "stopping")
	}
	for _, w := range st.Workers {
		switch w.State {
		case status.Running, status.Quiet, status.Exited, status.Fatal, status.Backoff:
		default:
			why = append(why, fmt.Sprintf("%s is %s", w.Name(), w.State))
		}
	}
	if len(st.Workers) == 0 {
		why = append(why, "no worker")
	}
	return why
}
