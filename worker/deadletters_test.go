package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/config"
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
			last := s.exitReport()
			if !last.Permanent || !strings.Contains(last.Reason, c.want) || !strings.HasPrefix(last.Reason, "dead_letter_topic: ") ||
				!strings.Contains(last.Reason, group+".dead") || strings.Contains(last.Reason, "\n") {
				t.Errorf("last words %+v", last)
			}
			if got := rec.offsets(topicPartition{topic, 0}); len(got) > 0 {
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
	wantUpTo(t, rec.offsets(topicPartition{topic, 0}), 3)
}

// A dead letter is the message byte for byte, with what is known of its failure
// added; the offset moves once it is acknowledged and not before. While the topic
// does not take it, its partition stays and says so, and others go on.
func TestDeadLetterIsAcknowledgedFirst(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	cluster := b.Embedded()
	topic, group := b.Topic(2), b.Group()
	dlq := group + ".dead"
	b.CreateTopic(dlq, 1)
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
		if r.(*kmsg.ProduceRequest).Topics[0].Topic != dlq || !away.Load() {
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
	cfg.DeadLetterTopic = dlq
	clock := newTestClock()
	var hook logtest.Hook
	s := start(t, reg, cfg, func(o *Options) {
		o.clock = clock.clock()
		o.Log.AddHook(&hook)
	})
	waitFor(t, "the dead-letter record refused a few times", func() bool { return refused.Load() > 3 })
	if p := s.partition(0); p.State != status.PartitionBlocked || !strings.Contains(p.Reason, dlq) {
		t.Errorf("partition 0 is %s (%s)", p.State, p.Reason)
	}
	clock.move(deadLetterSlow)
	waitFor(t, "a word in the log", func() bool {
		return slices.ContainsFunc(hook.AllEntries(), func(e *logrus.Entry) bool {
			return strings.HasPrefix(e.Message, "the dead-letter topic does not take") && e.Data["partition"] == int32(0) && e.Data["dead_letter_topic"] == dlq
		})
	})
	b.Produce(topic, 1, values(5)...)
	rec.await(t, 5) // the other partition goes on
	if c := b.Committed(group, topic, 0); c > 0 {
		t.Errorf("committed %d before the dead-letter record was stored", c)
	}
	away.Store(false)
	rec.await(t, 6)
	waitFor(t, "the commit", func() bool { return b.Committed(group, topic, 0) == 3 })
	s.stop()

	got := readAll(t, b, dlq, 2)
	first := got[0]
	if !bytes.Equal(first.Key, key) || !bytes.Equal(first.Value, value) {
		t.Errorf("key %q, value %q", first.Key, first.Value)
	}
	var own, ours []string
	for i, h := range first.Headers {
		if i < 2 { // what the message says of a dead-letter topic is nobody's word
			if !bytes.Equal(h.Key, headers[i].Key) || !bytes.Equal(h.Value, headers[i].Value) || (h.Value == nil) != (headers[i].Value == nil) {
				t.Errorf("header %d is %q: %q", i, h.Key, h.Value)
			}
			own = append(own, string(h.Key))
			continue
		}
		ours = append(ours, strings.TrimPrefix(string(h.Key), "racecar-dlq-")+"="+string(h.Value))
	}
	if len(own) != 2 || len(ours) != 8 {
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
	dlq := group + ".dead"
	b.CreateTopic(dlq, 1)
	b.Produce(bad, 0, values(2)...)
	var away atomic.Bool
	away.Store(true)
	var refused atomic.Int32
	cluster.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if r.(*kmsg.ProduceRequest).Topics[0].Topic != dlq || !away.Load() {
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
	cfg.DeadLetterTopic = dlq
	s := start(t, reg, cfg)
	waitFor(t, "the dead-letter record on its way", func() bool { return refused.Load() > 0 })
	which := []wire.Partition{{Topic: bad, Partition: 0}}
	s.command(wire.Command{Kind: wire.CommandPause, Partitions: which})
	away.Store(false)
	waitFor(t, "the offset behind the dead letter", func() bool { return b.Committed(group, bad, 0) == 1 })
	b.Produce(other, 0, values(1)...)
	rec.await(t, 2)
	if got := rec.offsets(topicPartition{bad, 0}); len(got) != 1 {
		t.Errorf("processed %v although paused", got)
	}
	s.command(wire.Command{Kind: wire.CommandResume, Partitions: which})
	rec.await(t, 3)
	s.stop()
	wantUpTo(t, rec.offsets(topicPartition{bad, 0}), 2)
	wantUpTo(t, rec.offsets(topicPartition{other, 0}), 1)
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

// sendLarge produces messages that sarama's defaults would refuse.
func sendLarge(t *testing.T, b *testbroker.Broker, messages ...*sarama.ProducerMessage) {
	t.Helper()
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	conf.Producer.Return.Successes = true
	conf.Producer.MaxMessageBytes = 10 << 20
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	p, err := sarama.NewSyncProducer(b.Addrs(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, m := range messages {
		if _, _, err := p.SendMessage(m); err != nil {
			t.Fatal(err)
		}
	}
}

// A dead letter does not fail because of what the author's error says, nor is it bound
// to message.max.bytes: what the message's own topic took, the dead-letter topic takes.
func TestDeadLettersOfLargeMessages(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	sendLarge(t, b,
		&sarama.ProducerMessage{Topic: topic, Value: sarama.ByteEncoder(bytes.Repeat([]byte{'x'}, 600_000))},
		&sarama.ProducerMessage{Topic: topic, Value: sarama.ByteEncoder(bytes.Repeat([]byte{'y'}, 1_020_000))},
		&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder("next")})
	rec := newRecorder()
	reg := one(t, topic, func(_ context.Context, m *racecar.Message) error {
		rec.add(m)
		switch m.Offset {
		case 0:
			return fmt.Errorf("cannot parse %q", m.Value) // as many do
		case 1:
			return racecar.DeadLetter(errors.New("bad"))
		}
		return nil
	})
	cfg := testConfig(b, group)
	cfg.MaxRetries, cfg.DeadLetterTopic = 2, group+".dead"
	b.CreateTopic(cfg.DeadLetterTopic, 1)
	var logged atomic.Int64
	s := start(t, reg, cfg, func(o *Options) {
		o.Log.SetOutput(writerFunc(func(p []byte) (int, error) { logged.Add(int64(len(p))); return len(p), nil }))
	})
	waitFor(t, "the commit", func() bool { return b.Committed(group, topic, 0) == 3 })
	s.stop()
	if got := rec.offsets(topicPartition{topic, 0}); !slices.Equal(got, []int64{0, 0, 0, 1, 2}) {
		t.Errorf("called %v", got)
	}
	got := readAll(t, b, cfg.DeadLetterTopic, 2)
	if len(got[0].Value) != 600_000 || len(got[1].Value) != 1_020_000 || header(got[1], "racecar-dlq-truncated") != "" {
		t.Errorf("dead letters of %d and %d bytes, truncated %q", len(got[0].Value), len(got[1].Value), header(got[1], "racecar-dlq-truncated"))
	}
	if text := header(got[0], "racecar-dlq-error"); len(text) > maxErrorText+100 || !strings.HasSuffix(text, "… (cut, 600015 bytes)") {
		t.Errorf("the error has %d bytes: …%s", len(text), text[max(0, len(text)-50):])
	}
	if n := logged.Load(); n > 100_000 {
		t.Errorf("%d bytes of log", n)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// A record that the dead-letter topic does not take because of its size goes there
// without its value, those beside it as they are, and the partition goes on.
func TestTooLargeDeadLettersAreTruncated(t *testing.T) {
	t.Parallel()
	for _, transacted := range []bool{false, true} {
		t.Run(fmt.Sprintf("transactional %v", transacted), func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic, group := b.Topic(1), b.Group()
			dlq := group + ".dead"
			b.CreateTopicWith(dlq, 1, map[string]string{"max.message.bytes": "20000"})
			large := bytes.Repeat([]byte{'x'}, 30_000)
			sendLarge(t, b,
				&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder("small")},
				&sarama.ProducerMessage{
					Topic: topic, Key: sarama.StringEncoder("key"), Value: sarama.ByteEncoder(large),
					Headers: []sarama.RecordHeader{{Key: []byte("own"), Value: []byte("kept")}},
				},
				&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder("small too")},
				&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder("good")})
			var calls atomic.Int32
			reg := batchRegistration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}, Transactional: transacted}, func(_ context.Context, ms []*racecar.Message) error {
				if ms[0].Offset == 3 {
					return nil
				}
				calls.Add(1)
				return racecar.DeadLetter(errors.New("bad batch"))
			})
			cfg := testConfig(b, group)
			if transacted {
				cfg = txnConfig(b, group)
			}
			cfg.DeadLetterTopic, cfg.FetchMessages, cfg.MaxWaitTime = dlq, 3, 2*time.Second
			s := start(t, reg, cfg)
			waitFor(t, "the commit", func() bool { return b.Committed(group, topic, 0) == 4 })
			if n := s.status().Counters[status.CountDeadLetters]; n != 3 {
				t.Errorf("counted %d dead letters", n)
			}
			s.stop()
			if n := calls.Load(); n != 1 {
				t.Errorf("%d calls", n)
			}
			values := map[string]string{}
			for _, m := range readSome(t, b, dlq, 3, sarama.ReadCommitted) {
				values[string(m.Value)] = header(m, "racecar-dlq-truncated")
				if m.Value == nil && (string(m.Key) != "key" || header(m, "own") != "kept" || header(m, "racecar-dlq-offset") != "1") {
					t.Errorf("the truncated record has key %q and headers %v", m.Key, m.Headers)
				}
			}
			if want := map[string]string{"small": "", "": "value", "small too": ""}; !maps.Equal(values, want) {
				t.Errorf("dead letters %q, want %q", values, want)
			}
		})
	}
}

// A dead letter that its topic refuses for another reason blocks its partition, and that
// one alone: nothing is committed, and the record, not the call, is retried once a
// minute and when the partition is resumed.
func TestRefusedDeadLettersBlock(t *testing.T) {
	t.Parallel()
	for _, transacted := range []bool{false, true} {
		t.Run(fmt.Sprintf("transactional %v", transacted), func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic, group := b.Topic(2), b.Group()
			dlq := group + ".dead"
			b.CreateTopic(dlq, 1)
			b.Produce(topic, 0, values(2)...)
			var allowed atomic.Bool
			refuseProduce(b, dlq, kerr.TopicAuthorizationFailed.Code, func() bool { return !allowed.Load() })
			rec := newRecorder()
			spec := racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}, Transactional: transacted}
			reg := registration(t, spec, func(racecar.Runtime) (*processor, error) {
				return &processor{process: func(_ context.Context, m *racecar.Message) error {
					rec.add(m)
					if m.Partition == 0 && m.Offset == 0 {
						return racecar.DeadLetter(errors.New("bad message"))
					}
					return nil
				}}, nil
			})
			cfg := testConfig(b, group)
			if transacted {
				cfg = txnConfig(b, group)
			}
			cfg.DeadLetterTopic = dlq
			clock := newTestClock()
			s := start(t, reg, cfg, func(o *Options) { o.clock = clock.clock() })
			blocked := func() bool {
				p := s.partition(0)
				return p.State == status.PartitionBlocked && strings.Contains(p.Reason, dlq) && strings.Contains(p.Reason, "not authorized") && p.Until != nil
			}
			waitFor(t, "the partition blocked", blocked)
			b.Produce(topic, 1, values(5)...)
			rec.await(t, 6) // the other one goes on
			pauses := func() uint64 { return s.status().Counters[status.CountPauses] }
			before := pauses()
			clock.move(blockedPause)
			waitFor(t, "another try after a minute", func() bool { return pauses() == before+1 && blocked() })
			if c := b.Committed(group, topic, 0); c > 0 {
				t.Errorf("committed %d", c)
			}
			allowed.Store(true)
			s.command(wire.Command{Kind: wire.CommandResume, Partitions: []wire.Partition{{Topic: topic, Partition: 0}}})
			waitFor(t, "the commit", func() bool { return b.Committed(group, topic, 0) == 2 })
			if code := s.stop(); code != wire.ExitOK {
				t.Errorf("exit code %d", code)
			}
			if got := rec.offsets(topicPartition{topic, 0}); !slices.Equal(got, []int64{0, 1}) {
				t.Errorf("called %v", got)
			}
			if got := readAll(t, b, dlq, 1)[0]; string(got.Value) != "value-0" {
				t.Errorf("dead-lettered %q", got.Value)
			}
		})
	}
}

// A worker that is stopped while a partition is blocked does not wait for it: its next
// owner calls the message again.
func TestStopWhileADeadLetterIsBlocked(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	dlq := group + ".dead"
	b.CreateTopic(dlq, 1)
	b.Produce(topic, 0, values(2)...)
	refuseProduce(b, dlq, kerr.TopicAuthorizationFailed.Code, always)
	cfg := testConfig(b, group)
	cfg.DeadLetterTopic = dlq
	s := start(t, one(t, topic, func(context.Context, *racecar.Message) error { return racecar.DeadLetter(errors.New("bad")) }), cfg)
	waitFor(t, "the partition blocked", func() bool { return s.partition(0).State == status.PartitionBlocked && s.partition(0).Until != nil })
	began := time.Now()
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if d := time.Since(began); d > cfg.ShutdownTimeout/2 {
		t.Errorf("the stop took %v", d)
	}
	if c := b.Committed(group, topic, 0); c > 0 {
		t.Errorf("committed %d", c)
	}
}

// A compacted dead-letter topic, which takes no record without a key, gets one: where
// the message came from. It is warned about, since it forgets dead letters.
func TestCompactedDeadLetterTopic(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"known at start", "found out", "found out, transactional"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic, group := b.Topic(1), b.Group()
			dlq := group + ".dead"
			b.Produce(topic, 0, "bad", "good")
			cfg := testConfig(b, group)
			spec := racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}, Transactional: strings.Contains(how, "transactional")}
			if cfg.DeadLetterTopic = dlq; spec.Transactional {
				cfg.TransactionInterval, cfg.TransactionMessages = 50*time.Millisecond, 100
			}
			var hook logtest.Hook
			if how == "known at start" {
				b.CreateTopicWith(dlq, 1, map[string]string{"cleanup.policy": "compact"})
			} else {
				b.CreateTopic(dlq, 1)
				var tries atomic.Int32
				refuseProduce(b, dlq, kerr.InvalidRecord.Code, func() bool { return tries.Add(1) == 1 })
			}
			reg := registration(t, spec, func(racecar.Runtime) (*processor, error) {
				return &processor{process: func(_ context.Context, m *racecar.Message) error {
					if m.Offset == 0 {
						return racecar.DeadLetter(errors.New("bad message"))
					}
					return nil
				}}, nil
			})
			s := start(t, reg, cfg, func(o *Options) { o.Log.AddHook(&hook) })
			waitFor(t, "the commit", func() bool { return b.Committed(group, topic, 0) == 2 })
			s.stop()
			got := readAll(t, b, dlq, 1)[0]
			if string(got.Key) != topic+"/0/0" || header(got, "racecar-dlq-no-key") != "true" || string(got.Value) != "bad" {
				t.Errorf("key %q, value %q, headers %v", got.Key, got.Value, got.Headers)
			}
			warned := slices.ContainsFunc(hook.AllEntries(), func(e *logrus.Entry) bool {
				return strings.HasPrefix(e.Message, "the dead-letter topic is compacted") && e.Data["topic"] == dlq
			})
			if warned != (how == "known at start") {
				t.Errorf("warned: %v", warned)
			}
		})
	}
}

// Consumers whose patterns match the others' dead-letter topics do not consume those:
// what failed would go round between them.
func TestDeadLettersDoNotGoRound(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	prefix := b.Group()
	in, named := prefix+".in", prefix+".failed"
	for _, topic := range []string{in, named, prefix + ".a.dlq", prefix + ".b.dlq"} {
		b.CreateTopic(topic, 1)
	}
	b.Produce(in, 0, values(3)...)
	rec := newRecorder()
	var all []*supervisor
	for _, dlq := range []string{prefix + ".a.dlq", prefix + ".b.dlq", named} {
		spec := racecar.Spec{Subscriptions: []racecar.Subscription{{TopicPattern: regexp.QuoteMeta(prefix) + `\..*`}}, DeadLetterTopic: dlq}
		reg := registration(t, spec, func(racecar.Runtime) (*processor, error) {
			return &processor{process: func(_ context.Context, m *racecar.Message) error {
				rec.add(m)
				return racecar.DeadLetter(errors.New("bad"))
			}}, nil
		})
		cfg := testConfig(b, dlq+".group")
		cfg.DeadLetterTopic = dlq
		all = append(all, start(t, reg, cfg))
	}
	for _, s := range all {
		s.running()
		waitFor(t, "the dead letters", func() bool { return s.status().Counters[status.CountDeadLetters] == 3 })
		for _, p := range s.status().Partitions {
			if p.Topic != in {
				t.Errorf("%s is consumed", p.Topic)
			}
		}
		s.stop()
	}
	if got := len(rec.offsets(topicPartition{in, 0})); got != 9 || rec.n != 9 {
		t.Errorf("%d calls, %d for the first topic, want 9", rec.n, got)
	}
}

// A pattern takes dead-letter topics if it names them; its own it never takes.
func TestPatternsThatNameDeadLetterTopics(t *testing.T) {
	registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: "x"}}, DeadLetterTopic: "orders.rejected"}, func(racecar.Runtime) (*processor, error) { return nil, nil })
	w := &worker{cfg: config.Config{DeadLetterTopic: "mine.dlq"}}
	for _, c := range []struct {
		pattern, topic string
		want           bool
	}{
		{`orders\..*`, "orders.eu", false},
		{`orders\..*`, "orders.eu.dlq", true},
		{`orders\..*`, "orders.rejected", true},
		{`orders\..*\.dlq`, "orders.eu.dlq", false},
		{`(orders|invoices)\.dlq`, "orders.dlq", false},
		{`(.*\.dlq)$`, "orders.dlq", false},
		{`.*\.rejected`, "orders.rejected", false},
		{`.*\.dlq`, "orders.rejected", true},
		{`.*\.dlq`, "mine.dlq", true},
	} {
		if got := w.leavesOut(c.pattern, c.topic); got != c.want {
			t.Errorf("%s leaves %s out: %v", c.pattern, c.topic, got)
		}
	}
}

// A dead-letter record that a pattern brings in all the same, since nobody here knows
// its topic for what it is, is not dead-lettered again.
func TestDeadLettersInUnknownTopicsAreSkipped(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	prefix := b.Group()
	in := prefix + ".elsewhere"
	b.CreateTopic(in, 1)
	from := func(topic string) []sarama.RecordHeader {
		return []sarama.RecordHeader{{Key: []byte("racecar-dlq-topic"), Value: []byte(topic)}}
	}
	for i, headers := range [][]sarama.RecordHeader{from("orders"), from("orders"), from(in), nil} {
		produceRecord(t, b, &sarama.ProducerMessage{Topic: in, Value: sarama.StringEncoder(fmt.Sprint(i)), Headers: headers})
	}
	spec := racecar.Spec{Subscriptions: []racecar.Subscription{{TopicPattern: regexp.QuoteMeta(prefix) + `\..*`}}}
	reg := registration(t, spec, func(racecar.Runtime) (*processor, error) {
		return &processor{process: func(context.Context, *racecar.Message) error { return racecar.DeadLetter(errors.New("bad")) }}, nil
	})
	cfg := testConfig(b, prefix)
	cfg.DeadLetterTopic = prefix + "-dead"
	b.CreateTopic(cfg.DeadLetterTopic, 1)
	var hook logtest.Hook
	s := start(t, reg, cfg, func(o *Options) { o.Log.AddHook(&hook) })
	waitFor(t, "the commit", func() bool { return b.Committed(prefix, in, 0) == 4 })
	if c := s.status().Counters; c[status.CountSkipped] != 2 || c[status.CountDeadLetters] != 2 || c[status.CountMessages] != 4 {
		t.Errorf("counted %v", c)
	}
	s.stop()
	for i, m := range readAll(t, b, cfg.DeadLetterTopic, 2) {
		if string(m.Value) != fmt.Sprint(i+2) || header(m, "racecar-dlq-topic") != in {
			t.Errorf("dead letter %d is %q from %q", i, m.Value, header(m, "racecar-dlq-topic"))
		}
	}
	logged := 0
	for _, e := range hook.AllEntries() {
		if strings.HasPrefix(e.Message, "the pattern of a subscription matches a dead-letter topic") {
			logged++
		}
	}
	if logged != 1 {
		t.Errorf("logged %d times", logged)
	}
}

// A dead letter that fails again in a consumer of dead letters keeps its first origin, so
// that a replay sends it home; the headers of its earlier failure are replaced.
func TestDeadLettersOfDeadLetters(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	group := b.Group()
	first, second := group+".dlq", group+".dlq.dlq"
	b.CreateTopic(first, 1)
	b.CreateTopic(second, 1)
	var headers []sarama.RecordHeader
	for name, value := range map[string]string{
		"topic": "orders", "partition": "7", "offset": "42", "timestamp": "2023-11-14T22:13:20Z", "group": "shop", "error": "the first", "attempts": "9", "truncated": "headers", "no-key": "true",
	} {
		headers = append(headers, sarama.RecordHeader{Key: []byte("racecar-dlq-" + name), Value: []byte(value)})
	}
	produceRecord(t, b, &sarama.ProducerMessage{Topic: first, Key: sarama.StringEncoder("k"), Value: sarama.StringEncoder("v"), Headers: headers})
	reg := one(t, first, func(context.Context, *racecar.Message) error { return racecar.DeadLetter(errors.New("the second")) })
	cfg := testConfig(b, group)
	cfg.DeadLetterTopic = second
	s := start(t, reg, cfg)
	waitFor(t, "the commit", func() bool { return b.Committed(group, first, 0) == 1 })
	s.stop()
	m := readAll(t, b, second, 1)[0]
	got := map[string]string{}
	for _, h := range m.Headers {
		name := strings.TrimPrefix(string(h.Key), "racecar-dlq-")
		if _, twice := got[name]; twice {
			t.Errorf("%s is there twice", name)
		}
		got[name] = string(h.Value)
	}
	for name, want := range map[string]string{
		"topic": "orders", "partition": "7", "offset": "42", "timestamp": "2023-11-14T22:13:20Z", "group": group, "error": "the second", "attempts": "1", "truncated": "headers", "no-key": "true",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
}

// A dead letter that waits to be sent again does not survive that its partition is set
// back to an earlier message, whose output is lost: that one is called again first.
func TestLostOutputBeforeABlockedDeadLetter(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	from, to, group := b.Topic(1), b.Topic(1), b.Group()
	dlq := group + ".dead"
	b.CreateTopic(dlq, 1)
	b.Produce(from, 0, values(3)...)
	var allowed atomic.Bool
	refuseProduce(b, dlq, kerr.TopicAuthorizationFailed.Code, func() bool { return !allowed.Load() })
	var first sync.Once
	rec := newRecorder()
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}}, func(rt racecar.Runtime) (*processor, error) {
		return &processor{process: func(ctx context.Context, m *racecar.Message) error {
			rec.add(m)
			switch m.Offset {
			case 0:
				topic := to
				first.Do(func() { topic = "no such topic!" }) // times out
				return rt.Producer.Produce(ctx, racecar.ProducerMessage{Topic: topic, Value: m.Value, Partition: new(int32)})
			case 1:
				return racecar.DeadLetter(errors.New("bad"))
			}
			return nil
		}}, nil
	})
	cfg := testConfig(b, group)
	cfg.DeadLetterTopic, cfg.MessageTimeout = dlq, enough
	s := start(t, reg, cfg)
	waitFor(t, "the partition blocked", func() bool { return s.partition(0).State == status.PartitionBlocked && s.partition(0).Until != nil })
	waitFor(t, "the output lost", func() bool { return s.status().Counters[status.CountProduceErrors] == 1 })
	allowed.Store(true)
	s.command(wire.Command{Kind: wire.CommandResume, Partitions: []wire.Partition{{Topic: from, Partition: 0}}})
	waitFor(t, "the commit", func() bool { return b.Committed(group, from, 0) == 3 })
	s.stop()
	if got := rec.offsets(topicPartition{from, 0}); len(got) < 5 || !slices.Equal(got[:3], []int64{0, 1, 0}) || got[len(got)-1] != 2 {
		t.Errorf("called %v", got)
	}
	if got := readAll(t, b, to, 1)[0]; string(got.Value) != "value-0" {
		t.Errorf("output %q", got.Value)
	}
	if got := readAll(t, b, dlq, 1)[0]; string(got.Value) != "value-1" {
		t.Errorf("dead-lettered %q", got.Value)
	}
}

// A message whose last attempt ends while its partition is revoked is dead-lettered before
// the partition is released.
func TestDeadLetterWhileThePartitionIsRevoked(t *testing.T) {
	for range 3 {
		b := testbroker.New(t)
		topic, group := b.Topic(8), b.Group()
		for range 10 {
			b.Produce(topic, 3, "value")
		}
		failing := make(chan struct{}, 10)
		cfg := testConfig(b, group)
		cfg.MaxRetries, cfg.DeadLetterTopic, cfg.PauseTimeout = 2, group+".dead", 100*time.Millisecond
		b.CreateTopic(cfg.DeadLetterTopic, 1)
		cfg.OnError = func(_ context.Context, _ error, info racecar.ErrorInfo) {
			if info.Retries == 2 {
				failing <- struct{}{}
				<-time.After(30 * time.Millisecond)
			}
		}
		s := start(t, one(t, topic, func(_ context.Context, m *racecar.Message) error {
			clear(m.Value) // the message is fetched again before it is dead-lettered
			if m.Offset == 4 {
				return errors.New("bad")
			}
			return nil
		}), cfg)
		<-failing
		s.stop()
		if c := b.Committed(group, topic, 3); c != 5 {
			t.Errorf("committed %d", c)
		}
		if got := readAll(t, b, cfg.DeadLetterTopic, 1)[0]; string(got.Value) != "value" || header(got, "racecar-dlq-attempts") != "3" {
			t.Errorf("dead-lettered %q after %s attempts", got.Value, header(got, "racecar-dlq-attempts"))
		}
	}
}
