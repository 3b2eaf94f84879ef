package fetch_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/racecar-go/racecar/kafka/fetch"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
	"github.com/racecar-go/racecar/test/seeds"
)

func (r *reader) movedOnce(want fetch.Moved) {
	r.t.Helper()
	r.until("jump", func() bool { return len(r.moved) > 0 })
	got := r.moved[0]
	got.TopicID = [16]byte{}
	if len(r.moved) != 1 || got != want {
		r.t.Errorf("moved %+v, want %+v", r.moved, want)
	}
}

func TestRetentionDeletesUnreadMessages(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(1)
	produce(t, b, topic, 1, 100, 1)
	f := newFetcher(t, b.Addrs(), nil)
	running := add(t, f, topic, 0, nothing, fetch.End)
	running.start()
	deleteRecords(t, b, topic, 50)
	running.p.SeekTo(5)
	running.movedOnce(fetch.Moved{From: 5, To: 50, Reason: fetch.LogStartMoved})
	running.has(span(50, 100)...)
	for name, from := range map[string]fetch.StartFrom{"beginning": fetch.Beginning, "end": fetch.End} {
		r := add(t, f, topic, 0, startAt(5), from)
		if s := r.start(); s.Offset != 50 || s.Reason != fetch.LogStartMoved || s.Committed != 5 {
			t.Errorf("%s: begins at %+v", name, s)
		}
		r.has(span(50, 100)...)
	}
}

func TestTopicCreatedAgain(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(1)
	produce(t, b, topic, 1, 10, 1)
	f := newFetcher(t, b.Addrs(), nil)
	r := add(t, f, topic, 0, nothing, fetch.Beginning)
	first := r.start()
	r.has(span(0, 10)...)
	b.DeleteTopic(topic)
	r.until("error", func() bool { return r.p.Err() != nil })
	b.CreateTopic(topic, 1)
	produce(t, b, topic, 1, 20, 1)
	r.offsets = nil
	r.until("messages of the new topic", func() bool { return len(r.offsets) == 20 })
	if len(r.moved) != 1 || r.moved[0].From != 10 || r.moved[0].To != 0 || r.moved[0].Reason != fetch.AnotherTopic || r.moved[0].TopicID == first.TopicID {
		t.Errorf("moved %+v", r.moved)
	}
	if !slices.Equal(r.offsets, span(0, 20)) {
		t.Errorf("offsets %v", r.offsets)
	}
	again := add(t, f, topic, 0, first.Position, fetch.End)
	if s := again.start(); s.Offset != 0 || s.Reason != fetch.AnotherTopic {
		t.Errorf("begins at %+v", s)
	}
	again.has(span(0, 20)...)
}

// What moves from broker to broker is fetched once, and in order.
func TestLeadersMove(t *testing.T) {
	b := testbroker.New(t, kfake.NumBrokers(3))
	cluster := b.Embedded()
	topic := b.Topic(4)
	f := newFetcher(t, b.Addrs(), nil)
	var rs []*reader
	for n := range int32(4) {
		rs = append(rs, add(t, f, topic, n, nothing, fetch.Beginning))
	}
	for round := range 6 {
		produce(t, b, topic, 4, 200, 50)
		cluster.ShufflePartitionLeaders()
		for _, r := range rs {
			r.has(span(0, int64(200*(round+1)))...)
		}
	}
	for _, r := range rs {
		if len(r.moved) > 0 {
			t.Errorf("moved %+v", r.moved)
		}
	}
}

// A new leader whose log ends before what we fetched of its predecessor's is found out
// before anything is fetched of it (KIP-320).
func TestTruncatedByANewLeader(t *testing.T) {
	for name, c := range map[string]struct {
		end    int64
		kafka  *kversion.Versions
		moved  fetch.Moved
		offset []int64
	}{
		"known":           {60, kversion.Stable(), fetch.Moved{From: 100, To: 60, Reason: fetch.Truncated}, span(60, 100)},
		"unknown":         {-1, kversion.Stable(), fetch.Moved{}, nil},
		"unknown, no ids": {-1, kversion.V2_4_0(), fetch.Moved{From: 100, To: 0, Reason: fetch.AnotherTopic}, span(0, 100)},
		"not truncated":   {100, kversion.Stable(), fetch.Moved{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := testbroker.New(t, kfake.NumBrokers(2), kfake.MaxVersions(c.kafka))
			cluster := b.Embedded()
			topic := b.Topic(1)
			produce(t, b, topic, 1, 100, 1)
			f := newFetcher(t, b.Addrs(), nil)
			r := add(t, f, topic, 0, startAt(0), fetch.Beginning)
			r.start()
			r.has(span(0, 100)...)
			var asked atomic.Int64
			cluster.ControlKey(kmsg.OffsetForLeaderEpoch.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
				asked.Add(1)
				resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
				rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
				rt.Topic = topic
				rt.Partitions = []kmsg.OffsetForLeaderEpochResponseTopicPartition{{EndOffset: c.end, LeaderEpoch: 0}}
				resp.Topics = append(resp.Topics, rt)
				return resp, nil, true
			})
			r.offsets = nil
			leader := cluster.LeaderFor(topic, 0)
			if err := cluster.MoveTopicPartition(topic, 0, 1-leader); err != nil {
				t.Fatal(err)
			}
			r.until("question for the epoch's end", func() bool { return asked.Load() > 0 })
			if c.moved != (fetch.Moved{}) {
				r.movedOnce(c.moved)
			}
			r.has(c.offset...)
			produce(t, b, topic, 1, 1, 1)
			r.has(append(c.offset, 100)...)
		})
	}
}

// A broker that is frozen holds a partition up no longer than until it has another leader.
func TestFrozenBroker(t *testing.T) {
	b := testbroker.New(t, kfake.NumBrokers(2))
	cluster := b.Embedded()
	topic := b.Topic(1)
	produce(t, b, topic, 1, 10, 1)
	leader := cluster.LeaderFor(topic, 0)
	frozen := b.Addrs()[leader]
	var freeze atomic.Bool
	f := newFetcher(t, b.Addrs(), func(o *fetch.Options) {
		o.Config.MaxWaitTime = 100 * time.Millisecond
		o.Access = tap{access: access{b.Addrs()}, answer: func(addr string, _ kmsg.Request, frame []byte) []byte {
			if addr == frozen && freeze.Load() {
				return nil // as if it never came
			}
			return frame
		}}
	})
	r := add(t, f, topic, 0, nothing, fetch.Beginning)
	r.start()
	r.has(span(0, 10)...)
	freeze.Store(true)
	if err := cluster.MoveTopicPartition(topic, 0, 1-leader); err != nil {
		t.Fatal(err)
	}
	produce(t, b, topic, 1, 10, 1)
	began := time.Now()
	r.has(span(0, 20)...)
	if took := time.Since(began); took > seeds.AtMost(10*time.Second) {
		t.Errorf("took %v", took)
	}
}

func TestFetchesFromFollower(t *testing.T) {
	b := testbroker.New(t, kfake.NumBrokers(2))
	cluster := b.Embedded()
	topic := b.Topic(1)
	produce(t, b, topic, 1, 100, 1)
	leader := cluster.LeaderFor(topic, 0)
	follower := 1 - leader
	cluster.SetFollowers(topic, 0, []int32{follower})
	var fromFollower, ranges atomic.Int64
	var outOfRange atomic.Bool
	f := newFetcher(t, b.Addrs(), func(o *fetch.Options) {
		o.Rack = "near"
		o.Config.MaxWaitTime = 100 * time.Millisecond
		o.Access = tap{access: access{b.Addrs()}, answer: func(addr string, req kmsg.Request, frame []byte) []byte {
			if !isFetch(req) {
				return frame
			}
			return reencode(req, frame, func(r *kmsg.FetchResponse) {
				for i := range r.Topics {
					for j := range r.Topics[i].Partitions {
						p := &r.Topics[i].Partitions[j]
						switch {
						case addr == b.Addrs()[leader]: // as a broker answers that knows of a replica in the rack
							p.PreferredReadReplica, p.RecordBatches = follower, nil
						case outOfRange.CompareAndSwap(true, false):
							ranges.Add(1)
							p.ErrorCode, p.RecordBatches = 1, nil
						case len(p.RecordBatches) > 0:
							fromFollower.Add(1)
						}
					}
				}
			})
		}}
	})
	r := add(t, f, topic, 0, nothing, fetch.Beginning)
	r.start()
	r.has(span(0, 100)...)
	outOfRange.Store(true)
	produce(t, b, topic, 1, 100, 1)
	r.has(span(0, 200)...)
	r.until("answer of a follower that is behind", func() bool { return ranges.Load() > 0 })
	if fromFollower.Load() < 2 || len(r.moved) > 0 {
		t.Errorf("%d answers of the follower, moved %v", fromFollower.Load(), r.moved)
	}
}

// A replica that our metadata does not know yet is asked for, and the leader again meanwhile.
func TestUnknownReplica(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(1)
	produce(t, b, topic, 1, 10, 1)
	var known atomic.Bool
	var lookups atomic.Int64
	f := newFetcher(t, b.Addrs(), func(o *fetch.Options) {
		o.Access = tap{access: access{b.Addrs()}, answer: func(_ string, req kmsg.Request, frame []byte) []byte {
			if req.Key() == kmsg.Metadata.Int16() {
				lookups.Add(1)
			}
			if !isFetch(req) || known.Load() {
				return frame
			}
			return reencode(req, frame, func(r *kmsg.FetchResponse) {
				for i := range r.Topics {
					r.Topics[i].Partitions[0].PreferredReadReplica, r.Topics[i].Partitions[0].RecordBatches = 77, nil
				}
			})
		}}
	})
	r := add(t, f, topic, 0, nothing, fetch.Beginning)
	r.start()
	r.until("error", func() bool { return r.p.Err() != nil })
	r.until("look-up", func() bool { return lookups.Load() > 1 })
	known.Store(true)
	r.has(span(0, 10)...)
	if err := r.p.Err(); err != nil {
		t.Error(err)
	}
}

// Only the leader says where the log ends of a partition that a follower has filled.
func TestWatermarksWhileAFollowerIsFetchedFrom(t *testing.T) {
	b := testbroker.New(t, kfake.NumBrokers(2))
	cluster := b.Embedded()
	topic := b.Topic(1)
	produce(t, b, topic, 1, 4000, 1000, batches)
	leader := cluster.LeaderFor(topic, 0)
	follower := 1 - leader
	cluster.SetFollowers(topic, 0, []int32{follower})
	log, lines := logtest.NewNullLogger()
	log.SetLevel(logrus.DebugLevel)
	f := newFetcher(t, b.Addrs(), func(o *fetch.Options) {
		small(o)
		o.Log = log
		o.Access = tap{access: access{b.Addrs()}, answer: func(addr string, req kmsg.Request, frame []byte) []byte {
			if !isFetch(req) || addr != b.Addrs()[leader] {
				return frame
			}
			return reencode(req, frame, func(r *kmsg.FetchResponse) {
				for i := range r.Topics {
					r.Topics[i].Partitions[0].PreferredReadReplica, r.Topics[i].Partitions[0].RecordBatches = follower, nil
				}
			})
		}}
	})
	r := add(t, f, topic, 0, nothing, fetch.Beginning)
	r.start()
	full(t, f, []*reader{r})
	produce(t, b, topic, 1, 1000, 1000)
	r.untilIdle("new end", func() bool { _, stable, _ := r.p.Watermarks(); return stable == 5000 })
	r.has(span(0, 5000)...)
	for _, e := range lines.AllEntries() {
		t.Errorf("%s: %v", e.Message, e.Data)
	}
}

func TestPartitionWithoutLeaderDoesNotDelayOthers(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(2)
	produce(t, b, topic, 2, 10, 1)
	var back atomic.Bool
	f := newFetcher(t, b.Addrs(), func(o *fetch.Options) {
		o.Access = tap{access: access{b.Addrs()}, answer: func(_ string, req kmsg.Request, frame []byte) []byte {
			if req.Key() != kmsg.Metadata.Int16() || back.Load() {
				return frame
			}
			resp := kmsg.NewPtrMetadataResponse()
			resp.Version = req.GetVersion()
			if err := resp.ReadFrom(frame[9:]); err != nil {
				panic(err)
			}
			for i := range resp.Topics[0].Partitions {
				if p := &resp.Topics[0].Partitions[i]; p.Partition == 1 {
					p.ErrorCode, p.Leader = 5, -1
				}
			}
			out := resp.AppendTo(append([]byte{}, frame[:9]...))
			n := len(out) - 4
			copy(out, []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
			return out
		}}
	})
	alone, other := add(t, f, topic, 1, nothing, fetch.Beginning), add(t, f, topic, 0, nothing, fetch.Beginning)
	other.start()
	other.has(span(0, 10)...)
	alone.until("error", func() bool { return alone.p.Err() != nil })
	back.Store(true)
	alone.start()
	alone.has(span(0, 10)...)
}

func TestTransactions(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(1)
	cl := transactional(t, b, topic)
	transaction := func(commit kgo.TransactionEndTry, values ...string) {
		t.Helper()
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			if err := cl.ProduceSync(t.Context(), kgo.StringRecord(v)).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := cl.EndTransaction(t.Context(), commit); err != nil {
			t.Fatal(err)
		}
	}
	transaction(kgo.TryCommit, "a", "b")
	transaction(kgo.TryAbort, "lost", "lost")
	transaction(kgo.TryCommit, "c")
	transaction(kgo.TryAbort, "lost")
	for _, committed := range []bool{true, false} {
		t.Run(fmt.Sprint("committed ", committed), func(t *testing.T) {
			f := newFetcher(t, b.Addrs(), func(o *fetch.Options) { o.ReadCommitted = committed })
			r := add(t, f, topic, 0, nothing, fetch.Beginning)
			r.start()
			r.until("end", func() bool {
				next, caughtUp := r.p.Fetched()
				_, _, high := r.p.Watermarks()
				return caughtUp && next == high && r.from == high
			})
			want := []string{"a", "b", "c"}
			if !committed {
				want = []string{"a", "b", "lost", "lost", "c", "lost"}
			}
			if !slices.Equal(r.values, want) {
				t.Errorf("%v, want %v", r.values, want)
			}
		})
	}
}

// transactional returns a producer of transactions.
func transactional(t *testing.T, b *testbroker.Broker, topic string) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.TransactionalID(topic), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// A partition whose next message belongs to an open transaction waits as one at its end does.
func TestOpenTransaction(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(1)
	cl := transactional(t, b, topic)
	send(t, b.Addrs(), topic, kgo.StringRecord("before"))
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(t.Context(), kgo.StringRecord("open")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	produce(t, b, topic, 1, 3, 1)
	var seen requests
	f := newFetcher(t, b.Addrs(), func(o *fetch.Options) {
		o.Access = tap{access: access{b.Addrs()}, request: seen.add}
		o.Config.MaxWaitTime = 200 * time.Millisecond
	})
	r := add(t, f, topic, 0, nothing, fetch.Beginning)
	r.start()
	r.until("wait", func() bool { _, caughtUp := r.p.Fetched(); return caughtUp && len(seen.seen()) > 8 })
	began, before := time.Now(), len(seen.seen())
	r.until("second", func() bool { return time.Since(began) > time.Second })
	if n := len(seen.seen()) - before; n > 20 {
		t.Errorf("%d requests in a second", n)
	}
	if err := cl.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	r.until("rest", func() bool { return len(r.values) == 5 })
	if want := []string{"before", "open", "0", "1", "2"}; !slices.Equal(r.values, want) {
		t.Errorf("%v, want %v", r.values, want)
	}
}

func TestRecordsLargerThanMaxBytes(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(2)
	produce(t, b, topic, 2, 5, 700_000, kgo.ProducerBatchMaxBytes(1_000_000))
	f := newFetcher(t, b.Addrs(), func(o *fetch.Options) { o.Config.MaxBytes = 100_000 })
	for n := range int32(2) {
		r := add(t, f, topic, n, nothing, fetch.Beginning)
		r.start()
		r.has(span(0, 5)...)
	}
}

func TestCompactedLog(t *testing.T) {
	b := testbroker.New(t)
	cluster := b.Embedded()
	topic := b.Group() // a name
	b.CreateTopicWith(topic, 1, map[string]string{"cleanup.policy": "compact"})
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for i := range 30 {
		if err := cl.ProduceSync(t.Context(), kgo.KeyStringRecord(fmt.Sprint(i%3), fmt.Sprint(i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	cluster.Compact()
	f := newFetcher(t, b.Addrs(), nil)
	r := add(t, f, topic, 0, startAt(2), fetch.Beginning)
	r.start()
	r.until("end", func() bool { next, caughtUp := r.p.Fetched(); return caughtUp && next == 30 && r.from == 30 })
	if n := len(r.offsets); n >= 28 || n < 3 || !slices.IsSorted(r.offsets) || !slices.Equal(r.offsets[n-3:], span(27, 30)) || len(r.moved) > 0 {
		t.Errorf("offsets %v, moved %v", r.offsets, r.moved)
	}
}
