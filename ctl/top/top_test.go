package top

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/racecar-go/racecar/internal/status"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// busy is a supervisor with that many workers and partitions of each.
func busy(workers, each int) status.Status {
	st := status.Status{
		State: status.Running, StartedAt: now.Add(-2 * time.Hour), RSS: 9 << 20,
		Consumers: []status.Consumer{{Name: "UserBanConsumer", Group: "user-ban-consumer", Workers: workers, State: status.Running}},
	}
	started := now.Add(-time.Hour)
	for i := range workers {
		w := status.Worker{Consumer: "UserBanConsumer", Index: i, PID: 1000 + i, State: status.Running, StartedAt: &started, Group: "user-ban-consumer"}
		w.Report = &status.Report{RSS: 40 << 20, CPU: 12}
		for p := range each {
			w.Report.Partitions = append(w.Report.Partitions, status.Partition{
				Topic: "user-bans", Partition: int32(i*each + p), State: status.PartitionRunning, Position: 10, End: 15, Lag: 5, Rate: 100,
			})
		}
		st.Workers = append(st.Workers, w)
	}
	return st
}

// terminal drives a Model as Bubble Tea would, one event after another.
type terminal struct {
	t *testing.T
	m tea.Model
}

func start(t *testing.T, o Options) *terminal {
	t.Helper()
	o.Now = func() time.Time { return now }
	term := &terminal{t, New(context.Background(), o)}
	term.send(tea.WindowSizeMsg{Width: 80, Height: 24})
	term.send(term.m.Init()())
	return term
}

// send returns what the model wants to be done next.
func (term *terminal) send(msg tea.Msg) tea.Cmd {
	next, cmd := term.m.Update(msg)
	term.m = next
	return cmd
}

// press sends keys and does what they lead to.
func (term *terminal) press(keys ...string) {
	for _, k := range keys {
		var press tea.KeyPressMsg
		switch k {
		case "tab":
			press.Code = tea.KeyTab
		case "down":
			press.Code = tea.KeyDown
		case "end":
			press.Code = tea.KeyEnd
		case "pgup":
			press.Code = tea.KeyPgUp
		default:
			press.Code, press.Text = rune(k[0]), k
		}
		if cmd := term.send(press); cmd != nil {
			term.send(cmd())
		}
	}
}

// screen is what is seen, without colours; it must fit.
func (term *terminal) screen() string {
	term.t.Helper()
	m := term.m.(Model)
	text := ansi.Strip(term.m.View().Content)
	lines := strings.Split(text, "\n")
	if len(lines) != m.height {
		term.t.Errorf("%d lines on a screen of %d", len(lines), m.height)
	}
	for _, l := range lines {
		if ansi.StringWidth(l) > m.width {
			term.t.Errorf("%d cells of %d: %q", ansi.StringWidth(l), m.width, l)
		}
	}
	return text
}

func (term *terminal) shows(wants ...string) {
	term.t.Helper()
	text := term.screen()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			term.t.Errorf("no %q on the screen:\n%s", want, text)
		}
	}
}

func always(st status.Status) func(context.Context) (status.Status, error) {
	return func(context.Context) (status.Status, error) { return st, nil }
}

func TestTables(t *testing.T) {
	st := busy(3, 4)
	st.Workers[1].State, st.Workers[1].LastExit = status.Backoff, "exit status 2: panic: oops"
	until := now.Add(8 * time.Second)
	st.Workers[0].Report.Partitions[2].State = status.PartitionBackoff
	st.Workers[0].Report.Partitions[2].Until = &until
	st.Workers[0].Report.Partitions[2].LastError = "connection refused"
	term := start(t, Options{Status: always(st)})
	term.shows("racecar  running  up 2h00m  3 workers  12 partitions  1,200 msg/s  lag 60",
		"Workers 3", "Partitions 12", "Problems 2", "UserBanConsumer[2]", "group user-ban-consumer")
	term.press("tab")
	term.shows("user-bans/11", "backoff")
	term.press("down", "down")
	term.shows("user-bans/2 is paused for 8s after 0 failures at offset 10: connection refused")
	term.press("3")
	term.shows("UserBanConsumer[1] backoff: exit status 2: panic: oops", "user-bans/2 of UserBanConsumer[0] is paused for 8s")
	term.press("?")
	term.shows("change the table")
}

func TestScrolling(t *testing.T) {
	term := start(t, Options{Status: always(busy(64, 16))})
	term.press("tab", "end")
	term.shows("user-bans/1023")
	if s := term.m.(Model).Selection(); s.Partition != 1023 || s.Worker != "UserBanConsumer[63]" || s.Consumer != "UserBanConsumer" {
		t.Errorf("selected %+v", s)
	}
	term.press("pgup", "pgup")
	if s := term.m.(Model).Selection(); s.Partition >= 1023-20 || s.Partition < 1023-40 {
		t.Errorf("two pages up: %+v", s)
	}
	term.press("g")
	term.shows("user-bans/0")
	// Fewer rows than before, in a smaller window: the cursor stays on one.
	term.press("end")
	term.send(sample{st: busy(1, 2)})
	term.send(tea.WindowSizeMsg{Width: 40, Height: 9})
	term.shows("user-bans/1")
	for height := range 10 {
		for _, width := range []int{0, 1, 5, 20, 79, 200} {
			term.send(tea.WindowSizeMsg{Width: width, Height: height + 1})
			term.press("tab")
			term.screen()
		}
	}
}

func TestErrorsKeepTheLastStatusOnScreen(t *testing.T) {
	term := start(t, Options{Status: always(busy(1, 1))})
	term.send(sample{err: errors.New("control socket \"s\": no answer in time")})
	term.shows("UserBanConsumer[0]", "no answer in time")
	term.send(sample{st: busy(1, 1)})
	if strings.Contains(term.screen(), "no answer in time") {
		t.Error("the error stays")
	}
	waiting := start(t, Options{Status: func(context.Context) (status.Status, error) { return status.Status{}, errors.New("nobody there") }})
	waiting.shows("Waiting for the first answer", "nobody there")
}

func TestActions(t *testing.T) {
	var did []string
	o := Options{
		Status: always(busy(2, 2)),
		Extra:  func(int) []string { return []string{"kill -9 a worker with k"} },
		Actions: []Action{
			{Key: "k", Help: "kill", Do: func(_ context.Context, s Selection) (string, error) {
				did = append(did, "kill "+s.Worker)
				return "killed", nil
			}},
			{Key: "x", Help: "explode", Ask: func(s Selection) string { return fmt.Sprintf("Explode %s?", s.Worker) },
				Do: func(context.Context, Selection) (string, error) {
					did = append(did, "explode")
					return "", errors.New("it does not explode")
				}},
		},
	}
	term := start(t, o)
	term.shows("kill -9 a worker with k", "x explode")
	term.press("down", "x")
	term.shows("Explode UserBanConsumer[1]? (y/n)")
	term.press("n")
	term.shows("Left as it is")
	term.press("x", "y")
	term.shows("it does not explode")
	if want := []string{"explode"}; fmt.Sprint(did) != fmt.Sprint(want) {
		t.Errorf("did %q, want %q", did, want)
	}
	if cmd := term.send(tea.KeyPressMsg{Code: 'q', Text: "q"}); cmd == nil {
		t.Error("q does not quit")
	} else if _, ok := cmd().(tea.QuitMsg); !ok {
		t.Error("q does not quit")
	}
}

func TestActionKeysOverrideMovementKeys(t *testing.T) {
	killed := ""
	term := start(t, Options{Status: always(busy(2, 1)), Actions: []Action{{Key: "k", Help: "kill", Do: func(_ context.Context, s Selection) (string, error) {
		killed = s.Worker
		return "killed " + s.Worker, nil
	}}}})
	term.press("down", "k")
	if killed != "UserBanConsumer[1]" {
		t.Errorf("k killed %q", killed)
	}
	term.shows("killed UserBanConsumer[1]")
}

func TestSpark(t *testing.T) {
	for _, test := range []struct {
		values []float64
		width  int
		want   string
	}{
		{nil, 3, "   "}, {[]float64{0, 1, 2, 4, 8}, 5, " ▁▂▄█"}, {[]float64{9, 9, 1, 0.001}, 2, "█▁"}, {[]float64{5}, 3, "  █"},
	} {
		if got := spark(test.values, test.width); got != test.want {
			t.Errorf("%v: %q, want %q", test.values, got, test.want)
		}
	}
}

// On 40 by 12 cells the table keeps three rows and the columns that matter, and the
// help names every key.
func TestSmallWindow(t *testing.T) {
	extra := make([]string, 9)
	extra[0] = "counts first"
	term := start(t, Options{
		Status: always(busy(3, 4)), Quit: "stop the demo",
		Extra: func(int) []string { return extra },
		Actions: []Action{
			{Key: "k", Help: "kill"},
			{Key: "p", Help: "pause/resume"},
			{Key: "+", Help: "scale up"},
			{Key: "-", Help: "scale down"},
			{Key: "r", Help: "restart"},
		},
	})
	term.send(tea.WindowSizeMsg{Width: 40, Height: 12})
	term.shows("counts first", "WORKER           STATE   PARTS MSG/S LAG", "UserBanC…umer[2] running     4   400  20", "q quit")
	term.press("tab")
	term.shows("PARTITION     STATE    LAG  MSG/S", "user-bans/2   running    5    100")
	term.press("?")
	term.shows("q: stop the demo", "k: kill", "p: pause/resume", "+: scale up", "-: scale down", "r: restart")
}
