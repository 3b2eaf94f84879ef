package monitor

import (
	"fmt"
	"strings"

	"github.com/racecar-go/racecar/internal/status"
)

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
			why = append(why, fmt.Sprintf("%s was given up: %s", c.Name, c.Reason))
		}
	}
	for _, w := range st.Workers {
		switch {
		case w.State == status.Fatal, w.State == status.Exited:
			// Its consumer says so, or it was stopped by an operator.
		case w.State == status.Backoff:
			why = append(why, fmt.Sprintf("%s waits to be started again: %s", w.Name(), w.LastExit))
		case w.State == status.Starting && w.Detail == "", w.State == status.Stopping:
			// Bounded by worker_boot_timeout, after which Detail says so, and by
			// shutdown_timeout.
		case !w.Live:
			why = append(why, strings.TrimSuffix(fmt.Sprintf("%s is stuck: %s", w.Name(), w.Detail), ": "))
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
			why = append(why, strings.TrimSuffix(fmt.Sprintf("%s is %s: %s", w.Name(), w.State, w.Detail), ": "))
		}
	}
	if len(st.Workers) == 0 {
		why = append(why, "no worker")
	}
	return why
}
