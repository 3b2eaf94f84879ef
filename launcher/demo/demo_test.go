package demo

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/racecar-go/racecar/cli"
	"github.com/racecar-go/racecar/ctl"
	"github.com/racecar-go/racecar/internal/status"
)

// The test binary is the demo's program, as the racecar binary is.
func TestMain(m *testing.M) {
	if os.Getenv(Variable) != "" {
		os.Exit(cli.Run(os.Args))
	}
	os.Exit(m.Run())
}

func TestOnce(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("RACECAR_BROKERS", "192.0.2.1:9092") // is no concern of the demo
	var out bytes.Buffer
	c := &Command{Once: true, Rate: 1}
	if err := c.run(audience{in: strings.NewReader(""), out: &out}); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{
		`(?m)^fed +1707$`, `(?m)^assessed +1707$`, `(?m)^committed +1707$`, `(?m)^assessed again +0$`,
		`(?m)^  QuakeAlertConsumer\[2\] +[1-9]`,
		`(?m)^! M 6\.4  2018-02-06 15:50  22km NNE of Hualian, Taiwan  worker \d$`,
		`(?m)^The counts add up\.$`,
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("nothing like %s in:\n%s", want, out.String())
		}
	}
	if n := strings.Count(out.String(), "  M ") + strings.Count(out.String(), "! M "); n != 86 {
		t.Errorf("%d alerts, want 86", n)
	}
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// eventually asks until the answer is yes.
func eventually(t *testing.T, what string, ask func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ask(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatalf("the test ended before %s", what)
		}
	}
}

// A worker killed from the picture is replaced, and no earthquake is lost.
func TestKillFromThePicture(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s, err := build()
	if err != nil {
		t.Fatal(err)
	}
	keys, press := io.Pipe()
	defer press.Close()
	f, tl := &feed{stage: s}, must(s.startTally())(t)
	feeding := start(t.Context(), func(ctx context.Context) error { return f.forever(ctx, 100) })
	showing := start(t.Context(), func(ctx context.Context) error { return picture(ctx, s, f, tl, keys, io.Discard) })
	worker := func() status.Worker {
		st, err := s.status(t.Context())
		if err != nil || len(st.Workers) == 0 {
			return status.Worker{}
		}
		return st.Workers[0]
	}
	eventually(t, "earthquakes", func() bool { return f.count() > 50 && worker().State == status.Running })
	before := worker().PID
	if _, err := press.Write([]byte("k")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replacement", func() bool {
		w := worker()
		return w.State == status.Running && w.PID != before && w.Restarts == 1
	})
	killed := f.count()
	eventually(t, "more earthquakes", func() bool { return f.count() > killed+50 })
	if err := feeding.stop(); err != nil {
		t.Error(err)
	}
	eventually(t, "all to be assessed", func() bool { n, _ := tl.counts(); return n == f.count() })
	if _, err := press.Write([]byte("q")); err != nil {
		t.Fatal(err)
	}
	<-showing.ended
	if showing.err != nil {
		t.Error(showing.err)
	}
	if err := s.strike(); err != nil {
		t.Error(err)
	}
	tl.stop()
	sum := &summary{once: true, fed: f.count(), committed: s.committed(), tally: tl}
	if err := sum.check(); err != nil {
		t.Error(err)
	}
	if err := s.remove(); err != nil {
		t.Error(err)
	}
}

// When the audience leaves, messages in hand count: at least as many as are committed.
func TestLeavingCountsWhatWasInHand(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	keys, press := io.Pipe()
	defer press.Close()
	var out bytes.Buffer // nobody else looks into it before the end
	ended := make(chan error, 1)
	go func() { ended <- (&Command{Rate: 2000}).run(audience{in: keys, out: &out, terminal: true}) }()
	eventually(t, "messages", func() bool {
		sockets, _ := filepath.Glob(filepath.Join(os.TempDir(), "racecar-demo-*", "racecar.sock"))
		if len(sockets) == 0 {
			return false
		}
		s := &stage{client: ctl.NewClient(sockets[0])}
		defer s.client.Close()
		st, err := s.status(t.Context())
		n := uint64(0)
		for _, w := range st.Workers {
			n += w.Processed
		}
		return err == nil && n > 200
	})
	if _, err := press.Write([]byte("q")); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	count := func(name string) string {
		m := regexp.MustCompile(`(?m)^` + name + ` +(\d+)$`).FindStringSubmatch(out.String())
		if m == nil {
			t.Fatalf("no row %q in:\n%s", name, out.String())
		}
		return m[1]
	}
	if assessed, committed := count("assessed"), count("committed"); assessed != committed {
		t.Errorf("assessed %s, committed %s", assessed, committed)
	}
}

// When the demo is gone, its supervisor is told by the launcher; here: when the
// supervisor is gone, the demo ends with an error.
func TestSupervisorThatDies(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	out := &firstWrite{seen: make(chan struct{})}
	ended := make(chan error, 1)
	go func() { ended <- (&Command{Rate: 100}).run(audience{in: strings.NewReader(""), out: out}) }()
	<-out.seen
	pid := 0
	eventually(t, "the supervisor", func() bool {
		sockets, _ := filepath.Glob(filepath.Join(os.TempDir(), "racecar-demo-*", "racecar.sock"))
		if len(sockets) == 0 {
			return false
		}
		s := &stage{client: ctl.NewClient(sockets[0])}
		st, err := s.status(t.Context())
		pid = st.PID
		return err == nil && pid != 0
	})
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err := <-ended
	if err == nil || !strings.Contains(err.Error(), "the supervisor: signal: killed") || !strings.Contains(err.Error(), "; the log is ") {
		t.Errorf("error %v, want the supervisor's end and where its log is", err)
	}
}

// firstWrite tells when something was written.
type firstWrite struct {
	seen chan struct{}
	once bool
}

func (w *firstWrite) Write(p []byte) (int, error) {
	if !w.once {
		w.once = true
		close(w.seen)
	}
	return len(p), nil
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestABrokenOutputStopsInOrder(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	err := (&Command{Rate: 100}).run(audience{in: strings.NewReader(""), out: brokenPipe{}})
	if err == nil || !strings.HasPrefix(err.Error(), "broken pipe") {
		t.Errorf("error %v, want the output's", err)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestRateMustBePositive(t *testing.T) {
	err := (&Command{Rate: -1}).run(audience{})
	if err == nil || err.Error() != "--rate -1: there must be some earthquakes" {
		t.Error(err)
	}
}
