package fleet

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

func TestAllWorkersAreStartedAndReadyOnce(t *testing.T) {
	w := newWorld(t, consumerOf("A", 2), consumerOf("B", 1))
	w.boot = func(f *fake) {}
	w.start()
	if d := cmp.Diff([]string{"A[0]", "A[1]", "B[0]"}, w.spawned); d != "" {
		t.Error(d)
	}
	w.worker("A[0]").says(status.Joining)
	w.worker("A[1]").says(status.Waiting)
	if w.ready != 0 {
		t.Error("ready before all are up")
	}
	w.worker("B[0]").says(status.Starting) // its constructor has not returned
	if w.ready != 0 {
		t.Error("ready before all are constructed")
	}
	w.worker("B[0]").says(status.Joining)
	w.pass(time.Second)
	if w.ready != 1 {
		t.Errorf("ready %d times", w.ready)
	}
	w.checkState("A[1]", status.Waiting)
}

// Readiness waits for a crashing worker until its boot timeout; a consumer without any
// worker that is up prevents readiness.
func TestReadinessAfterTheBootTimeout(t *testing.T) {
	w := newWorld(t, consumerOf("A", 2, func(c *config.Config) { c.WorkerRestartLimit = config.NeverGiveUp }))
	up := map[string]bool{}
	w.boot = func(f *fake) {
		if up[f.name] {
			f.runs()
			return
		}
		f.exits(Exit{Code: 1})
	}
	w.start()
	w.pass(10 * time.Minute)
	if w.ready != 0 {
		t.Error("ready without any worker")
	}
	up["A[0]"] = true
	w.pass(maxBackoff)
	if w.ready != 1 {
		t.Error("not ready with one of two workers")
	}
	w.pass(time.Minute)
	if w.ready != 1 {
		t.Errorf("ready %d times", w.ready)
	}
}

// Without a consumer left the supervisor is never ready, and its exit has the reason.
func TestNeverReady(t *testing.T) {
	for name, boot := range map[string]func(*fake){
		"permanent": func(f *fake) { f.exits(Exit{Code: wire.ExitPermanent}) },
		"crash":     func(f *fake) { f.exits(Exit{Code: 1}) },
		"hangs":     func(f *fake) {}, // a crash a minute
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, consumerOf("A", 2), consumerOf("B", 1))
			w.boot = boot
			w.start()
			w.pass(10 * time.Minute)
			if w.ready != 0 {
				t.Error("ready although every consumer stopped permanently")
			}
			w.checkFinished(1, "A stopped permanently: ")
			w.checkFinished(1, "B stopped permanently: ")
		})
	}
}

func TestReadyWithoutAConsumerThatStoppedPermanently(t *testing.T) {
	w := newWorld(t, consumerOf("A", 1), consumerOf("B", 1))
	w.boot = func(f *fake) {
		if f.p.slot.consumer.name == "A" {
			f.exits(Exit{Code: wire.ExitPermanent})
		}
	}
	w.start()
	if w.ready != 0 {
		t.Error("ready before B is up")
	}
	w.worker("B[0]").runs()
	if w.ready != 1 {
		t.Error("not ready")
	}
}

func TestRestartLimitZeroStopsEverything(t *testing.T) {
	w := startWorld(t, consumerOf("A", 2, func(c *config.Config) { c.WorkerRestartLimit = 0 }), consumerOf("B", 1))
	w.crash("A[0]")
	w.checkFinished(1, "A[0] died: exited with status 1")
}

func TestNeverGiveUp(t *testing.T) {
	w := startWorld(t, consumerOf("A", 1, func(c *config.Config) { c.WorkerRestartLimit = config.NeverGiveUp }))
	for range 100 {
		w.crash("A[0]")
		w.pass(31 * time.Second)
	}
	w.checkState("A[0]", status.Running)
}

// The handshake has whether the consumer has been ready. Then a worker retries its
// constructor; before, a wrong set-up fails fast.
func TestHandshakeHasWhetherTheConsumerWasReady(t *testing.T) {
	w := newWorld(t, consumerOf("A", 2))
	w.boot = func(f *fake) { f.says(status.Starting) }
	w.start()
	if w.crash("A[0]"); w.worker("A[0]").handshake.WasReady {
		t.Error("nothing was ready")
	}
	w.worker("A[1]").says(status.Joining)
	if w.crash("A[0]"); w.state("A[0]").State == status.Backoff {
		w.pass(time.Second)
	}
	if !w.worker("A[0]").handshake.WasReady {
		t.Error("A[1] is up")
	}
}

func TestNonceFollowsTheMembership(t *testing.T) {
	for _, c := range []struct {
		membership config.Membership
		static     string
		want       string
	}{
		{config.MembershipRun, "", "nonce"},
		{config.MembershipHost, "", "host"},
		{config.MembershipHost, "pod-3", "pod-3"},
		{config.MembershipDynamic, "", ""},
	} {
		w := startWorld(t, consumerOf("A", 1, func(cfg *config.Config) { cfg.Membership, cfg.StaticID = c.membership, c.static }))
		if got := w.worker("A[0]").handshake.Nonce; got != c.want {
			t.Errorf("%s %q: nonce %q, want %q", c.membership, c.static, got, c.want)
		}
	}
}

// The work of a process counts to the last, although nothing read it before the process
// died, and counters do not go back with restarts and scaling.
func TestCountersNeverGoBack(t *testing.T) {
	w := startWorld(t, consumerOf("A", 2))
	total := func(name string) uint64 { return w.report().Totals[name] }
	f := w.worker("A[1]")
	f.work = status.Work{
		Counters: map[string]uint64{status.CountMessages: 120, status.CountDeadLetters: 80, status.CountCommits: 7},
		Times:    status.Histogram{Bounds: []float64{1}, Counts: []uint64{110, 10}, Sum: 5}, CPU: 2,
	}
	w.crash("A[1]")
	if total(status.CountMessages) != 120 || total(status.CountDeadLetters) != 80 || total(status.CountCommits) != 7 {
		t.Error("lost with the process")
	}
	of := func() status.Consumer { return w.report().Consumers[0] }
	if c := of(); c.Totals[status.CountMessages] != 120 || c.Times.Counts[1] != 10 || c.Times.Sum != 5 || c.CPU != 2 || c.Restarts != 1 {
		t.Errorf("of the consumer: %+v", c)
	}
	w.pass(time.Second)
	f = w.worker("A[1]")
	f.work = status.Work{Counters: map[string]uint64{status.CountMessages: 5}}
	f.p.work = f.work // as Counted does
	if got := w.state("A[1]").Processed; got != 125 {
		t.Errorf("slot counts %d", got)
	}
	w.mustScale("A", 1)
	if len(w.f.consumers[0].slots) != 1 || total(status.CountMessages) != 125 {
		t.Errorf("after scaling down: %d", total(status.CountMessages))
	}
}
