package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/racecar-go/racecar/ctl/view"
	"github.com/racecar-go/racecar/internal/status"
)

// lines writes what happens: each alert, each change of a worker, and once a
// second how far things are. It returns when ctx ends.
func lines(ctx context.Context, s *stage, f *feed, t *tally, out io.Writer) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	known := map[string]string{}
	for ended := false; ; {
		var all []string
		for _, a := range t.takeFresh() {
			all = append(all, alertLine(a))
		}
		if !ended {
			all = append(all, s.news(ctx, f, t, known)...)
		}
		for _, line := range all {
			if _, err := fmt.Fprintln(out, line); err != nil {
				return err
			}
		}
		if ended {
			return nil
		}
		select {
		case <-ctx.Done():
			ended = true // once more, for the last alerts
		case <-tick.C:
		}
	}
}

// news is what changed since known, and how far things are.
func (s *stage) news(ctx context.Context, f *feed, t *tally, known map[string]string) []string {
	st, err := s.status(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return []string{"status: " + err.Error()}
	}
	assessed, _ := t.counts()
	sums := view.SumAll(st.Workers)
	return append(changes(st, known),
		fmt.Sprintf("fed %d  assessed %d  lag %s  rate %s/s", f.count(), assessed, view.Count(sums.Lag), view.Rate(sums.Rate)))
}

// changes tells which workers are not what they were.
func changes(st status.Status, known map[string]string) []string {
	var all []string
	for _, w := range st.Workers {
		now := string(w.State)
		if w.PID != 0 {
			now = fmt.Sprintf("%s, pid %d", now, w.PID)
		}
		if known[w.Name()] != now {
			known[w.Name()] = now
			all = append(all, fmt.Sprintf("%s: %s", w.Name(), now))
		}
	}
	return all
}

// summary is what is left to say at the end.
type summary struct {
	once      bool
	fed       int
	committed int
	tally     *tally
}

// write writes the summary. With once, it fails when the counts do not add up.
func (s *summary) write(out io.Writer) error {
	assessed, again := s.tally.counts()
	var b strings.Builder
	row := func(indent, name string, n int) { fmt.Fprintf(&b, "%-26s %7d\n", indent+name, n) }
	row("", "fed", s.fed)
	row("", "assessed", assessed)
	for _, by := range [][]share{s.tally.workers(), s.tally.levels(), s.tally.regions(8)} {
		for _, sh := range by {
			row("  ", sh.name, sh.n)
		}
		b.WriteString("\n")
	}
	row("", "assessed again", again)
	row("", "committed", s.committed)
	var err error
	if s.once {
		if err = s.check(); err == nil {
			b.WriteString("The counts add up.\n")
		}
	}
	_, writing := fmt.Fprint(out, "\n", b.String())
	return errors.Join(err, writing)
}

// check compares what went in with all that is known of what came out.
func (s *summary) check() error {
	var errs []error
	want := func(what string, n int) {
		if n != s.fed {
			errs = append(errs, fmt.Errorf("the counts do not add up: fed %d, %s %d", s.fed, what, n))
		}
	}
	assessed, _ := s.tally.counts()
	want("assessed", assessed)
	want("by workers", total(s.tally.workers()))
	want("by level", total(s.tally.levels()))
	want("by region", total(s.tally.regions(8)))
	want("committed", s.committed)
	return errors.Join(errs...)
}

func total(shares []share) int {
	n := 0
	for _, s := range shares {
		n += s.n
	}
	return n
}
