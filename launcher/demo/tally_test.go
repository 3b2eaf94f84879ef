package demo

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/racecar-go/racecar/ctl/view"
	"github.com/racecar-go/racecar/examples/quakes"
	"github.com/racecar-go/racecar/internal/status"
)

func assess(t *testing.T, tl *tally, all ...quakes.Assessment) {
	t.Helper()
	for _, a := range all {
		value, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if err := tl.add(value); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTallyCountsEachQuakeOnce(t *testing.T) {
	tl := newTally()
	a := quakes.Assessment{ID: "a", Region: "Taiwan", Level: quakes.Strong, Worker: 0}
	b := quakes.Assessment{ID: "b", Region: "Nevada", Level: quakes.Quiet, Worker: 1}
	again := a
	again.Worker = 2
	assess(t, tl, a, b, again)
	if assessed, twice := tl.counts(); assessed != 2 || twice != 1 {
		t.Errorf("assessed %d, again %d", assessed, twice)
	}
	if d := cmp.Diff([]share{{"QuakeAlertConsumer[0]", 1}, {"QuakeAlertConsumer[1]", 1}}, tl.workers(), cmp.AllowUnexported(share{})); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]quakes.Assessment{a}, tl.takeFresh()); d != "" {
		t.Error(d)
	}
	if fresh := tl.takeFresh(); len(fresh) != 0 {
		t.Errorf("taken twice: %v", fresh)
	}
	if err := tl.add([]byte("{")); err == nil {
		t.Error("what is no assessment was counted")
	}
}

func TestTallyForgetsWhatWasLongAgo(t *testing.T) {
	tl := newTally()
	for i := range 2*keptSeen + 1 {
		tl.count(quakes.Assessment{ID: strconv.Itoa(i)})
	}
	if n := len(tl.seen) + len(tl.older); n != keptSeen+1 {
		t.Errorf("%d quakes remembered", n)
	}
	assess(t, tl, quakes.Assessment{ID: strconv.Itoa(2*keptSeen - 1)}, quakes.Assessment{ID: strconv.Itoa(2 * keptSeen)})
	if assessed, again := tl.counts(); assessed != 2*keptSeen+1 || again != 2 {
		t.Errorf("assessed %d, again %d", assessed, again)
	}
}

func TestRegionsAddUp(t *testing.T) {
	tl := newTally()
	for i, region := range []string{"A", "B", "B", "C", "C", "C", "D"} {
		tl.count(quakes.Assessment{ID: strconv.Itoa(i), Region: region})
	}
	if d := cmp.Diff([]share{{"C", 3}, {"B", 2}, {"2 others", 2}}, tl.regions(2), cmp.AllowUnexported(share{})); d != "" {
		t.Error(d)
	}
	if n := len(tl.regions(4)); n != 4 {
		t.Errorf("%d regions, want 4", n)
	}
}

func TestSummaryFindsWhatDoesNotAddUp(t *testing.T) {
	tl := newTally()
	tl.count(quakes.Assessment{ID: "a", Region: "Taiwan", Level: quakes.Strong})
	for _, tc := range []struct {
		fed, committed int
		want           string
	}{
		{1, 1, ""},
		{1, 0, "the counts do not add up: fed 1, committed 0"},
		{2, 2, "the counts do not add up: fed 2, assessed 1\nthe counts do not add up: fed 2, by workers 1\nthe counts do not add up: fed 2, by level 1\nthe counts do not add up: fed 2, by region 1"},
	} {
		got := ""
		var out strings.Builder
		if err := (&summary{once: true, fed: tc.fed, committed: tc.committed, tally: tl}).write(&out); err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("fed %d, committed %d: %q, want %q", tc.fed, tc.committed, got, tc.want)
		}
		if strings.Contains(out.String(), "The counts add up.") != (tc.want == "") {
			t.Errorf("fed %d, committed %d:\n%s", tc.fed, tc.committed, out.String())
		}
	}
}

func TestExtraFitsTheWidth(t *testing.T) {
	tl := newTally()
	for i := range 20 {
		tl.count(quakes.Assessment{ID: strconv.Itoa(i), Region: strings.Repeat("Län ", i), Level: quakes.Strong, Place: strings.Repeat("Straße ", 20), At: time.Unix(0, 0), Tsunami: true})
	}
	for _, width := range []int{1, 20, 80} {
		lines := extra(1234, tl, width)
		if len(lines) != len(extra(0, newTally(), width)) {
			t.Errorf("the picture jumps: %d lines", len(lines))
		}
		for _, l := range lines {
			if view.Width(l) > width {
				t.Errorf("%q is wider than %d", l, width)
			}
		}
	}
}

func TestKillRefuses(t *testing.T) {
	st := status.Status{Workers: []status.Worker{{Consumer: "C", State: status.Backoff}}}
	for name, want := range map[string]string{
		"C[0]": "C[0] is backoff: there is no process to kill",
		"C[1]": "put the cursor on a worker first",
		"":     "put the cursor on a worker first",
	} {
		if _, err := kill(st, name); err == nil || err.Error() != want {
			t.Errorf("kill %q: %v, want %s", name, err, want)
		}
	}
}

func TestChangesReportsEachChangeOnce(t *testing.T) {
	known := map[string]string{}
	w := status.Worker{Consumer: "C", State: status.Starting, PID: 7}
	tell := func() []string { return changes(status.Status{Workers: []status.Worker{w}}, known) }
	if d := cmp.Diff([]string{"C[0]: starting, pid 7"}, tell()); d != "" {
		t.Error(d)
	}
	if got := tell(); len(got) != 0 {
		t.Errorf("told again: %v", got)
	}
	w.State, w.PID = status.Backoff, 0
	if d := cmp.Diff([]string{"C[0]: backoff"}, tell()); d != "" {
		t.Error(d)
	}
}
