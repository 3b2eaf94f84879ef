package fetch_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/racecar-go/racecar/kafka/fetch"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// budget is the tests' max_bytes. reserve is the additional memory of waiting requests, and of a
// batch that the embedded broker sends although it exceeds a request's limit.
const (
	budget  = 1 << 20
	reserve = 2*64<<10 + 50_000
)

// batches are smaller than a request: a larger one comes all the same.
var batches = kgo.ProducerBatchMaxBytes(50_000)

func small(o *fetch.Options) { o.Config.MaxBytes = budget }

// full waits until nothing more is asked for.
func full(t testing.TB, f *fetch.Fetcher, rs []*reader) (bytes int64) {
	t.Helper()
	rs[0].untilIdle("full budget", func() bool {
		for _, r := range rs {
			if !r.p.Full() {
				return false
			}
		}
		return true
	})
	for _, r := range rs {
		_, b := r.p.Buffered()
		bytes += b
	}
	if used, limit := f.Used(); bytes > used || used > limit+reserve {
		t.Errorf("%d bytes wait, %d of %d are used", bytes, used, limit)
	}
	return bytes
}

// untilIdle waits without taking anything.
func (r *reader) untilIdle(what string, enough func() bool) {
	r.t.Helper()
	deadline := time.After(30 * time.Second)
	for !enough() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			r.t.Fatalf("no %s", what)
		}
	}
}

// Whatever the number of partitions, what waits of all of them stays within the budget; and
// there is no goroutine for each.
func TestStalledPartitionsStayWithinTheBudget(t *testing.T) {
	b := testbroker.New(t)
	const partitions = 100
	topic := b.Topic(partitions)
	produce(t, b, topic, partitions, 50, 2000, batches)
	goroutines := runtime.NumGoroutine()
	f := newFetcher(t, b.Addrs(), small)
	var rs []*reader
	for n := range int32(partitions) {
		rs = append(rs, add(t, f, topic, n, nothing, fetch.Beginning))
	}
	full(t, f, rs)
	if n := runtime.NumGoroutine() - goroutines; n > 20 { // of the embedded broker, too
		t.Errorf("%d goroutines", n)
	}
	for _, r := range rs { // and everything comes
		r.start()
	}
	done := func(r *reader) bool { return len(r.offsets) >= 50 }
	for _, r := range rs {
		r.until("all", func() bool {
			for _, o := range rs {
				o.take()
			}
			return done(r)
		})
	}
	for _, r := range rs {
		r.has(span(0, 50)...)
		r.p.Close()
	}
	if used, _ := f.Used(); used > reserve {
		t.Errorf("%d bytes are used after the end", used)
	}
}

// A partition that nobody takes from gives way to one that has nothing, and gets its
// messages again.
func TestStalledPartitionGivesWay(t *testing.T) {
	b := testbroker.New(t)
	const partitions = 4
	topic := b.Topic(partitions)
	produce(t, b, topic, partitions, 1500, 1000, batches)
	f := newFetcher(t, b.Addrs(), small)
	f.SetUntouched(200 * time.Millisecond)
	var stalled []*reader
	for n := range int32(partitions - 1) {
		stalled = append(stalled, add(t, f, topic, n, nothing, fetch.Beginning))
	}
	full(t, f, stalled)
	r := add(t, f, topic, partitions-1, startAt(0), fetch.Beginning)
	r.start() // which waits for an answer
	r.has(span(0, 1500)...)
	for _, s := range stalled {
		s.start()
		s.has(span(0, 1500)...)
	}
}

// A batch counts in the budget until it is released, or its partition is closed.
func TestTakenBatchesCount(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(1)
	produce(t, b, topic, 1, 5000, 1000, batches)
	f := newFetcher(t, b.Addrs(), small)
	r := add(t, f, topic, 0, nothing, fetch.Beginning)
	r.start()
	var taken []*fetch.Batch
	var bytes int64
	r.untilIdle("full budget", func() bool {
		for item := r.p.Next(); item.Batch != nil; item = r.p.Next() {
			taken = append(taken, item.Batch)
			bytes += item.Batch.Size()
		}
		return r.p.Full()
	})
	if used, limit := f.Used(); used < bytes || bytes > limit {
		t.Errorf("%d bytes are taken, %d of %d used", bytes, used, limit)
	}
	next := taken[len(taken)-1].NextOffset()
	for _, taken := range taken[1:] {
		r.p.Release(taken)
	}
	r.from = next
	r.until("rest", func() bool { return r.from == 5000 })
	r.p.Close()
	r.p.Release(taken[0])
	if used, _ := f.Used(); used > reserve {
		t.Errorf("%d bytes are used after the end", used)
	}
}

// Lag is known of a partition that is not fetched, too.
func TestWatermarksOfAStalledPartition(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(1)
	produce(t, b, topic, 1, 4000, 1000, batches)
	f := newFetcher(t, b.Addrs(), small)
	r := add(t, f, topic, 0, nothing, fetch.Beginning)
	r.start()
	full(t, f, []*reader{r})
	produce(t, b, topic, 1, 1000, 1000)
	began := time.Now()
	r.untilIdle("new end", func() bool { _, stable, _ := r.p.Watermarks(); return stable == 5000 })
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}
