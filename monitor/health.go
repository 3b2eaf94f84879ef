package monitor

import (
	"fmt"
	"strings"

	"github.com/racecar-go/racecar/internal/printable"
	"github.com/racecar-go/racecar/internal/status"
)

// The results of these functions are served without a token. They consist of names and
// states and hold no text that comes from consumer code, a broker or a message, but for the
// names that the code gives its dependencies: the reasons are in the log, in status and on
// the page.

// notLive returns why Racecar is not live; nothing if it is. It is live while nobody needs to
// restart it: every worker runs, starts or waits for brokers, and none is stuck, crashing or
// permanently stopped.
func notLive(st status.Status) []string {
	if st.State == status.Stopping {
		return nil // graceful, and bounded by shutdown_timeout
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
			// Its consumer shows it, or an operator has stopped it.
		case w.State == status.Backoff:
			why = append(why, w.Name()+" crashed and waits to be restarted")
		case w.State == status.Starting && w.Detail == "", w.State == status.Stopping:
			// Bounded by worker_boot_timeout, after which Detail is set, and by
			// shutdown_timeout.
		case !w.Live:
			why = append(why, w.Name()+" is stuck")
		}
	}
	return why
}

// outages names the outages. Racecar is ready in them unless outage_not_ready says
// otherwise, since a deployment that ends an outage would wait for it.
func outages(st status.Status) []string {
	return outagesIf(st, func(status.Outage) bool { return true })
}

func outagesIf(st status.Status, which func(status.Outage) bool) []string {
	var all []string
	for _, c := range st.Consumers {
		for _, o := range c.Outages {
			if which(o) {
				all = append(all, strings.TrimSuffix(c.Name+": outage of "+printable.Line(o.Dependency), " of "))
			}
		}
	}
	return all
}

// nothing is more to say about a healthy supervisor.
func nothing(status.Status) []string { return nil }

// notReady returns why not every worker is consuming; nothing if all are.
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
	return append(why, outagesIf(st, func(o status.Outage) bool { return o.NotReady })...)
}
