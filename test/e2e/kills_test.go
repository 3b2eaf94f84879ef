package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/test/judge"
	"github.com/racecar-go/racecar/test/seeds"
)

// logLine is one of a supervisor's, in the text format.
type logLine struct {
	at     time.Time
	msg    string
	fields map[string]string
}

var logField = regexp.MustCompile(`(\w+)=("(?:[^"\\]|\\.)*"|\S+)`)

// logLines reads those that have a time and a message.
func logLines(text string) (lines []logLine) {
	for l := range strings.Lines(text) {
		fields := map[string]string{}
		for _, m := range logField.FindAllStringSubmatch(l, -1) {
			fields[m[1]] = strings.Trim(m[2], `"`)
		}
		at, err := time.Parse(time.RFC3339, fields["time"])
		if err == nil {
			lines = append(lines, logLine{at, fields["msg"], fields})
		}
	}
	return lines
}

// kill is one kill -9 of a worker, and what came of it.
type kill struct {
	worker string
	pid    int
	at     time.Time
	pause  time.Duration // that the supervisor made before it started the next one
	back   time.Time     // when that one ran
}

// comeBack finds in the log what came of the kills.
func comeBack(t *testing.T, kills []kill, log string) {
	t.Helper()
	for i := range kills {
		k := &kills[i]
		died := false
		for _, l := range logLines(log) {
			switch {
			case l.fields["worker"] != k.worker:
			case l.msg == "worker died" && l.fields["pid"] == fmt.Sprint(k.pid):
				died = true
			case !died || !k.back.IsZero():
			case l.msg == "worker is restarted after a backoff":
				d, err := time.ParseDuration(l.fields["backoff"])
				if err != nil {
					t.Fatal(err)
				}
				k.pause = d
			case l.msg == "worker changed state" && l.fields["state"] == "running":
				k.back = l.at
			}
		}
	}
}

// pauses are the longest time between two messages of each process that processed
// any, where the stream did not stall.
func (s *stream) pauses(records []judge.Record) map[int]time.Duration {
	slices.SortFunc(records, func(a, b judge.Record) int { return a.End.Compare(b.End) })
	last, longest := map[int]time.Time{}, map[int]time.Duration{}
	for _, r := range records {
		if was, ok := last[r.PID]; ok && !s.hadStalled(r.End) && !s.hadStalled(was) {
			longest[r.PID] = max(longest[r.PID], r.End.Sub(was))
		}
		last[r.PID] = r.End
	}
	return longest
}

// Workers are killed one after the other while messages flow: each is back within
// two seconds beyond the pause that the backoff makes after repeated crashes, the
// others never pause, and the group does not notice. Ten on the embedded broker,
// twenty on Apache Kafka, two hundred over ten minutes in a soak.
func TestKilledWorkersComeBack(t *testing.T) {
	b := newBed(t, 0)
	n, every, workers := 10, 250*time.Millisecond, 5
	switch {
	case os.Getenv(seeds.SoakVar) != "":
		n, every, workers = 200, 3*time.Second, 8
	case b.broker.Real():
		n = 20
	}
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s.sock")
	p := b.start(nil, "--parallel-workers", fmt.Sprint(workers), "--worker-restart-limit", "-1", "--control-socket", socket,
		"--session-timeout", "45", "--offset-commit-interval", "0.5", "Journal")
	c := newControl(t, socket)
	before := c.statusUntil("all at work", allRunning(workers))
	s := b.stream(400)

	r := rand.New(rand.NewPCG(1, 0))
	var kills []kill
	killed := map[string]int{}
	for len(kills) < n {
		<-time.After(every)
		st, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var up []status.Worker
		least := n
		for _, w := range st.Workers {
			if w.State == status.Running {
				least = min(least, killed[w.Name()])
			}
		}
		for _, w := range st.Workers { // of those that were killed least often, so that no backoff grows needlessly
			if w.State == status.Running && killed[w.Name()] == least {
				up = append(up, w)
			}
		}
		if len(up) == 0 {
			continue
		}
		w := up[r.IntN(len(up))]
		at := time.Now()
		if err := syscall.Kill(w.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		killed[w.Name()]++
		kills = append(kills, kill{worker: w.Name(), pid: w.PID, at: at})
	}
	after := c.statusUntil("all at work", allRunning(workers))
	s.end()
	b.awaitProcessed(b.total())
	stop(t, p)

	comeBack(t, kills, p.Stdout())
	longest := time.Duration(0)
	first := 0
	for _, k := range kills {
		took := k.back.Sub(k.at)
		if k.pause == 0 {
			first++
		}
		longest = max(longest, took-k.pause)
		if k.back.IsZero() || took > k.pause+seeds.AtMost(2*time.Second) {
			t.Errorf("%s (pid %d), killed at %s, ran again after %v; the pause was %v", k.worker, k.pid, k.at.Format(time.TimeOnly), took, k.pause)
		}
	}
	if first < workers {
		t.Errorf("%d workers were started again at once, of %d that crashed for the first time", first, workers)
	}
	if was, is := generations(before), generations(after); was != is {
		t.Errorf("the group rebalanced: generations %s, then %s", was, is)
	}
	paused := time.Duration(0)
	for pid, d := range s.pauses(b.records()) {
		paused = max(paused, d)
		if d > seeds.AtMost(time.Second) {
			t.Errorf("the worker with pid %d paused for %v", pid, d)
		}
	}
	t.Logf("%d kills, %d of them followed by a start at once: longest until running beyond the backoff's pause %v; no other paused longer than %v",
		n, first, longest.Round(time.Millisecond), paused.Round(time.Millisecond))
	e := b.evidence()
	e.Excused = func(first, _ judge.Record) bool {
		return slices.ContainsFunc(kills, func(k kill) bool {
			return first.PID == k.pid && first.End.After(k.at.Add(-3*time.Second))
		})
	}
	b.judge(e)
}
