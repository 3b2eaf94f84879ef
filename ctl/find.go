package ctl

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/racecar-go/racecar/ctl/view"
	"github.com/racecar-go/racecar/internal/nearest"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/pidfile"
)

// supervisorFlags say which supervisor is meant.
type supervisorFlags struct {
	Pidfile string `placeholder:"PATH" help:"Use the PID stored in the specified file (default: RACECAR_PIDFILE)"`
	Socket  string `placeholder:"PATH" help:"Use this control socket (default: RACECAR_CONTROL_SOCKET)"`
}

// consumerFlags say which of its consumers is meant as well.
type consumerFlags struct {
	Consumer string `arg:"" optional:"" help:"The consumer (default: all)"`
	supervisorFlags
}

// found is the supervisor that supervisorFlags mean.
type found struct {
	state   pidfile.State
	pid     int    // 0: not known
	pidfile string // as given; empty: found by its socket
	client  *Client
	// search: the user did not choose it; it is the only one that runs.
	search bool
	// silent says why there is no client though it runs.
	silent error
}

// errNoPidfile keeps upstream's words for the case that nothing else is left.
var errNoPidfile = errors.New("No pidfile specified") //nolint:staticcheck // upstream's words

// severalError lists what runs when it is not clear which is meant.
type severalError struct {
	lines []string
	named bool // a consumer was named, and several run it
}

func (e *severalError) Error() string {
	how := "name a consumer, or choose one with"
	if e.named {
		how = "choose one with"
	}
	return strings.Join(append([]string{fmt.Sprintf("%d are running; %s --pidfile or --socket:", len(e.lines), how)}, e.lines...), "\n")
}

// Unwrap gives its lines to whoever prints them.
func (e *severalError) Unwrap() []error {
	var all []error
	for line := range strings.SplitSeq(e.Error(), "\n") {
		all = append(all, errors.New(line))
	}
	return all
}

// notHereError says that nothing that runs for this user has the consumer.
type notHereError struct {
	consumer string
	running  []string // the consumers that run
}

func (e *notHereError) Error() string {
	return fmt.Sprintf("no consumer is called %q in what runs for this user%s", e.consumer, nearest.Hint(e.consumer, e.running))
}

// find looks for the supervisor that is meant. consumer, when given, chooses
// among several. The caller closes found.client.
func (a *app) find(ctx context.Context, w supervisorFlags, consumer string) (found, error) {
	file, socket := w.Pidfile, w.Socket
	if file == "" && socket == "" {
		file, socket = a.getenv("RACECAR_PIDFILE"), a.getenv("RACECAR_CONTROL_SOCKET")
	}
	if file != "" {
		return a.byPidfile(ctx, file, socket)
	}
	if socket != "" {
		return bySocket(ctx, socket)
	}
	return a.search(ctx, consumer)
}

// running is find for commands that need a supervisor that answers.
func (a *app) running(ctx context.Context, w supervisorFlags, consumer string) (*Client, error) {
	f, err := a.find(ctx, w, consumer)
	switch {
	case err != nil:
		return nil, err
	case f.client != nil:
		return f.client, nil
	case f.state != pidfile.Running:
		return nil, fmt.Errorf("Racecar is not currently running") //nolint:staticcheck // upstream's words
	default:
		return nil, fmt.Errorf("it runs (PID = %d), but does not answer: %w", f.pid, f.silent)
	}
}

func bySocket(ctx context.Context, socket string) (found, error) {
	c := NewClient(socket)
	pid, err := c.PID(ctx)
	switch {
	case errors.Is(err, ErrNotRunning):
		return found{state: pidfile.Exited}, nil
	case err != nil:
		return found{}, err
	}
	return found{state: pidfile.Running, pid: pid, client: c}, nil
}

func (a *app) byPidfile(ctx context.Context, file, socket string) (found, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return found{}, fmt.Errorf("pidfile: %w", err)
	}
	candidates := []string{SocketBeside(path)}
	if socket != "" {
		candidates = []string{socket}
	}
	f := found{pidfile: path}
	f.state, f.pid, err = pidfile.Query(path)
	switch {
	case f.state == pidfile.Running:
		f.client, f.silent = a.clientOf(ctx, f.pid, candidates)
	case f.state != pidfile.NotOwned: // it may have been removed under its holder
		if other, ok := a.claimant(ctx, path, candidates); ok {
			return other, nil
		}
	}
	return f, err
}

// claimant looks for a supervisor that runs with this pidfile although the file is
// gone or nobody holds it.
func (a *app) claimant(ctx context.Context, path string, candidates []string) (found, bool) {
	if more, err := a.runtime.Find(ctx); err == nil { // else there are none to be found
		candidates = append(candidates, more...)
	}
	for _, socket := range candidates {
		f, err := bySocket(ctx, socket)
		if err != nil || f.client == nil {
			continue // nobody there, or another user
		}
		if st, err := f.client.Status(ctx); err == nil && st.Pidfile == path {
			a.note("The pidfile %s is not held any more; its supervisor was found by the control socket %s\n", path, socket)
			return f, true
		}
		f.client.Close()
	}
	return found{}, false
}

// clientOf returns a client of the supervisor with that pid. The socket must be
// its own: beside a pidfile there may be one of an earlier configuration.
func (a *app) clientOf(ctx context.Context, pid int, candidates []string) (*Client, error) {
	var reason error
	for i := 0; i < len(candidates); i++ {
		c := NewClient(candidates[i])
		answered, err := c.PID(ctx)
		switch {
		case err == nil && (answered == pid || answered == 0):
			return c, nil
		case errors.Is(err, ErrNotRunning):
			err = fmt.Errorf("nobody listens at control socket %q (a socket that was removed is recreated within a minute, or by kill -HUP %d)", candidates[i], pid)
		case err == nil:
			err = fmt.Errorf("control socket %q is that of process %d", candidates[i], answered)
		}
		if i == 0 { // with control_socket set it may be anywhere; its link is where all are
			reason = err
			if more, ferr := a.runtime.Find(ctx); ferr == nil {
				candidates = append(candidates, more...)
			}
		}
	}
	return nil, reason
}

func (a *app) search(ctx context.Context, consumer string) (found, error) {
	sockets, err := a.runtime.Find(ctx)
	if err != nil {
		return found{}, err
	}
	type candidate struct {
		found
		st  status.Status
		err error
	}
	var all []candidate
	var others []string
	for _, socket := range sockets {
		f, err := bySocket(ctx, socket)
		if err != nil || f.client == nil {
			continue // it went away, or is another user's
		}
		c := candidate{found: f}
		if c.st, c.err = f.client.Status(ctx); c.err == nil && c.pid == 0 {
			c.pid = c.st.PID
		}
		if consumer == "" || runs(c.st, consumer) {
			all = append(all, c)
		} else {
			for _, other := range c.st.Consumers {
				others = append(others, other.Name)
			}
			c.client.Close()
		}
	}
	switch {
	case len(all) == 1:
		all[0].search = consumer == ""
		return all[0].found, nil
	case len(all) == 0 && consumer != "" && len(sockets) > 0:
		return found{}, &notHereError{consumer, others}
	case len(all) == 0:
		return found{}, fmt.Errorf("%w, and nothing runs for this user", errNoPidfile)
	}
	several := &severalError{named: consumer != ""}
	for _, c := range all {
		several.lines = append(several.lines, oneLine(c.st, c.pid, c.client.Socket(), a.now()))
		c.client.Close()
	}
	return found{}, several
}

func runs(st status.Status, consumer string) bool {
	for _, c := range st.Consumers {
		if c.Name == consumer {
			return true
		}
	}
	return false
}

func oneLine(st status.Status, pid int, socket string, now time.Time) string {
	var names []string
	for _, c := range st.Consumers {
		names = append(names, c.Name)
	}
	how := "--socket " + socket
	if st.Pidfile != "" {
		how = "--pidfile " + st.Pidfile
	}
	up := "does not answer"
	if !st.StartedAt.IsZero() {
		up = "up " + view.Duration(now.Sub(st.StartedAt))
	}
	parts := []string{fmt.Sprintf("running (PID = %d)", pid), up, how}
	if len(names) > 0 {
		parts = slices.Insert(parts, 1, strings.Join(names, " "))
	}
	return strings.Join(parts, "  ")
}
