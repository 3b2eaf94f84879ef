package worker

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
	"github.com/racecar-go/racecar/test/seeds"
)

// A dead-letter topic that is missing is made before anything is consumed.
func TestDeadLetterTopicIsMade(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	cfg := testConfig(b, group)
	cfg.MaxRetries = 1 // which asks for <group>.dlq
	reg := one(t, topic, func(context.Context, *racecar.Message) error { return nil })
	s := start(t, reg, cfg)
	s.running()
	s.stop()
	if n := partitionsOf(t, b, group+".dlq"); n == 0 {
		t.Error("there is no dead-letter topic")
	}
	again := start(t, reg, cfg) // it is there
	again.running()
	again.stop()
}

func partitionsOf(t *testing.T, b *testbroker.Broker, topic string) int {
	t.Helper()
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	client, err := sarama.NewClient(b.Addrs(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	partitions, err := client.Partitions(topic)
	if err != nil {
		t.Errorf("topic %s: %v", topic, err)
	}
	return len(partitions)
}

// One that is missing and that we may not make, or may not write to, is one clear
// line at start, and final.
func TestDeadLetterTopicThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		key    kmsg.Key
		answer func(kmsg.Request, string) kmsg.Response
		want   string
	}{
		"not to be made": {kmsg.CreateTopics, func(r kmsg.Request, topic string) kmsg.Response {
			resp := r.ResponseKind().(*kmsg.CreateTopicsResponse)
			one := kmsg.NewCreateTopicsResponseTopic()
			one.Topic, one.ErrorCode = topic, kerr.TopicAuthorizationFailed.Code
			resp.Topics = append(resp.Topics, one)
			return resp
		}, "does not exist, and the broker refuses to create it"},
		"not to be written": {kmsg.Metadata, func(r kmsg.Request, topic string) kmsg.Response {
			if req := r.(*kmsg.MetadataRequest); !req.IncludeTopicAuthorizedOperations {
				return nil
			}
			resp := r.ResponseKind().(*kmsg.MetadataResponse)
			one := kmsg.NewMetadataResponseTopic()
			one.Topic, one.AuthorizedOperations = &topic, 1<<sarama.AclOperationRead|1<<sarama.AclOperationDescribe
			resp.Topics = append(resp.Topics, one)
			return resp
		}, "may not be written to"},
	} {
		t.Run(name, func(t *testing.T) {
			b := testbroker.New(t)
			cluster := b.Embedded()
			topic, group := b.Topic(1), b.Group()
			b.Produce(topic, 0, values(1)...)
			cluster.ControlKey(int16(c.key), func(r kmsg.Request) (kmsg.Response, error, bool) {
				cluster.KeepControl()
				resp := c.answer(r, group+".dead")
				return resp, nil, resp != nil
			})
			cfg := testConfig(b, group)
			cfg.DeadLetterTopic = group + ".dead"
			rec := newRecorder()
			s := start(t, one(t, topic, recording(rec)), cfg)
			if code := s.awaitExit(); code != wire.ExitPermanent {
				t.Errorf("exit code %d", code)
			}
			last := s.lastWords()
			if !last.Permanent || !strings.Contains(last.Reason, c.want) || !strings.HasPrefix(last.Reason, "dead_letter_topic: ") ||
				!strings.Contains(last.Reason, group+".dead") || strings.Contains(last.Reason, "\n") {
				t.Errorf("last words %+v", last)
			}
			if got := rec.offsets(tp{topic, 0}); len(got) > 0 {
				t.Errorf("processed %v without a dead-letter topic", got)
			}
		})
	}
}

// Brokers that are in trouble while the topic is made are waited for.
func TestDeadLetterTopicIsMadeLater(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	cluster := b.Embedded()
	topic, group := b.Topic(1), b.Group()
	var tries atomic.Int32
	cluster.ControlKey(int16(kmsg.CreateTopics), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		return nil, errors.New("the broker is away"), tries.Add(1) < 3
	})
	cfg := testConfig(b, group)
	cfg.MaxRetries = 1
	s := start(t, one(t, topic, recording(newRecorder())), cfg)
	s.running()
	s.stop()
	if n := partitionsOf(t, b, group+".dlq"); n == 0 {
		t.Error("there is no dead-letter topic")
	}
}

// Without a dead-letter topic nothing is dead-lettered, not even by the author's
// wish: the message stays, and is retried.
func TestDeadLetterWithoutATopic(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(3)...)
	var calls atomic.Int32
	rec := newRecorder()
	reg := one(t, topic, func(_ context.Context, m *racecar.Message) error {
		if m.Offset == 1 && calls.Add(1) < 4 {
			return racecar.DeadLetter(errors.New("bad"))
		}
		rec.add(m)
		return nil
	})
	s := start(t, reg, testConfig(b, group))
	rec.await(t, 3)
	s.stop()
	wantUpTo(t, rec.offsets(tp{topic, 0}), 3)
}

// A dead letter is the message byte for byte, with what is known of its failure
// added; the offset moves once it is acknowledged and not before. While the topic
// does not take it, its partition stays and says so, and others go on.
func TestDeadLetterIsAcknowledgedFirst(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	cluster := b.Embedded()
	topic, group := b.Topic(2), b.Group()
	letters := group + ".dead"
	b.CreateTopic(letters, 1)
	key, value := []byte{0, 0xff, 'k'}, []byte("v\x00\xfe")
	headers := []sarama.RecordHeader{{Key: []byte("h"), Value: []byte{1, 2}}, {Key: []byte("h"), Value: nil}, {Key: []byte("racecar-dlq-attempts"), Value: []byte("9")}}
	produceRecord(t, b, &sarama.ProducerMessage{Topic: topic, Partition: 0, Key: sarama.ByteEncoder(key), Value: sarama.ByteEncoder(value), Headers: headers, Timestamp: time.UnixMilli(1_700_000_000_123)})
	produceRecord(t, b, &sarama.ProducerMessage{Topic: topic, Partition: 0, Value: nil, Timestamp: time.UnixMilli(1_700_000_000_124)}) // a tombstone without key
	b.Produce(topic, 0, "good")

	var away atomic.Bool
	away.Store(true)
	var refused atomic.Int32
	cluster.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if r.(*kmsg.ProduceRequest).Topics[0].Topic != letters || !away.Load() {
			return nil, nil, false
		}
		refused.Add(1)
		return nil, errors.New("the broker is away"), true
	})
	rec := newRecorder()
	reg := one(t, topic, func(_ context.Context, m *racecar.Message) error {
		if string(m.Value) == "good" || m.Partition == 1 {
			rec.add(m)
			return nil
		}
		return racecar.DeadLetter(errors.New("bad message"))
	})
	cfg := testConfig(b, group)
	cfg.DeadLetterTopic = letters
	clock := newTestClock()
	var hook logtest.Hook
	s := start(t, reg, cfg, func(o *Options) {
		o.clock = clock.clock()
		o.Log.AddHook(&hook)
	})
	waitFor(t, "the letter refused a few times", func() bool { return refused.Load() > 3 })
	if p := s.partition(0); p.State != status.PartitionBlocked || !strings.Contains(p.Reason, letters) {
		t.Errorf("partition 0 is %s (%s)", p.State, p.Reason)
	}
	clock.move(letterSlow)
	waitFor(t, "a word in the log", func() bool {
		return slices.ContainsFunc(hook.AllEntries(), func(e *logrus.Entry) bool {
			return strings.HasPrefix(e.Message, "the dead-letter topic does not take") && e.Data["partition"] == int32(0) && e.Data["dead_letter_topic"] == letters
		})
	})
	b.Produce(topic, 1, values(5)...)
	rec.await(t, 5) // the other partition goes on
	if c := b.Committed(group, topic, 0); c > 0 {
		t.Errorf("committed %d before the letter was there", c)
	}
	away.Store(false)
	rec.await(t, 6)
	waitFor(t, "the commit", func() bool { return b.Committed(group, topic, 0) == 3 })
	s.stop()

	got := readAll(t, b, letters, 2)
	first := got[0]
	if !bytes.Equal(first.Key, key) || !bytes.Equal(first.Value, value) {
		t.Errorf("key %q, value %q", first.Key, first.Value)
	}
	var own, ours []string
	for i, h := range first.Headers {
		if i < len(headers) {
			if !bytes.Equal(h.Key, headers[i].Key) || !bytes.Equal(h.Value, headers[i].Value) || (h.Value == nil) != (headers[i].Value == nil) {
				t.Errorf("header %d is %q: %q", i, h.Key, h.Value)
			}
			own = append(own, string(h.Key))
			continue
		}
		ours = append(ours, strings.TrimPrefix(string(h.Key), "racecar-dlq-")+"="+string(h.Value))
	}
	if len(own) != 3 || len(ours) != 8 {
		t.Fatalf("headers %q and %q", own, ours)
	}
	want := []string{"topic=" + topic, "partition=0", "offset=0", "timestamp=2023-11-14T22:13:20.123Z", "group=" + group, "error=bad message", "attempts=1"}
	if !slices.Equal(ours[:7], want) {
		t.Errorf("headers %q, want %q", ours, want)
	}
	if at, err := time.Parse(time.RFC3339Nano, strings.TrimPrefix(ours[7], "at=")); err != nil || time.Since(at) > time.Hour {
		t.Errorf("%q: %v", ours[7], err)
	}
	if got[1].Key != nil || got[1].Value != nil {
		t.Errorf("the tombstone became %q: %q", got[1].Key, got[1].Value)
	}
}

func produceRecord(t *testing.T, b *testbroker.Broker, m *sarama.ProducerMessage) {
	t.Helper()
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	conf.Producer.Return.Successes = true
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	p, err := sarama.NewSyncProducer(b.Addrs(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, _, err := p.SendMessage(m); err != nil {
		t.Fatal(err)
	}
}

// A dead letter that is acknowledged while its partition is paused moves the offset,
// and what is paused keeps no executor busy: other topics go on.
func TestDeadLetterOfAPausedPartition(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	cluster := b.Embedded()
	bad, other, group := b.Topic(1), b.Topic(1), b.Group()
	letters := group + ".dead"
	b.CreateTopic(letters, 1)
	b.Produce(bad, 0, values(2)...)
	var away atomic.Bool
	away.Store(true)
	var refused atomic.Int32
	cluster.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if r.(*kmsg.ProduceRequest).Topics[0].Topic != letters || !away.Load() {
			return nil, nil, false
		}
		refused.Add(1)
		return nil, errors.New("the broker is away"), true
	})
	rec := newRecorder()
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: bad}, {Topic: other}}}, func(racecar.Runtime) (*processor, error) {
		return &processor{process: func(_ context.Context, m *racecar.Message) error {
			rec.add(m)
			if m.Topic == bad && m.Offset == 0 {
				return racecar.DeadLetter(errors.New("bad message"))
			}
			return nil
		}}, nil
	})
	cfg := testConfig(b, group)
	cfg.DeadLetterTopic = letters
	s := start(t, reg, cfg)
	waitFor(t, "the letter on its way", func() bool { return refused.Load() > 0 })
	which := []wire.Partition{{Topic: bad, Partition: 0}}
	s.command(wire.Command{Kind: wire.CommandPause, Partitions: which})
	away.Store(false)
	waitFor(t, "the offset behind the letter", func() bool { return b.Committed(group, bad, 0) == 1 })
	b.Produce(other, 0, values(1)...)
	rec.await(t, 2)
	if got := rec.offsets(tp{bad, 0}); len(got) != 1 {
		t.Errorf("processed %v although paused", got)
	}
	s.command(wire.Command{Kind: wire.CommandResume, Partitions: which})
	rec.await(t, 3)
	s.stop()
	wantUpTo(t, rec.offsets(tp{bad, 0}), 2)
	wantUpTo(t, rec.offsets(tp{other, 0}), 1)
}

// A partition that waits for a dead letter, or for its output with produce_in_flight 1,
// does not wait for linger.ms as well.
func TestWaitedForOutputDoesNotLinger(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	const n = 20
	for name, process := range map[string]func(out racecar.Producer, to string) error{
		"dead letter": func(racecar.Producer, string) error { return racecar.DeadLetter(errors.New("bad")) },
		"output": func(out racecar.Producer, to string) error {
			return out.Produce(context.Background(), racecar.ProducerMessage{Topic: to, Value: []byte("v"), Partition: new(int32)})
		},
	} {
		from, to, group := b.Topic(1), b.Topic(1), b.Group()
		b.Produce(from, 0, values(n)...)
		cfg := testConfig(b, group)
		cfg.DeadLetterTopic, cfg.ProduceInFlight = to, 1
		cfg.Producer = []string{"linger.ms=5000"}
		rec := newRecorder()
		reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}}, func(rt racecar.Runtime) (*processor, error) {
			return &processor{process: func(_ context.Context, m *racecar.Message) error {
				defer rec.add(m)
				return process(rt.Producer, to)
			}}, nil
		})
		s := start(t, reg, cfg)
		s.running()
		began := time.Now()
		rec.await(t, n)
		if took := time.Since(began); took > seeds.AtMost(4*time.Second) {
			t.Errorf("%s: %d messages took %v", name, n, took)
		}
		s.stop()
	}
}
