package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/racecar-go/racecar/ctl"
	"github.com/racecar-go/racecar/ctl/top"
	"github.com/racecar-go/racecar/ctl/view"
	"github.com/racecar-go/racecar/examples/quakes"
	"github.com/racecar-go/racecar/internal/status"
)

// picture shows `racecarctl top` of the demo's supervisor, with the alerts above
// and a key that kills, until q.
func picture(ctx context.Context, s *stage, f *feed, t *tally, in io.Reader, out io.Writer) error {
	kill := top.Action{Key: "k", Help: "kill", Do: func(ctx context.Context, chosen top.Selection) (string, error) {
		st, err := s.status(ctx)
		if err != nil {
			return "", err
		}
		return kill(st, chosen.Worker)
	}}
	return top.Run(ctx, top.Options{
		Title:   "racecar demo",
		Quit:    "stop the demo",
		Status:  s.status,
		Every:   500 * time.Millisecond,
		Extra:   func(width int) []string { return extra(f.count(), t, width) },
		Actions: append([]top.Action{kill}, ctl.Actions(s.client)...),
	}, in, out)
}

// kill kills the process of a worker as a machine would: without notice.
func kill(st status.Status, name string) (string, error) {
	for _, w := range st.Workers {
		if w.Name() != name {
			continue
		}
		if w.PID == 0 {
			return "", fmt.Errorf("%s is %s: there is no process to kill", name, w.State)
		}
		if err := syscall.Kill(w.PID, syscall.SIGKILL); err != nil {
			return "", fmt.Errorf("kill %d: %w", w.PID, err)
		}
		return fmt.Sprintf("Killed %s (pid %d) with SIGKILL; watch it come back", name, w.PID), nil
	}
	return "", errors.New("put the cursor on a worker first")
}

// extra are the lines between head and table: counts, regions, last alerts.
func extra(fed int, t *tally, width int) []string {
	assessed, again := t.counts()
	lines := []string{
		fmt.Sprintf("Earthquakes fed %s · assessed %s · again after a kill %s · %s",
			view.Count(int64(fed)), view.Count(int64(assessed)), view.Count(int64(again)), join(t.levels(), " ")),
		join(t.regions(6), " · "),
		"",
	}
	alerts := t.lastAlerts()
	for i := range keptAlerts {
		line := ""
		if i < len(alerts) {
			line = alertLine(alerts[i])
		}
		lines = append(lines, line)
	}
	for i := range lines {
		lines[i] = view.Cut(lines[i], width)
	}
	return append(lines, "")
}

func join(shares []share, separator string) string {
	var parts []string
	for _, s := range shares {
		parts = append(parts, s.name+" "+view.Count(int64(s.n)))
	}
	return strings.Join(parts, separator)
}

// alertLine is one alert, for a person.
func alertLine(a quakes.Assessment) string {
	mark := "  "
	if a.Level == quakes.Strong {
		mark = "! "
	}
	line := fmt.Sprintf("%sM %.1f  %s  %s  worker %d", mark, a.Magnitude, a.At.Format("2006-01-02 15:04"), a.Place, a.Worker)
	if a.Tsunami {
		line += "  tsunami watch"
	}
	return line
}
