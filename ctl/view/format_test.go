package view

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/racecar-go/racecar/internal/status"
)

func TestFigures(t *testing.T) {
	for want, got := range map[string]string{
		"-": Count(-1), "0": Count(0), "999": Count(999), "1,234": Count(1234), "99,999": Count(99_999),
		"100k": Count(100_000), "999k": Count(999_400), "1.0M": Count(999_600), "12M": Count(12_345_678), "9.2E": Count(1<<63 - 1),
	} {
		if got != want {
			t.Errorf("count: %q, want %q", got, want)
		}
	}
	for want, got := range map[string]string{
		"-": Bytes(0), "1B": Bytes(1), "512B": Bytes(512), "1.0K": Bytes(1024), "58M": Bytes(58 << 20), "1.4G": Bytes(1_500_000_000),
	} {
		if got != want {
			t.Errorf("bytes: %q, want %q", got, want)
		}
	}
	for want, got := range map[string]string{"0": Rate(0.01), "0.4": Rate(0.42), "10": Rate(9.96), "1,234": Rate(1234.4), "-": Rate(-1)} {
		if got != want {
			t.Errorf("rate: %q, want %q", got, want)
		}
	}
	for want, d := range map[string]time.Duration{
		"0s": -time.Second, "42s": 42*time.Second + 900*time.Millisecond, "3m05s": 185 * time.Second,
		"3h12m": 3*time.Hour + 12*time.Minute + 59*time.Second, "5d4h": 124 * time.Hour,
	} {
		if got := Duration(d); got != want {
			t.Errorf("duration %s: %q, want %q", d, got, want)
		}
	}
}

// Before a supervisor has answered there is no start to reckon from.
func TestHeadlineWithoutStart(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	st := status.Status{State: status.Starting}
	if got := Headline(st, now); !strings.HasPrefix(got, "starting  up -  0 workers") {
		t.Errorf("without a start: %q", got)
	}
	st.StartedAt = now.Add(-42 * time.Second)
	if got := Headline(st, now); !strings.HasPrefix(got, "starting  up 42s  0 workers") {
		t.Errorf("with a start: %q", got)
	}
}

func TestCutting(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{Cut("hello", 5), "hello"}, {Cut("hello", 4), "hel…"}, {Cut("hello", 0), ""}, {Cut("hello", 1), "…"},
		{Cut("日本語", 5), "日本…"}, {Cut("日本語", 4), "日…"},
		{CutMiddle("UserBanConsumer[12]", 11), "UserB…r[12]"}, {CutMiddle("short", 9), "short"}, {CutMiddle("hello", 1), "…"},
		{Line("a\nb\x1b[2Jc\r\td\u009b"), "a b [2Jc d"}, {Line("broken \xff bytes"), "broken bytes"},
	} {
		if test.got != test.want {
			t.Errorf("%q, want %q", test.got, test.want)
		}
	}
}

func TestTableFits(t *testing.T) {
	columns := []Column{{Title: "NAME", Middle: true}, {Title: "N", Right: true}, {Title: "WHY", Flexible: true}}
	rows := [][]string{{"ab", "1", "because"}, {"日本語のコンシューマー[0]", "123,456", "a long story that does not end"}}
	for width := 1; width < 90; width++ {
		for _, line := range Table(columns, rows, width) {
			if Width(line) > width {
				t.Errorf("width %d: %q takes %d", width, line, Width(line))
			}
		}
	}
	got := Table(columns, rows[:1], 80)
	want := []string{"NAME  N  WHY", "ab    1  because"}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("line %d: %q, want %q", i, got[i], want[i])
		}
	}
}

func TestWrap(t *testing.T) {
	text := "a line that is rather long, with averyveryverylongwordinit indeed"
	for width := 1; width < 80; width++ {
		lines := Wrap([]string{text, "short"}, width)
		joined := ""
		for _, l := range lines {
			if Width(l) > width && width > 2 {
				t.Errorf("width %d: %q", width, l)
			}
			joined += strings.ReplaceAll(l, " ", "")
		}
		if want := strings.ReplaceAll(text+"short", " ", ""); joined != want {
			t.Errorf("width %d: %q", width, lines)
		}
	}
	got := Wrap([]string{"one two three"}, 8)
	if want := []string{"one two", "  three"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// status shows an operator's pauses also while no worker is assigned to them.
func TestPausesWithoutAWorker(t *testing.T) {
	st := status.Status{
		Consumers: []status.Consumer{{Name: "A", Paused: []status.Paused{{Topic: "t", Partition: 3}, {Topic: "gone", Partition: -1}, {Topic: "t", Partition: 0}, {Topic: "u", Partition: -1}}}},
		Workers: []status.Worker{{Consumer: "A", State: status.Running, Report: &status.Report{Partitions: []status.Partition{
			{Topic: "t", State: status.PartitionPaused}, {Topic: "u", Partition: 7, State: status.PartitionPaused},
		}}}},
	}
	want := []string{
		"t/3 of A is paused by an operator; no worker is assigned to it", "gone of A is paused by an operator; no worker is assigned to it",
		"t/0 of A[0] is paused", "u/7 of A[0] is paused",
	}
	if got := Problems(st, time.Time{}); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestProblemsOfTheLog(t *testing.T) {
	st := status.Status{LogProblem: "the log is not being read", Workers: []status.Worker{
		{Consumer: "A", State: status.Running, Report: &status.Report{LogProblem: "the log is not being read: 7 lines were dropped"}},
	}}
	want := []string{"Supervisor: the log is not being read", "A[0]: the log is not being read: 7 lines were dropped"}
	if got := Problems(st, time.Time{}); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
