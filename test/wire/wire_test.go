// Package wire plays recorded supervisors to this release's workers, and recorded
// workers to this release's supervisor: see the documentation of internal/wire.
package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/racecar-go/racecar/cli"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/supervisor/process"
	"github.com/racecar-go/racecar/test/harness"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

var record = flag.Bool("record", false, "write what TestRecord says to testdata, as the recording of wire.MaxVersion")

// name is that of the consumer, its topic and its group in all recordings.
const name = "recorded"

// consumer finds what it needs unavailable at its first call.
type consumer struct{ called atomic.Bool }

func (c *consumer) Process(context.Context, *racecar.Message) error {
	if c.called.Swap(true) {
		return nil
	}
	return racecar.Unavailable(errors.New("connection refused"), "db")
}

func TestMain(m *testing.M) {
	if os.Getenv(wire.EnvRole) == "" {
		os.Exit(m.Run())
	}
	racecar.Register(func(racecar.Runtime) (*consumer, error) { return &consumer{}, nil }, racecar.Spec{
		Name: name, GroupID: name, Subscriptions: []racecar.Subscription{{Topic: name}},
	})
	prometheus.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "recorded_total", Help: "A metric of consumer code."}))
	os.Exit(cli.Run(os.Args))
}

// TestRecord runs this release's supervisor with its workers. With -record what
// they say becomes the recording of the newest version.
func TestRecord(t *testing.T) {
	broker := broker(t)
	r := &recorder{Spawner: spawner(t, broker)}
	plan := planOf(t, r)
	run(t, plan, r, true, &logged{})
	all := r.transcripts()
	for _, name := range []string{string(wire.RolePlan), string(wire.RoleWorker), successor, string(wire.RoleLeave)} {
		if len(all[name]) == 0 {
			t.Errorf("no child was the %s", name)
		}
	}
	if !*record || t.Failed() {
		return
	}
	dir := recordings(wire.MaxVersion)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, said := range all {
		if err := said.write(filepath.Join(dir, name), broker); err != nil {
			t.Fatal(err)
		}
	}
	writeBoard(t, filepath.Join(dir, "scoreboard"))
}

// planOf asks the program for its plan, as a roll does.
func planOf(t *testing.T, s process.Spawner) wire.Plan {
	t.Helper()
	image, err := s.CurrentImage()
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Spawn(process.Spec{Role: wire.RolePlan, Argv: argv(), Image: image})
	if err != nil {
		t.Fatal(err)
	}
	env, err := wire.NewConn(p.Socket()).Read()
	var plan wire.Plan
	if err == nil {
		err = env.Decode(&plan)
	}
	end(t, p)
	if err = errors.Join(err, image.Close()); err != nil || plan.Error != "" {
		t.Fatal(err, plan.Error)
	}
	return plan
}

// end closes the socket of a child and returns its exit code.
func end(t *testing.T, p process.Process) int {
	t.Helper()
	_ = p.Socket().Close() // it may be closed
	code := p.Wait().Code
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	return code
}

// versions calls f for each recorded version that this release speaks.
func versions(t *testing.T, f func(t *testing.T, dir string)) {
	for v := wire.MinVersion; v <= wire.MaxVersion; v++ {
		t.Run(fmt.Sprintf("v%d", v), func(t *testing.T) { f(t, recordings(v)) })
	}
}

func TestRecordedWorkers(t *testing.T) {
	versions(t, func(t *testing.T, dir string) {
		plays := recordedChildren(t, dir)
		t.Run("as recorded", func(t *testing.T) {
			st := supervise(t, plays)
			if n := st.Totals[status.CountUnknownMessages]; n != 0 {
				t.Errorf("%d messages of unknown kinds", n)
			}
		})
		t.Run("of a later release", func(t *testing.T) {
			for name, said := range plays {
				plays[name] = said.later(t)
			}
			log := &logged{}
			st := superviseLogging(t, plays, log)
			if n := st.Totals[status.CountUnknownMessages]; n < 10 {
				t.Errorf("%d messages of unknown kinds", n)
			}
			// One line each for two workers, the plan and the leave child.
			if n := strings.Count(log.String(), unknown); n != 4 {
				t.Errorf("%d lines in the log:\n%s", n, log)
			}
		})
	})
}

// A worker of before outages is told nothing of them, not even if it spoke of one.
func TestOutageWithAnOlderWorker(t *testing.T) {
	plays := recordedChildren(t, recordings(wire.VersionOutages-1))
	said := plays[string(wire.RoleWorker)]
	hello := slices.IndexFunc(said, func(m message) bool { return m.Kind == wire.KindHello })
	plays[string(wire.RoleWorker)] = slices.Insert(said, hello+1, message{true, wire.Envelope{
		Kind: wire.KindOutage, Body: json.RawMessage(`{"dependency":"db","held":1,"wants":true,"calls":1}`),
	}})
	supervise(t, plays)
}

// recordedChildren are all children of a recording.
func recordedChildren(t *testing.T, dir string) map[string]transcript {
	t.Helper()
	plays := map[string]transcript{}
	for _, name := range []string{string(wire.RolePlan), string(wire.RoleWorker), successor, string(wire.RoleLeave)} {
		plays[name] = load(t, filepath.Join(dir, name), brokerName)
	}
	return plays
}

func supervise(t *testing.T, plays map[string]transcript) status.Status {
	t.Helper()
	return superviseLogging(t, plays, &logged{})
}

// superviseLogging has this supervisor run recorded children.
func superviseLogging(t *testing.T, plays map[string]transcript, log *logged) status.Status {
	t.Helper()
	var plan wire.Plan
	said := plays[string(wire.RolePlan)]
	i := slices.IndexFunc(said, func(m message) bool { return m.Kind == wire.KindPlan })
	if err := said[i].Decode(&plan); err != nil {
		t.Fatal(err)
	}
	r := &recorded{t: t, plays: plays}
	_, outage := plays[string(wire.RoleWorker)].answers(string(wire.KindLease))
	st := run(t, plan, r, outage, log)
	// What only the later release knows of a consumer has reached its workers.
	sent, err := json.Marshal(plan.Consumers[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range r.heard {
		if m.Kind == wire.KindHandshake && !bytes.Contains(m.Body, sent) {
			t.Errorf("handshake %s, want the consumer as in the plan: %s", m.Body, sent)
		}
	}
	return st
}

func TestRecordedSupervisors(t *testing.T) {
	versions(t, func(t *testing.T, dir string) {
		for _, name := range []string{string(wire.RoleWorker), successor, string(wire.RoleLeave)} {
			t.Run(name, func(t *testing.T) {
				broker := broker(t)
				said := load(t, filepath.Join(dir, name), broker)
				if n := play(t, spawner(t, broker), said); n != 0 {
					t.Errorf("%d messages of unknown kinds", n)
				}
			})
			t.Run(name+" of a later release", func(t *testing.T) {
				broker := broker(t)
				said := load(t, filepath.Join(dir, name), broker).later(t)
				if n := play(t, spawner(t, broker), said); n == 0 && name != string(wire.RoleLeave) {
					t.Error("no messages of unknown kinds")
				}
			})
		}
	})
}

// play has a child of this release hear what a supervisor said, and sees that it
// answers as the recorded one did. It returns how many messages the child did not know.
func play(t *testing.T, s *process.OSSpawner, said transcript) uint64 {
	t.Helper()
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	role := wire.RoleWorker
	if slices.ContainsFunc(said, func(m message) bool { return m.Kind == wire.KindLeave }) {
		role = wire.RoleLeave
	}
	p := start(t, s, role)
	conn := wire.NewConn(p.Socket())
	watchdog := time.AfterFunc(harness.Patience, func() { _ = p.Signal(syscall.SIGKILL) })
	defer watchdog.Stop()
	answered := map[wire.Kind]bool{}
	for _, m := range said {
		switch {
		case !m.up:
			if err := conn.Write(m.Kind, m.Body); err != nil {
				t.Errorf("%s: %v", m.key(), err)
			}
		case m.Kind == wire.KindOutage && answered[m.Kind]: // how often it changes differs, and when
		case m.Kind != unknown:
			expect(t, conn, m, answered)
		}
	}
	for { // it ends by itself
		if _, err := conn.Read(); err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
				t.Error(err)
			}
			break
		}
	}
	n := p.Work().Counters[status.CountUnknownMessages]
	if code := end(t, p); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	return n
}

func start(t *testing.T, s *process.OSSpawner, role wire.Role) process.Process {
	t.Helper()
	image, err := s.CurrentImage()
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	p, err := s.Spawn(process.Spec{Role: role, Argv: []string{name}, Image: image, Slots: 1})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// lasting are states that a worker stays in until it is told something else. Frames of
// others may be left out.
var lasting = [...]status.State{status.Running, status.Quiet, status.Standby, status.Exited}

// expect waits until a child says what the recorded one said. It notes the kinds of all
// that it says.
func expect(t *testing.T, conn *wire.Conn, m message, kinds map[wire.Kind]bool) {
	t.Helper()
	var want, got struct {
		Version int
		ID      uint64
		Error   string
		State   status.State `json:"s"`
	}
	decode := func(m wire.Envelope, v any) {
		if m.Kind == wire.KindMembers {
			return
		}
		if err := m.Decode(v); err != nil {
			t.Error(err)
		}
	}
	if decode(m.Envelope, &want); m.Kind == wire.KindFrame && !slices.Contains(lasting[:], want.State) {
		return
	}
	for {
		env, err := conn.Read()
		if err != nil {
			t.Fatalf("waiting for %s %+v: %v", m.Kind, want, err)
		}
		if kinds[env.Kind] = true; env.Kind != m.Kind {
			continue
		}
		if decode(env, &got); got == want {
			return
		}
		if m.Kind != wire.KindFrame && m.Kind != wire.KindMembers && m.Kind != wire.KindOutage {
			t.Errorf("%s %+v, want %+v", m.Kind, got, want)
			return
		}
	}
}

// A worker for which a supervisor has no version says so once and for all.
func TestSupervisorOfOtherVersions(t *testing.T) {
	said := load(t, filepath.Join(recordings(wire.MaxVersion), string(wire.RoleWorker)), brokerName)
	var h wire.Handshake
	if err := said[0].Decode(&h); err != nil {
		t.Fatal(err)
	}
	h.Versions = wire.Versions{Min: wire.MaxVersion + 1, Max: wire.MaxVersion + 2}
	s := spawner(t, brokerName)
	defer s.Close()
	p := start(t, s, wire.RoleWorker)
	conn := wire.NewConn(p.Socket())
	if err := conn.Write(wire.KindHandshake, h); err != nil {
		t.Fatal(err)
	}
	env, err := conn.Read()
	if err != nil {
		t.Fatal(err)
	}
	var why wire.ExitReason
	if err := env.Decode(&why); err != nil || env.Kind != wire.KindExitReason {
		t.Fatalf("%s, %v", env.Kind, err)
	}
	if !why.Permanent || !strings.Contains(why.Reason, "stop Racecar and start it again") || strings.Contains(why.Reason, "\n") {
		t.Errorf("%+v", why)
	}
	if code := end(t, p); code != wire.ExitPermanent {
		t.Errorf("exit code %d", code)
	}
}

// A worker whose supervisor knows no outages probes by itself, and says nothing about it.
func TestOutageUnderAnOlderSupervisor(t *testing.T) {
	broker := testbroker.New(t)
	said := load(t, filepath.Join(recordings(wire.VersionOutages-1), string(wire.RoleWorker)), broker.Addrs()[0])
	broker.CreateTopic(name, 2)
	broker.Produce(name, 0, "a", "b", "c")
	s := spawner(t, broker.Addrs()[0])
	defer s.Close()
	p := start(t, s, wire.RoleWorker)
	conn := wire.NewConn(p.Socket())
	if err := conn.Write(wire.KindHandshake, said[0].Body); err != nil {
		t.Fatal(err)
	}
	kinds := make(chan map[wire.Kind]int, 1)
	go func() {
		seen := map[wire.Kind]int{}
		for {
			env, err := conn.Read()
			if err != nil {
				kinds <- seen
				return
			}
			seen[env.Kind]++
		}
	}()
	harness.Eventually(t, "all messages processed", func() error {
		if n := p.Work().Counters[status.CountMessages]; n != 3 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	if err := conn.Write(wire.KindCommand, wire.Command{ID: 1, Kind: wire.CommandStop, Grace: time.Minute}); err != nil {
		t.Fatal(err)
	}
	code := p.Wait().Code
	seen := <-kinds
	if code != wire.ExitOK || seen[wire.KindHello] != 1 || seen[wire.KindOutage]+seen[wire.KindProbed] != 0 {
		t.Errorf("exit code %d, it said %v", code, seen)
	}
	if n := p.Work().Counters[status.CountDeadLetters]; n != 0 {
		t.Errorf("%d dead letters", n)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// The scoreboard's layout belongs to the version.
func TestRecordedScoreboards(t *testing.T) {
	versions(t, func(t *testing.T, dir string) { checkBoard(t, filepath.Join(dir, "scoreboard")) })
}
