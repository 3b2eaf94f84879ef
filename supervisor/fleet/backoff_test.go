package fleet

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/racecar-go/racecar/config"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestBackoffDoublesToItsLimit(t *testing.T) {
	var got []time.Duration
	for n := range 10 {
		got = append(got, backoff(n, 0))
	}
	s := time.Second
	if d := cmp.Diff([]time.Duration{0, 0, s, 2 * s, 4 * s, 8 * s, 16 * s, 30 * s, 30 * s, 30 * s}, got); d != "" {
		t.Error(d)
	}
	if got := backoff(1000, 0.999); got < 24*s || got > 30*s {
		t.Errorf("with jitter: %v", got)
	}
}

func TestHealthyMinuteResetsTheBackoff(t *testing.T) {
	var c crashes
	for i := range 4 {
		c.add(epoch.Add(time.Duration(i)*5*time.Second), time.Second, true, false, 5, 0)
	}
	if wait, _ := c.add(epoch.Add(time.Hour), healthyAfter, true, false, 5, 0); wait != 0 {
		t.Errorf("first crash after a healthy minute waits %v", wait)
	}
	if wait, _ := c.add(epoch.Add(time.Hour), healthyAfter-1, true, false, 5, 0); wait != time.Second {
		t.Errorf("second crash waits %v", wait)
	}
}

func TestRestartLimit(t *testing.T) {
	for _, c := range []struct {
		name   string
		limit  int
		every  time.Duration
		counts bool
		ever   bool
		want   int // crashes until the limit is exceeded; 0: never
	}{
		{"five a minute", 5, time.Second, true, false, 6},
		{"none", 0, time.Second, true, false, 1},
		{"never", config.NeverGiveUp, time.Second, true, false, 0},
		{"spread out", 5, 12 * time.Second, true, false, 0},
		{"just too many", 5, 11 * time.Second, true, false, 6},
		{"spread out, never ready", 5, time.Minute, true, true, 6},
		{"not its fault", 0, time.Second, false, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var record crashes
			got := 0
			for i := range 100 {
				if _, giveUp := record.add(epoch.Add(time.Duration(i)*c.every), 0, c.counts, c.ever, c.limit, 0); giveUp {
					got = i + 1
					break
				}
			}
			if got != c.want {
				t.Errorf("exceeded after %d crashes, want %d", got, c.want)
			}
		})
	}
}

func TestCrashesWithoutALimitAreNotRemembered(t *testing.T) {
	var c crashes
	for i := range 1000 {
		c.add(epoch.Add(time.Duration(i)*time.Second), 0, true, true, config.NeverGiveUp, 0)
	}
	if n := len(c.counted); n != 0 {
		t.Errorf("%d crashes are remembered", n)
	}
}
