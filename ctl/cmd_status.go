package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/racecar-go/racecar/ctl/view"
	"github.com/racecar-go/racecar/internal/printable"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/pidfile"
)

type statusCmd struct {
	consumerFlags
	JSON       bool `help:"Print everything as JSON"`
	Check      bool `help:"Exit 3 when it is not running"`
	Partitions bool `short:"p" help:"Show all partitions, not only those with problems"`
}

// Help is shown below the flags.
func (statusCmd) Help() string {
	return "Prints running, exited (no pidfile), dead (nobody holds the pidfile) or not_owned (it is another user's)."
}

// Run prints upstream's line, then what the supervisor says.
func (c *statusCmd) Run(ctx context.Context, a *app) error {
	f, err := a.find(ctx, c.supervisorFlags, c.Consumer)
	var several *severalError
	switch {
	case errors.As(err, &several) && !c.JSON:
		a.lines(several.lines)
		return nil
	case errors.Is(err, errNoPidfile) && c.Check:
		_ = a.failed(err)
		return exit(exitNotRunning)
	case err != nil:
		return err
	}
	var st status.Status
	if f.client != nil {
		defer f.client.Close()
		if st, err = f.client.Status(ctx); err != nil {
			f.silent = err
		} else if f.pid == 0 {
			f.pid = st.PID // in another pid namespace: as it sees itself
		}
		if one := only(st, c.Consumer); err == nil && c.Consumer != "" && len(one.Workers) == 0 && len(one.Consumers) == 0 {
			return fmt.Errorf("no consumer is called %q there", c.Consumer)
		}
	}
	if c.JSON {
		return a.statusJSON(c, f, st)
	}
	a.statusText(c, f, st)
	if c.Check && f.state != pidfile.Running {
		return exit(exitNotRunning)
	}
	return nil
}

func (a *app) statusText(c *statusCmd, f found, st status.Status) {
	if f.state != pidfile.Running {
		a.printf("%s\n", f.state)
		return
	}
	a.printf("running (PID = %d)\n", f.pid)
	if f.silent != nil {
		a.note("it does not answer: %v\n", f.silent)
		return
	}
	width, _ := terminal(a.out)
	now := a.now()
	a.lines([]string{view.Cut(view.Headline(st, now), width), ""})
	a.lines(view.Workers(only(st, c.Consumer), now, width))
	if problems := view.Problems(only(st, c.Consumer), now); len(problems) > 0 {
		a.lines(append([]string{""}, view.Wrap(problems, width)...))
	}
	if keys := view.WaitingKeys(only(st, c.Consumer), now, width); keys != nil {
		a.lines(append([]string{""}, keys...))
	}
	if c.Partitions {
		a.lines(append([]string{""}, view.Partitions(only(st, c.Consumer), width)...))
	}
}

func (a *app) lines(lines []string) {
	for _, l := range lines {
		a.printf("%s\n", l)
	}
}

// only leaves one consumer's workers; empty: all.
func only(st status.Status, consumer string) status.Status {
	if consumer == "" {
		return st
	}
	all := st
	st.Workers, st.Consumers = nil, nil
	for _, w := range all.Workers {
		if w.Consumer == consumer {
			st.Workers = append(st.Workers, w)
		}
	}
	for _, c := range all.Consumers {
		if c.Name == consumer {
			st.Consumers = append(st.Consumers, c)
		}
	}
	return st
}

// statusJSON prints the supervisor's status; where there is none, its state
// alone in the same shape.
func (a *app) statusJSON(c *statusCmd, f found, st status.Status) error {
	var v any = only(st, c.Consumer)
	if f.state != pidfile.Running || f.silent != nil {
		v = struct {
			Version int           `json:"version"`
			PID     int           `json:"pid,omitempty"`
			State   pidfile.State `json:"state"`
			Pidfile string        `json:"pidfile,omitempty"`
		}{APIVersion, f.pid, f.state, f.pidfile}
		if f.silent != nil {
			a.note("it does not answer: %v\n", f.silent)
		}
	}
	if err := a.json(v); err != nil {
		return err
	}
	if c.Check && f.state != pidfile.Running {
		return exit(exitNotRunning)
	}
	return nil
}

func (a *app) json(v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = a.out.Write(append(printable.JSON(raw), '\n'))
	return err
}

func (a *app) jsonLine(v any) error { return jsonLine(a.out, v) }

func jsonLine(w io.Writer, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(printable.JSON(raw), '\n'))
	return err
}
