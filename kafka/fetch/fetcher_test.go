package fetch_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/kafka/fetch"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// access opens plain connections.
type access struct{ addrs []string }

func (a access) Dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}
func (a access) Addresses() ([]string, error) { return a.addrs, nil }
func (access) SocketTimeout() time.Duration   { return 10 * time.Second }

// settings are the defaults.
func settings(t testing.TB) *config.Config {
	t.Helper()
	c := config.Default()
	return &c
}

// testLog writes to the test's log.
func testLog(t testing.TB) logrus.FieldLogger {
	log := logrus.New()
	log.SetLevel(logrus.DebugLevel)
	log.SetOutput(t.Output())
	return log
}

// newFetcher returns one that is closed after the test.
func newFetcher(t testing.TB, addrs []string, change func(*fetch.Options)) *fetch.Fetcher {
	t.Helper()
	o := fetch.Options{Config: settings(t), Access: access{addrs}, ReadCommitted: true, Log: testLog(t)}
	if change != nil {
		change(&o)
	}
	f := fetch.New(o)
	t.Cleanup(f.Close)
	return f
}

// reader takes what one partition has.
type reader struct {
	t       testing.TB
	p       *fetch.Partition
	from    int64
	changed chan struct{}
	moved   []fetch.Moved
	offsets []int64
	values  []string
}

var nothing = fetch.Position{Offset: fetch.NoOffset, LeaderEpoch: -1}

func startAt(offset int64) fetch.Position { return fetch.Position{Offset: offset, LeaderEpoch: -1} }

func add(t testing.TB, f *fetch.Fetcher, topic string, n int32, committed fetch.Position, from fetch.StartFrom) *reader {
	t.Helper()
	r := &reader{t: t, changed: make(chan struct{}, 1)}
	r.p = f.Add(topic, n, committed, from, fetch.PartitionOptions{MaxBytes: 1 << 20}, func() {
		select {
		case r.changed <- struct{}{}:
		default:
		}
	})
	return r
}

// start waits for the partition to begin.
func (r *reader) start() fetch.Start {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	s, err := r.p.Start(ctx)
	if err != nil {
		r.t.Fatalf("start: %v (%v)", err, r.p.Err())
	}
	r.from = s.Offset
	return s
}

// take takes what has arrived, and decodes it.
func (r *reader) take() {
	r.t.Helper()
	for {
		item := r.p.Next()
		switch {
		case item.Moved != nil:
			r.moved = append(r.moved, *item.Moved)
			r.from = item.Moved.To
		case item.Batch != nil:
			ms, err := r.messages(item.Batch)
			if err != nil {
				r.t.Fatal(err)
			}
			for _, m := range ms {
				r.offsets = append(r.offsets, m.Offset)
				r.values = append(r.values, string(m.Value))
			}
			r.from = item.Batch.NextOffset()
			r.p.Release(item.Batch)
		default:
			return
		}
	}
}

func (r *reader) messages(b *fetch.Batch) ([]racecar.Message, error) {
	if err := b.Open(64 << 20); err != nil {
		return nil, err
	}
	return b.Messages(r.from, 1<<30)
}

// until takes until enough says so.
func (r *reader) until(what string, enough func() bool) {
	r.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		if r.take(); enough() {
			return
		}
		select {
		case <-r.changed:
		case <-time.After(50 * time.Millisecond):
		case <-deadline:
			next, caughtUp := r.p.Fetched()
			r.t.Fatalf("no %s: %d messages, next %d, caught up %v, error %v", what, len(r.offsets), next, caughtUp, r.p.Err())
		}
	}
}

// has waits for exactly these offsets.
func (r *reader) has(offsets ...int64) {
	r.t.Helper()
	r.until(fmt.Sprintf("%d offsets", len(offsets)), func() bool { return len(r.offsets) >= len(offsets) })
	if !slices.Equal(r.offsets, offsets) {
		i := 0
		for i < len(offsets) && r.offsets[i] == offsets[i] {
			i++
		}
		r.t.Fatalf("%d offsets, want %d; from %d on: %v", len(r.offsets), len(offsets), i, r.offsets[i:min(i+10, len(r.offsets))])
	}
}

// span is from, from+1, … below to.
func span(from, to int64) (all []int64) {
	for ; from < to; from++ {
		all = append(all, from)
	}
	return all
}

// produce sends n messages to each partition: "0", "1", … or more of that size.
func produce(t testing.TB, b *testbroker.Broker, topic string, partitions int32, n, size int, opts ...kgo.Opt) {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.Addrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for i := range n {
		for p := range partitions {
			value := fmt.Appendf(nil, "%0*d", size, i)
			cl.Produce(t.Context(), &kgo.Record{Topic: topic, Partition: p, Value: value}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("produce: %v", err)
				}
			})
		}
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestFetchesEverythingOnce(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(3)
	produce(t, b, topic, 3, 2000, 100)
	f := newFetcher(t, b.Addrs(), nil)
	for n := range int32(3) {
		r := add(t, f, topic, n, nothing, fetch.Beginning)
		if s := r.start(); s.Offset != 0 || s.Reason != fetch.AtBeginning {
			t.Errorf("begins at %+v", s)
		}
		r.has(span(0, 2000)...)
		r.until("end", func() bool { _, caughtUp := r.p.Fetched(); return caughtUp })
		if _, stable, high := r.p.Watermarks(); stable != 2000 || high != 2000 {
			t.Errorf("watermarks %d and %d", stable, high)
		}
	}
}

func TestStartPositions(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(1)
	produce(t, b, topic, 1, 10, 1)
	f := newFetcher(t, b.Addrs(), nil)
	for name, c := range map[string]struct {
		committed fetch.Position
		from      fetch.StartFrom
		offset    int64
		reason    fetch.Reason
	}{
		"beginning":             {nothing, fetch.Beginning, 0, fetch.AtBeginning},
		"end":                   {nothing, fetch.End, 10, fetch.AtEnd},
		"committed":             {startAt(4), fetch.End, 4, fetch.AtCommit},
		"committed at the end":  {startAt(10), fetch.Beginning, 10, fetch.AtCommit},
		"committed with epoch":  {fetch.Position{Offset: 4, LeaderEpoch: 0}, fetch.End, 4, fetch.AtCommit},
		"beyond the end":        {startAt(50), fetch.Beginning, 0, fetch.Truncated},
		"beyond the end, end":   {startAt(50), fetch.End, 10, fetch.Truncated},
		"beyond the end, epoch": {fetch.Position{Offset: 50, LeaderEpoch: 0}, fetch.Beginning, 10, fetch.Truncated},
		"of another topic":      {fetch.Position{Offset: 4, LeaderEpoch: 0, TopicID: [16]byte{1}}, fetch.End, 0, fetch.AnotherTopic},
	} {
		t.Run(name, func(t *testing.T) {
			r := add(t, f, topic, 0, c.committed, c.from)
			if s := r.start(); s.Offset != c.offset || s.Reason != c.reason || s.Committed != c.committed.Offset {
				t.Errorf("begins at %+v", s)
			}
			r.has(span(c.offset, 10)...)
			r.p.Close()
			if item := r.p.Next(); item.Batch != nil || item.Moved != nil {
				t.Error("something comes after Close")
			}
		})
	}
}

func TestMessagesThatArriveLater(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(4)
	f := newFetcher(t, b.Addrs(), nil)
	var rs []*reader
	for n := range int32(4) {
		rs = append(rs, add(t, f, topic, n, nothing, fetch.End))
	}
	for _, r := range rs {
		r.start()
	}
	for i := range 5 {
		produce(t, b, topic, 4, 1, 1)
		for _, r := range rs {
			r.has(span(0, int64(i+1))...)
		}
	}
}

func TestSeekTo(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(1)
	produce(t, b, topic, 1, 100, 10)
	f := newFetcher(t, b.Addrs(), nil)
	r := add(t, f, topic, 0, nothing, fetch.Beginning)
	r.start()
	r.has(span(0, 100)...)
	r.offsets, r.from = nil, 60
	r.p.SeekTo(60)
	r.has(span(60, 100)...)
}

// While one answer with many messages has not arrived, other partitions are requested on another
// connection; none is in two of these requests.
func TestHotRequestsOverlap(t *testing.T) {
	b := testbroker.New(t)
	const partitions, messages = 8, 1000
	topic := b.Topic(partitions)
	produce(t, b, topic, partitions, messages, 1000, batches)
	var mu sync.Mutex
	requested := map[int32]bool{}
	underWay, overlapped := 0, make(chan struct{})
	hot := func(req kmsg.Request) *kmsg.FetchRequest {
		f, ok := req.(*kmsg.FetchRequest)
		if !ok || f.SessionEpoch >= 0 {
			return nil
		}
		return f
	}
	f := newFetcher(t, b.Addrs(), func(o *fetch.Options) {
		small(o)
		o.Access = tap{access: access{b.Addrs()},
			request: func(_ string, req kmsg.Request) {
				r := hot(req)
				if r == nil {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				for _, p := range r.Topics[0].Partitions {
					if requested[p.Partition] {
						t.Errorf("partition %d is requested twice", p.Partition)
					}
					requested[p.Partition] = true
				}
				if underWay++; underWay == 2 {
					select {
					case <-overlapped:
					default:
						close(overlapped)
					}
				}
			},
			answer: func(_ string, req kmsg.Request, frame []byte) []byte {
				r := hot(req)
				if r == nil {
					return frame
				}
				select {
				case <-overlapped:
				case <-time.After(200 * time.Millisecond): // the others may not be known to have more yet
				}
				mu.Lock()
				defer mu.Unlock()
				for _, p := range r.Topics[0].Partitions {
					delete(requested, p.Partition)
				}
				underWay--
				return frame
			},
		}
	})
	var rs []*reader
	for n := range int32(partitions) {
		rs = append(rs, add(t, f, topic, n, startAt(0), fetch.Beginning))
	}
	takeAll := func() {
		for _, r := range rs {
			r.take()
		}
	}
	rs[0].until("request while another is under way", func() bool {
		takeAll()
		select {
		case <-overlapped:
			return true
		default:
			return false
		}
	})
	for _, r := range rs {
		r.until("all", func() bool {
			takeAll()
			return len(r.offsets) >= messages
		})
		r.has(span(0, messages)...)
	}
}
