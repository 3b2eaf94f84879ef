package worker

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/cluster"
	"github.com/racecar-go/racecar/test/seeds"
)

// ownBroker starts a broker to be hurt, with a topic of one partition, and returns a
// configuration for it.
func ownBroker(t *testing.T) (*cluster.Broker, string, config.Config) {
	t.Helper()
	c := cluster.Start(t, cluster.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	if err := c.CreateTopic(ctx, "in", 1, 1); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(nil, "group")
	cfg.Brokers = c.Addrs()
	return c.Broker(1), "in", cfg
}

// The brokers are away for longer than the session lasts (in a soak for ten
// minutes), with a call in hand and messages unprocessed: the worker says what it
// waits for, neither ends nor processes anything twice but what it could not commit,
// and goes on by itself.
func TestBrokersAway(t *testing.T) {
	away := 12 * time.Second
	if os.Getenv(seeds.SoakVar) != "" {
		away = 10 * time.Minute
	}
	broker, topic, cfg := ownBroker(t)
	cfg.SessionTimeout = 6 * time.Second
	send(t, cfg.Brokers, topic, values(10)...)
	rec := newRecorder()
	begun, goOn := make(chan struct{}, 100), make(chan struct{})
	var said *test.Hook
	s := start(t, one(t, topic, func(_ context.Context, m *racecar.Message) error {
		if m.Offset == 5 && len(rec.offsets(topicPartition{topic, 0})) == 5 {
			begun <- struct{}{}
			<-goOn
		}
		rec.add(m)
		return nil
	}), cfg, func(o *Options) { said = test.NewLocal(o.Log) })
	<-begun
	if err := broker.Kill(); err != nil {
		t.Fatal(err)
	}
	close(goOn) // its call ends while nobody is there to commit to
	s.await("waiting", func() bool { return s.frame.State == status.Waiting })
	over := time.After(away)
	for waiting := true; waiting; {
		select {
		case <-over:
			waiting = false
		case <-time.After(time.Second):
			s.mu.Lock()
			if s.exited {
				t.Fatalf("the worker ended with %d: %+v", s.exit, s.last)
			}
			if !s.frame.Live {
				t.Error("brokers that are away are no reason to be replaced")
			}
			s.mu.Unlock()
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	if err := broker.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	s.running()
	t.Logf("running %v after the broker was back", time.Since(back))
	send(t, cfg.Brokers, topic, values(10)...)
	waitFor(t, "the last message", func() bool {
		got := rec.offsets(topicPartition{topic, 0})
		return len(got) > 0 && got[len(got)-1] == 19
	})
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	seen := map[int64]bool{}
	got := rec.offsets(topicPartition{topic, 0})
	for _, o := range got {
		seen[o] = true
	}
	if len(seen) != 20 || len(got) > 30 {
		t.Errorf("processed %v", got)
	}
	tries := 0
	for _, e := range said.AllEntries() {
		if e.Level == logrus.ErrorLevel && strings.Contains(e.Message, "(try ") {
			tries++
			if tries == 1 {
				t.Log(e.Message)
			}
		}
	}
	// Of each thing that is tried: ten, then one a minute.
	if limit := 3 * (loggedTries + int(away/loggedEvery)); tries == 0 || tries > limit {
		t.Errorf("%d lines about failed tries, want at most %d", tries, limit)
	}
}

// A broker that does not answer any more, with a position to be committed, holds a
// stop up for no longer than its grace.
func TestStopWhileTheBrokerIsFrozen(t *testing.T) {
	broker, topic, cfg := ownBroker(t)
	cfg.OffsetCommitInterval = time.Hour
	send(t, cfg.Brokers, topic, values(5)...)
	rec := newRecorder()
	s := start(t, one(t, topic, recording(rec)), cfg)
	rec.await(t, 5)
	if err := broker.Pause(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if code := s.stopUpTo(3 * time.Second); code != wire.ExitCrash {
		t.Errorf("exit code %d, want that of a failure: the position was not committed", code)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
	if err := broker.Continue(); err != nil {
		t.Fatal(err)
	}
}
