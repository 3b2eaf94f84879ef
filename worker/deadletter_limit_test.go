package worker

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// Messages count for a minute, and only since the last success.
func TestDeadLettersAreCounted(t *testing.T) {
	l := newDeadLetterLimit(&config.Config{DeadLetterLimit: 3})
	now := time.Unix(1_000_000, 0)
	add := func(want bool) {
		t.Helper()
		if exceeded, _ := l.add(now); exceeded != want {
			t.Errorf("exceeded %v after %d", exceeded, len(l.times))
		}
	}
	for range 3 {
		add(false)
		now = now.Add(10 * time.Second)
	}
	add(true)
	now = now.Add(30 * time.Second) // the first is a minute ago
	add(true)
	now = now.Add(10 * time.Second)
	if !l.succeeded() || l.succeeded() {
		t.Error("a success does not count once")
	}
	for range 3 {
		add(false)
	}
	now = now.Add(time.Minute)
	add(false)
	off := newDeadLetterLimit(&config.Config{})
	logged := 0
	for range 1000 {
		exceeded, shouldLog := off.add(now)
		if exceeded {
			t.Fatal("exceeded though it is off")
		}
		if shouldLog {
			logged++
		}
	}
	if logged != 1 || len(off.times) != manyDeadLetters || off.succeeded() {
		t.Errorf("logged %d times, counting %d", logged, len(off.times))
	}
	now = now.Add(time.Minute)
	for range manyDeadLetters {
		if _, shouldLog := off.add(now); shouldLog {
			logged++
		}
	}
	if logged != 2 {
		t.Errorf("logged %d times in two minutes", logged)
	}
}

// failingWhile is a consumer that fails while away.
func failingWhile(t *testing.T, topic string, rec *recorder, away *atomic.Bool, calls *atomic.Int32) *racecar.Registration {
	return one(t, topic, func(_ context.Context, m *racecar.Message) error {
		if away.Load() {
			calls.Add(1)
			return errors.New("connection refused")
		}
		rec.add(m)
		return nil
	})
}

// With dead_letter_limit no more messages than that are dead-lettered while nothing succeeds;
// the first success releases the others.
func TestDeadLetterLimitHolds(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(3), b.Group()
	for p := range int32(3) {
		b.Produce(topic, p, values(20)...)
	}
	var away atomic.Bool
	var calls atomic.Int32
	away.Store(true)
	rec := newRecorder()
	cfg := outageConfig(b, group)
	cfg.MaxRetries, cfg.DeadLetterLimit = 1, 5
	s := start(t, failingWhile(t, topic, rec, &away, &calls), cfg)
	waitFor(t, "the limit", func() bool { return s.status().Counters[status.CountDeadLetters] >= 5 })
	before := calls.Load()
	waitFor(t, "probes", func() bool { return calls.Load() > before+12 })
	report := s.status()
	if n := report.Counters[status.CountDeadLetters]; n != 5 {
		t.Errorf("%d dead letters, limit 5", n)
	}
	held := 0
	for _, p := range report.Partitions {
		if p.State == status.PartitionBlocked && strings.HasPrefix(p.Reason, "waiting for the dependency dead_letter_limit") {
			held++
		}
	}
	if held < 2 { // one may be the probe
		t.Errorf("%d partitions are held", held)
	}
	away.Store(false)
	rec.await(t, 3*20-5)
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
}

// A message is held for dead_letter_hold at most.
func TestDeadLetterHoldEnds(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(6)...)
	var away atomic.Bool
	var calls atomic.Int32
	away.Store(true)
	cfg := outageConfig(b, group)
	cfg.MaxRetries, cfg.DeadLetterLimit, cfg.DeadLetterHold = 1, 1, 300*time.Millisecond
	s := start(t, failingWhile(t, topic, newRecorder(), &away, &calls), cfg, withVersions(wire.Supported()))
	waitFor(t, "the dead letters", func() bool { return s.status().Counters[status.CountDeadLetters] == 6 })
	if n := calls.Load(); n < 6*2+5 {
		t.Errorf("%d calls of 6 messages, most of which were held", n)
	}
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.outages[deadLetterLimitName]; len(s.probed) > 0 || o.Calls == 0 || o.Wants || o.Held != 0 {
		t.Errorf("the supervisor got %+v and %+v", s.probed, s.outages)
	}
}

// A message at fault that was held is dead-lettered once others succeed: it does not wait for
// the end of dead_letter_hold.
func TestSuccessEndsTheHoldOfAMessageAtFault(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(2), b.Group()
	b.Produce(topic, 1, values(20)...)
	var away atomic.Bool
	away.Store(true)
	cfg := outageConfig(b, group)
	cfg.MaxRetries, cfg.DeadLetterLimit = 1, 3
	s := start(t, one(t, topic, func(_ context.Context, m *racecar.Message) error {
		if m.Partition == 0 || away.Load() {
			return errors.New("refused")
		}
		return nil
	}), cfg)
	held := func(n int32) func() bool {
		return func() bool { return strings.Contains(s.partition(n).Reason, deadLetterLimitName) }
	}
	waitFor(t, "the limit", held(1))
	b.Produce(topic, 0, "at fault")
	waitFor(t, "the message at fault held", held(0))
	away.Store(false)
	waitFor(t, "the message at fault dead-lettered", func() bool { return s.status().Counters[status.CountDeadLetters] == 4 })
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
}

// Without a limit the log names racecar.Unavailable, once.
func TestManyDeadLettersAreLogged(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(10), b.Group()
	for p := range int32(10) {
		b.Produce(topic, p, values(14)...)
	}
	var away atomic.Bool
	var calls atomic.Int32
	away.Store(true)
	cfg := outageConfig(b, group)
	cfg.MaxRetries, cfg.PauseTimeout = 1, time.Millisecond
	var hook logtest.Hook
	s := start(t, failingWhile(t, topic, newRecorder(), &away, &calls), cfg, func(o *Options) { o.Log.AddHook(&hook) })
	waitFor(t, "the dead letters", func() bool { return s.status().Counters[status.CountDeadLetters] == 140 })
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	lines := 0
	for _, e := range hook.AllEntries() {
		if strings.Contains(e.Message, "racecar.Unavailable") {
			lines++
		}
	}
	if lines == 0 || lines > 2 {
		t.Errorf("%d lines", lines)
	}
}
