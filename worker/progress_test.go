package worker

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/IBM/sarama"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// brokersLag is a partition's lag by others' means: sarama's admin and the
// committed offset.
func brokersLag(t *testing.T, b *testbroker.Broker, group, topic string, partition int32) int64 {
	t.Helper()
	c, err := sarama.NewClient(b.Addrs(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	end, err := c.GetOffset(topic, partition, sarama.OffsetNewest)
	if err != nil {
		t.Fatal(err)
	}
	return end - max(0, b.Committed(group, topic, partition))
}

// The lag in a report is the broker's, also of what is not fetched: while paused by
// an operator, after a failure, and while a call takes its time.
func TestLagIsTheBrokers(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(3), b.Group()
	reached := make(chan struct{}, 1)
	release := make(chan struct{})
	reg := one(t, topic, func(_ context.Context, m *racecar.Message) error {
		switch {
		case m.Partition == 1 && m.Offset == 2 && m.Retries == 0:
			return errors.New("told to fail")
		case m.Partition == 2 && m.Offset == 3:
			poke(reached)
			<-release
		}
		return nil
	})
	cfg := testConfig(b, group)
	cfg.PauseTimeout = time.Hour
	s := start(t, reg, cfg)
	s.running()
	s.command(wire.Command{Kind: wire.CommandPause, Partitions: []wire.Partition{{Topic: topic, Partition: 0}}})
	agrees := func(what string, want ...int64) {
		t.Helper()
		waitFor(t, what, func() bool {
			for _, p := range s.status().Partitions {
				lag := brokersLag(t, b, group, topic, p.Partition)
				if p.Lag != lag || lag != want[p.Partition] || p.Committed < 0 || lag > 0 && p.LagSeconds <= 0 || lag == 0 && p.LagSeconds != 0 {
					return false
				}
			}
			return true
		})
	}
	agrees("no lag", 0, 0, 0)
	b.Produce(topic, 0, values(10)...)
	b.Produce(topic, 1, values(10)...)
	agrees("lag while paused", 10, 8, 0) // 2 of partition 1 are done
	b.Produce(topic, 2, values(10)...)
	<-reached
	agrees("lag while one is in hand", 10, 8, 7)
	for range 3 { // more than is fetched ahead of a partition that does not move
		b.Produce(topic, 0, values(1500)...)
		b.Produce(topic, 1, values(1500)...)
		b.Produce(topic, 2, values(1500)...)
	}
	agrees("lag of what is not fetched", 4510, 4508, 4507)
	close(release)
	s.command(wire.Command{Kind: wire.CommandResume, Partitions: []wire.Partition{{Topic: topic, Partition: -1}}})
	agrees("no lag again", 0, 0, 0)
	s.stop()
}

// A partition that is read committed may end with markers of transactions and with
// messages that are not for us: they are no lag. An open transaction is.
func TestMarkersAreNoLag(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	rec := newRecorder()
	s := start(t, one(t, topic, recording(rec)), testConfig(b, group))
	s.running()
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_4_0_0
	conf.Producer.Return.Successes, conf.Producer.RequiredAcks, conf.Producer.Idempotent = true, sarama.WaitForAll, true
	conf.Producer.Transaction.ID, conf.Net.MaxOpenRequests = group, 1
	p, err := sarama.NewSyncProducer(b.Addrs(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	send := func(value string, end func() error) {
		t.Helper()
		if err := p.BeginTxn(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(value)}); err != nil {
			t.Fatal(err)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
	}
	lagIs := func(want, position, end int64) {
		t.Helper()
		waitFor(t, "lag", func() bool {
			p := s.status().Partitions[0]
			return p.Lag == want && p.Position == position && p.End == end
		})
	}
	send("seen", p.CommitTxn)
	rec.await(t, 1)
	lagIs(0, 2, 2)
	send("aborted", p.AbortTxn)
	lagIs(0, 4, 4)
	send("open", func() error { return nil })
	lagIs(1, 4, 5)
	if err := p.CommitTxn(); err != nil {
		t.Fatal(err)
	}
	rec.await(t, 2)
	lagIs(0, 6, 6)
	s.stop()
}

// A partition that stands still for stall_timeout though there is lag is named;
// one that an operator has paused is not.
func TestStallTimeout(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(2), b.Group()
	release := make(chan struct{})
	reg := one(t, topic, func(_ context.Context, m *racecar.Message) error {
		<-release
		return nil
	})
	cfg := testConfig(b, group)
	cfg.StallTimeout = 2 * time.Second
	logged := logtest.Hook{}
	s := start(t, reg, cfg, func(o *Options) { o.Log.AddHook(&logged) })
	s.running()
	s.command(wire.Command{Kind: wire.CommandPause, Partitions: []wire.Partition{{Topic: topic, Partition: 0}}})
	b.Produce(topic, 0, values(3)...)
	waitFor(t, "lag of the paused one", func() bool { return s.status().Partitions[0].Lag == 3 })
	began := time.Now()
	b.Produce(topic, 1, values(3)...)
	waitFor(t, "stalled", func() bool { return s.status().Partitions[1].Stalled })
	if d := time.Since(began); d < cfg.StallTimeout {
		t.Errorf("stalled after %v", d)
	}
	said := func(message string) (found []int32) {
		for _, e := range logged.AllEntries() {
			if e.Message == message {
				found = append(found, e.Data["partition"].(int32))
			}
		}
		return found
	}
	if p := s.status().Partitions[0]; p.Stalled || p.State != status.PartitionPaused {
		t.Errorf("the paused one: %+v", p)
	}
	if got := said("partition stands still though messages wait (stall_timeout)"); len(got) != 1 || got[0] != 1 {
		t.Errorf("logged of %v, want of 1, once", got)
	}
	close(release)
	waitFor(t, "not stalled", func() bool {
		p := s.status().Partitions[1]
		return !p.Stalled && p.Lag == 0
	})
	waitFor(t, "the log line", func() bool { return len(said("partition moves again")) == 1 })
	s.stop()
}
