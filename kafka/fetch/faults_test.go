package fetch_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/racecar-go/racecar/kafka/fetch"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// nonsense returns answers to Fetch that no broker gives, with the error expected for each.
func nonsense() map[string]absurdity {
	resized := func(n uint32) func(kmsg.Request, []byte) []byte {
		return func(_ kmsg.Request, frame []byte) []byte {
			binary.BigEndian.PutUint32(frame, n)
			return frame
		}
	}
	changed := func(change func(*kmsg.FetchResponseTopicPartition)) func(kmsg.Request, []byte) []byte {
		return func(req kmsg.Request, frame []byte) []byte {
			return reencode(req, frame, func(r *kmsg.FetchResponse) { change(&r.Topics[0].Partitions[0]) })
		}
	}
	return map[string]absurdity{

		"correlation": {func(_ kmsg.Request, frame []byte) []byte { frame[7]++; return frame }, "came to request"},
		"too large":   {resized(2 << 30), "announces 2147483648 bytes"},
		"too small":   {resized(3), "announces 3 bytes"},
		"cut": {func(_ kmsg.Request, frame []byte) []byte {
			frame = frame[:len(frame)-10]
			binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
			return frame
		}, "does not end where it says"},
		"longer": {func(_ kmsg.Request, frame []byte) []byte {
			return resized(uint32(len(frame)))(nil, append(frame, 0, 0, 0, 0))
		}, "does not end where it says"},
		"unknown partition": {changed(func(p *kmsg.FetchResponseTopicPartition) { p.Partition = 77 }), "partition 77 of a topic, which was not asked for"},
		"partition repeated": {func(req kmsg.Request, frame []byte) []byte {
			return reencode(req, frame, func(r *kmsg.FetchResponse) { r.Topics = append(r.Topics, r.Topics[0]) })
		}, "was not asked for"},
		"lists": {func(_ kmsg.Request, frame []byte) []byte {
			frame = append(frame[:9+10], 0xff, 0xff, 0xff, 0xff, 0x07) // two thousand million topics
			binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
			return frame
		}, "does not end where it says"},
	}
}

type absurdity struct {
	change func(kmsg.Request, []byte) []byte
	says   string
}

// What no broker answers costs the connection it came on, with one clear line; what was
// asked for is fetched on the next.
func TestInvalidAnswersCloseTheConnection(t *testing.T) {
	for name, c := range nonsense() {
		t.Run(name, func(t *testing.T) {
			b := testbroker.New(t)
			topic := b.Topic(1)
			produce(t, b, topic, 1, 100, 100)
			log, lines := logtest.NewNullLogger()
			var done atomic.Bool
			f := newFetcher(t, b.Addrs(), func(o *fetch.Options) {
				o.Log = log
				o.Access = tap{access: access{b.Addrs()}, answer: func(_ string, req kmsg.Request, frame []byte) []byte {
					if isFetch(req) && len(frame) > 1000 && done.CompareAndSwap(false, true) {
						return c.change(req, frame)
					}
					return frame
				}}
			})
			r := add(t, f, topic, 0, nothing, fetch.Beginning)
			r.start()
			r.has(span(0, 100)...)
			said := 0
			for _, e := range lines.AllEntries() {
				if e.Level <= logrus.WarnLevel {
					said++
					if err, _ := e.Data[logrus.ErrorKey].(error); err == nil || !strings.Contains(err.Error(), c.says) {
						t.Errorf("%s: %v", e.Message, e.Data)
					}
				}
			}
			if said != 1 || !done.Load() {
				t.Errorf("%d lines", said)
			}
			if err := r.p.Err(); err != nil {
				t.Errorf("error %v", err)
			}
		})
	}
}

// A broker reads the high watermark before the records, so that batches may end above it:
// they come again. Where they always do, the offset of the batch is wrong.
func TestBatchesAboveTheHighWatermark(t *testing.T) {
	for name, times := range map[string]int64{"once": 1, "always": 1 << 40} {
		t.Run(name, func(t *testing.T) {
			b := testbroker.New(t)
			topic := b.Topic(1)
			produce(t, b, topic, 1, 100, 100)
			log, lines := logtest.NewNullLogger()
			var answers atomic.Int64
			f := newFetcher(t, b.Addrs(), func(o *fetch.Options) {
				o.Log, o.Backoff = log, time.Millisecond
				o.Access = tap{access: access{b.Addrs()}, answer: func(_ string, req kmsg.Request, frame []byte) []byte {
					if !isFetch(req) {
						return frame
					}
					return reencode(req, frame, func(r *kmsg.FetchResponse) {
						for i := range r.Topics {
							if p := &r.Topics[i].Partitions[0]; len(p.RecordBatches) > 0 && answers.Add(1) <= times {
								p.HighWatermark = 0
							}
						}
					})
				}}
			})
			r := add(t, f, topic, 0, nothing, fetch.Beginning)
			if times == 1 {
				r.has(span(0, 100)...)
			} else {
				r.until("error", func() bool { return r.p.Err() != nil })
				if err := r.p.Err(); !strings.Contains(err.Error(), "the batch at offset 0 ends above the high watermark 0") || len(r.offsets) > 0 {
					t.Errorf("%v, offsets %v", err, r.offsets)
				}
			}
			for _, e := range lines.AllEntries() {
				if e.Level <= logrus.WarnLevel {
					t.Errorf("%s: %v", e.Message, e.Data) // the connection is kept
				}
			}
		})
	}
}

// A byte that changes on its way is a corrupt batch; the next fetch of it is whole.
func TestCorruptOnItsWay(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(1)
	produce(t, b, topic, 1, 100, 100)
	var done atomic.Bool
	f := newFetcher(t, b.Addrs(), func(o *fetch.Options) {
		o.Access = tap{access: access{b.Addrs()}, answer: func(_ string, req kmsg.Request, frame []byte) []byte {
			if isFetch(req) && len(frame) > 1000 && done.CompareAndSwap(false, true) {
				frame[len(frame)-500] ^= 1
			}
			return frame
		}}
	})
	r := add(t, f, topic, 0, nothing, fetch.Beginning)
	r.start()
	var item fetch.Item
	for item.Batch == nil {
		<-r.changed
		item = r.p.Next()
	}
	var corrupt *fetch.CorruptError
	if err := item.Batch.Open(1 << 20); !errors.As(err, &corrupt) || corrupt.Topic != topic || corrupt.First != item.Batch.FirstOffset() {
		t.Fatalf("open: %v", err)
	}
	r.p.Release(item.Batch)
	r.from = item.Batch.FirstOffset()
	r.p.SeekTo(r.from)
	r.has(span(0, 100)...)
}

// An answer that was asked for before the position was set is dropped.
func TestLateAnswersAreDropped(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(1)
	produce(t, b, topic, 1, 50, 100)
	produce(t, b, topic, 1, 50, 100)
	came, read := make(chan struct{}), make(chan struct{})
	var late atomic.Bool
	f := newFetcher(t, b.Addrs(), func(o *fetch.Options) {
		o.Access = tap{access: access{b.Addrs()}, answer: func(_ string, req kmsg.Request, frame []byte) []byte {
			if isFetch(req) && len(frame) > 1000 && late.CompareAndSwap(false, true) {
				close(came)
				<-read
			}
			return frame
		}}
	})
	r := add(t, f, topic, 0, startAt(50), fetch.Beginning)
	<-came
	r.p.SeekTo(0)
	close(read)
	r.start()
	r.from = 0
	r.until("end", func() bool { _, caughtUp := r.p.Fetched(); return caughtUp && len(r.offsets) > 0 })
	produce(t, b, topic, 1, 1, 1)
	r.has(span(0, 101)...)
}

// The errors that say that a partition is elsewhere cost the others nothing.
func TestLeadershipErrorsAreOnePartitions(t *testing.T) {
	for _, e := range []*kerr.Error{
		kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.UnknownTopicOrPartition, kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch,
		kerr.KafkaStorageError, kerr.OffsetNotAvailable, kerr.UnknownTopicID, kerr.InconsistentTopicID, kerr.CorruptMessage, kerr.UnknownServerError,
	} {
		t.Run(e.Message, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic := b.Topic(2)
			produce(t, b, topic, 2, 100, 100)
			fault := b.Embedded().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: topic, Partitions: []int32{0}, Err: e, Count: -1})
			f := newFetcher(t, b.Addrs(), nil)
			held, fast := add(t, f, topic, 0, nothing, fetch.Beginning), add(t, f, topic, 1, nothing, fetch.Beginning)
			fast.start()
			fast.has(span(0, 100)...)
			held.until("error", func() bool { return errors.Is(held.p.Err(), e) })
			fault.Remove()
			held.start()
			held.has(span(0, 100)...)
			held.until("end of the error", func() bool { return held.p.Err() == nil })
		})
	}
}

func TestSessionErrorsCostNothing(t *testing.T) {
	for _, e := range []*kerr.Error{kerr.FetchSessionIDNotFound, kerr.InvalidFetchSessionEpoch, kerr.FetchSessionTopicIDError} {
		t.Run(e.Message, func(t *testing.T) {
			b := testbroker.New(t)
			topic := b.Topic(1)
			log, lines := logtest.NewNullLogger()
			f := newFetcher(t, b.Addrs(), func(o *fetch.Options) { o.Log = log })
			r := add(t, f, topic, 0, nothing, fetch.Beginning)
			r.start()
			r.until("end", func() bool { _, caughtUp := r.p.Fetched(); return caughtUp })
			fault := b.Embedded().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, TopLevel: true, Err: e, Count: 2})
			produce(t, b, topic, 1, 10, 1)
			r.has(span(0, 10)...)
			r.until("session error", func() bool { return fault.Hits() == 2 })
			produce(t, b, topic, 1, 10, 1)
			r.has(span(0, 20)...)
			if n := len(lines.AllEntries()); n > 0 {
				t.Errorf("%d lines: %s", n, lines.LastEntry().Message)
			}
		})
	}
}

// requests collects the Fetch requests of a test.
type requests struct {
	mu  sync.Mutex
	all []*kmsg.FetchRequest
}

func (r *requests) add(_ string, req kmsg.Request) {
	if f, ok := req.(*kmsg.FetchRequest); ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.all = append(r.all, f)
	}
}

func (r *requests) seen() []*kmsg.FetchRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// A waiting request names what is different from the one before, and nothing else: what it
// does not name is fetched all the same, what was closed is not.
func TestSessionForgetsNoPartition(t *testing.T) {
	b := testbroker.New(t)
	const partitions = 20
	topic := b.Topic(partitions)
	var seen requests
	f := newFetcher(t, b.Addrs(), func(o *fetch.Options) {
		o.Access = tap{access: access{b.Addrs()}, request: seen.add}
		o.Config.MaxWaitTime = 50 * time.Millisecond
	})
	var rs []*reader
	for n := range int32(partitions) {
		rs = append(rs, add(t, f, topic, n, nothing, fetch.Beginning))
	}
	for _, r := range rs {
		r.start()
	}
	incremental := func() (n int) {
		for _, q := range seen.seen() {
			if q.SessionEpoch > 0 && len(q.Topics) == 0 {
				n++
			}
		}
		return n
	}
	rs[0].until("request that names nothing", func() bool { return incremental() > 3 })
	for round := range 3 {
		produce(t, b, topic, partitions, 1, 1)
		for _, r := range rs[round:] { // the others are closed
			r.has(span(0, int64(round+1))...)
		}
		rs[round].p.Close()
	}
	last := rs[partitions-1]
	last.until("partition that is forgotten", func() bool {
		forgotten := 0
		for _, q := range seen.seen() {
			for _, t := range q.ForgottenTopics {
				forgotten += len(t.Partitions)
			}
		}
		return forgotten >= 3
	})
	produce(t, b, topic, partitions, 1, 1)
	last.has(span(0, 4)...)
	for _, r := range rs[:3] {
		if item := r.p.Next(); item.Batch != nil {
			t.Error("a closed partition has something")
		}
	}
}

// A broker whose cache of sessions is full is fetched from without one.
func TestWithoutSessions(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(2)
	var seen requests
	f := newFetcher(t, b.Addrs(), func(o *fetch.Options) {
		o.Config.MaxWaitTime = 50 * time.Millisecond
		o.Access = tap{access: access{b.Addrs()}, request: func(addr string, req kmsg.Request) {
			seen.add(addr, req)
		}, answer: func(_ string, req kmsg.Request, frame []byte) []byte {
			if isFetch(req) {
				return reencode(req, frame, func(r *kmsg.FetchResponse) { r.SessionID = 0 })
			}
			return frame
		}}
	})
	r := add(t, f, topic, 0, nothing, fetch.Beginning)
	r.start()
	for i := range int64(3) {
		produce(t, b, topic, 1, 1, 1)
		r.has(span(0, i+1)...)
	}
	began := 0
	for _, q := range seen.seen() {
		if q.SessionEpoch == 0 {
			began++
		}
	}
	if began != 1 {
		t.Errorf("%d sessions were begun", began)
	}
}

func TestRequestsSayWhatIsConfigured(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(1)
	var seen requests
	f := newFetcher(t, b.Addrs(), func(o *fetch.Options) {
		o.Access = tap{access: access{b.Addrs()}, request: seen.add}
		o.Rack = "r1"
		o.Config.FetchMinBytes, o.Config.MaxWaitTime = 300, 150*time.Millisecond
		o.Config.MaxBytes = 4 << 20
	})
	r := add(t, f, topic, 0, nothing, fetch.Beginning)
	r.start()
	r.until("two waiting requests", func() bool {
		n := 0
		for _, q := range seen.seen() {
			if q.MaxWaitMillis > 0 {
				n++
			}
		}
		return n >= 2
	})
	for _, q := range seen.seen() {
		hot := q.MaxWaitMillis == 0
		if q.Rack != "r1" || q.IsolationLevel != 1 || q.ReplicaID != -1 ||
			hot && (q.MaxBytes != 1<<20 || q.MinBytes != 1) || !hot && (q.MaxBytes != 64<<10 || q.MinBytes != 300 || q.MaxWaitMillis != 150) {
			t.Errorf("request %+v", q)
		}
	}
}

func TestThrottledConnectionsPause(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(1)
	produce(t, b, topic, 1, 10, 1)
	var mu sync.Mutex
	var at []time.Time
	var throttled atomic.Bool
	f := newFetcher(t, b.Addrs(), func(o *fetch.Options) {
		o.Access = tap{access: access{b.Addrs()}, request: func(_ string, req kmsg.Request) {
			if isFetch(req) && req.(*kmsg.FetchRequest).MaxWaitMillis == 0 {
				mu.Lock()
				at = append(at, time.Now())
				mu.Unlock()
			}
		}, answer: func(_ string, req kmsg.Request, frame []byte) []byte {
			if isFetch(req) && throttled.CompareAndSwap(false, true) {
				return reencode(req, frame, func(r *kmsg.FetchResponse) { r.ThrottleMillis = 400 })
			}
			return frame
		}}
	})
	r := add(t, f, topic, 0, nothing, fetch.Beginning)
	r.start()
	r.has(span(0, 10)...)
	r.offsets, r.from = nil, 0
	r.p.SeekTo(0)
	r.has(span(0, 10)...)
	mu.Lock()
	defer mu.Unlock()
	if len(at) < 2 || at[1].Sub(at[0]) < 400*time.Millisecond {
		t.Errorf("requests at %v", at)
	}
}

func TestOldestKafka(t *testing.T) {
	for name, v := range map[string]*kversion.Versions{"2.4": kversion.V2_4_0(), "2.8": kversion.V2_8_0(), "3.1": kversion.V3_1_0()} {
		t.Run(name, func(t *testing.T) {
			b := testbroker.New(t, kfake.MaxVersions(v))
			b.Embedded()
			topic := b.Topic(2)
			produce(t, b, topic, 2, 500, 100)
			f := newFetcher(t, b.Addrs(), nil)
			for n := range int32(2) {
				r := add(t, f, topic, n, fetch.Position{Offset: 7, LeaderEpoch: 0}, fetch.Beginning)
				if s := r.start(); (s.TopicID == [16]byte{}) != (name == "2.4") {
					t.Errorf("topic id %x", s.TopicID)
				}
				r.has(span(7, 500)...)
			}
			produce(t, b, topic, 2, 1, 1)
		})
	}
}

// Logs that were written before Kafka 0.11 are read.
func TestOldFormats(t *testing.T) {
	for _, format := range []byte{0, 1} {
		t.Run(fmt.Sprint(format), func(t *testing.T) {
			b := testbroker.New(t)
			topic := b.Topic(1)
			produce(t, b, topic, 1, 3, 1)
			var set []byte
			for i, v := range []string{"a", "b", "c"} {
				set = append(set, fetch.Entry(int64(i), format, 1_700_000_000_000, v)...)
			}
			f := newFetcher(t, b.Addrs(), func(o *fetch.Options) {
				o.Access = tap{access: access{b.Addrs()}, answer: func(_ string, req kmsg.Request, frame []byte) []byte {
					if !isFetch(req) {
						return frame
					}
					return reencode(req, frame, func(r *kmsg.FetchResponse) {
						for i := range r.Topics {
							for j := range r.Topics[i].Partitions {
								if p := &r.Topics[i].Partitions[j]; len(p.RecordBatches) > 0 {
									p.RecordBatches = set
								}
							}
						}
					})
				}}
			})
			r := add(t, f, topic, 0, startAt(1), fetch.Beginning)
			r.start()
			r.has(1, 2)
			if !slices.Equal(r.values, []string{"b", "c"}) {
				t.Errorf("values %v", r.values)
			}
		})
	}
}
