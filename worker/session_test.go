package worker

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// A join waits for the other members for as long as they may take, which is longer
// than an answer may take otherwise.
func TestJoinOutlastsTheSocketTimeout(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(2), b.Group()
	b.Produce(topic, 0, "a")
	begun, told, goOn := make(chan struct{}, 10), make(chan struct{}, 10), make(chan struct{})
	cfg := testConfig(b, group)
	cfg.SocketTimeout = time.Second
	busy := start(t, one(t, topic, func(ctx context.Context, _ *racecar.Message) error {
		begun <- struct{}{}
		<-racecar.Leaving(ctx)
		told <- struct{}{}
		<-goOn
		return nil
	}), cfg)
	<-begun
	var mu sync.Mutex
	var retries []event.PollRetry
	s := start(t, one(t, topic, ignore), cfg, withIndex(1), func(o *Options) {
		o.Emit = func(e racecar.Event) {
			if e, ok := e.(event.PollRetry); ok {
				mu.Lock()
				defer mu.Unlock()
				retries = append(retries, e)
			}
		}
	})
	<-told
	<-time.After(3 * cfg.SocketTimeout) // what is tested is that nothing happens meanwhile
	close(goOn)
	waitFor(t, "a partition for each", func() bool {
		return len(busy.status().Partitions) == 1 && len(s.status().Partitions) == 1
	})
	mu.Lock()
	if len(retries) > 0 {
		t.Errorf("the join was tried again: %v", retries)
	}
	mu.Unlock()
	for _, w := range []*supervisor{s, busy} {
		if code := w.stop(); code != wire.ExitOK {
			t.Errorf("exit code %d", code)
		}
	}
}

// Messages that are deleted while others of the partition are processed: the worker
// continues behind them by itself and reports the gap.
func TestRetentionOvertakesARunningWorker(t *testing.T) {
	const messages, kept = 30_000, 10
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	fill(t, b, topic, 1, messages) // 6 MB: more than the first fetches bring
	rec := newRecorder()
	begun, goOn := make(chan struct{}, 1), make(chan struct{})
	var mu sync.Mutex
	var gaps []event.OffsetGap
	cfg := testConfig(b, group)
	cfg.MaxBytes = 1 << 20 // most of them are not fetched yet
	s := start(t, one(t, topic, func(_ context.Context, m *racecar.Message) error {
		if m.Offset == 0 {
			begun <- struct{}{}
			<-goOn
		}
		rec.add(m)
		return nil
	}), cfg, func(o *Options) {
		o.Emit = func(e racecar.Event) {
			if e, ok := e.(event.OffsetGap); ok {
				mu.Lock()
				defer mu.Unlock()
				gaps = append(gaps, e)
			}
		}
	})
	<-begun
	deleteUpTo(t, b, topic, messages-kept)
	close(goOn)
	waitFor(t, "the last message", func() bool {
		got := rec.offsets(topicPartition{topic, 0})
		return len(got) > 0 && got[len(got)-1] == messages-1
	})
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	got := rec.offsets(topicPartition{topic, 0})
	before := len(got) - kept
	wantUpTo(t, got[:before], before)
	if before > messages/2 || got[before] != messages-kept {
		t.Errorf("%d messages before the gap, then offset %d", before, got[before])
	}
	mu.Lock()
	defer mu.Unlock()
	if len(gaps) != 1 || gaps[0].Committed != int64(before) || gaps[0].Start != messages-kept {
		t.Errorf("%d messages before the gap; gaps %+v", before, gaps)
	}
}

// A worker is running once all claims of its session are open, and not before.
func TestRunningOnceAllClaimsAreOpen(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(3), b.Group()
	c := b.Embedded()
	asked, release := make(chan struct{}, 100), make(chan struct{})
	var once sync.Once
	t.Cleanup(func() { once.Do(func() { close(release) }) })
	c.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		asked <- struct{}{}
		c.SleepControl(func() { <-release }) // the first positions
		return nil, nil, false
	})
	s := start(t, one(t, topic, ignore), testConfig(b, group))
	<-asked
	s.mu.Lock()
	n := s.frames
	s.mu.Unlock()
	s.await("another frame", func() bool { return s.frames > n })
	s.mu.Lock()
	if s.frame.State == status.Running {
		t.Error("running, although no claim is open")
	}
	s.mu.Unlock()
	once.Do(func() { close(release) })
	s.running()
	s.stop()
}

// Why a session ended is in the log at its usual level.
func TestReasonOfARebalanceIsLogged(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(2), b.Group()
	cfg := testConfig(b, group)
	var said *test.Hook
	first := start(t, one(t, topic, ignore), cfg, func(o *Options) {
		said = test.NewLocal(o.Log)
		o.Log.SetLevel(logrus.InfoLevel)
	})
	first.running()
	second := start(t, one(t, topic, ignore), cfg, withIndex(1))
	waitFor(t, "a partition for each", func() bool {
		return len(first.status().Partitions) == 1 && len(second.status().Partitions) == 1
	})
	second.stop()
	first.stop()
	for _, e := range said.AllEntries() {
		if cause, ok := e.Data["cause"].(string); ok && strings.Contains(cause, "rebalance") {
			return
		}
	}
	t.Error("the log does not say why the session ended")
}

// failing is a consumer group with errors to be read.
type failing struct {
	sarama.ConsumerGroup
	errors chan error
}

func (g *failing) Errors() <-chan error { return g.errors }

// What sarama reports beside Consume is logged, but for the broker that it cannot fetch from.
func TestErrorsBesideConsumeAreLogged(t *testing.T) {
	log, said := test.NewNullLogger()
	g := &failing{errors: make(chan error, 2)}
	for _, err := range []error{sarama.ErrNotConnected, io.ErrUnexpectedEOF} {
		g.errors <- &sarama.ConsumerError{Topic: "t", Partition: 3, Err: err}
	}
	close(g.errors)
	m := &membership{w: &worker{}, group: g, log: logrus.NewEntry(log)}
	m.drainErrors()
	all := said.AllEntries()
	if len(all) != 1 || all[0].Level != logrus.ErrorLevel || !strings.Contains(all[0].Message, "t/3: unexpected EOF") {
		t.Errorf("logged %d lines, want that of the error alone", len(all))
	}
}

// Where the group's members have no assignor in common with us, the line names the key,
// ours and theirs; once they are gone the worker consumes.
func TestAnotherAssignorInTheGroup(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, "a")
	cfg := testConfig(b, group)
	cfg.PartitionAssignmentStrategy = []string{"sticky"}
	rec := newRecorder()
	first := start(t, one(t, topic, recording(rec)), cfg, withNonce("other"))
	rec.await(t, 1)
	cfg.PartitionAssignmentStrategy = []string{"range", "roundrobin"}
	second := start(t, one(t, topic, recording(rec)), cfg)
	second.await("the reason", func() bool {
		return second.frame.State == status.Waiting && strings.Contains(second.frame.Detail, `partition_assignment_strategy: the group uses "sticky", this worker offers range, roundrobin`)
	})
	first.stop()
	b.Produce(topic, 0, "b")
	rec.await(t, 2)
	second.stop()
}
