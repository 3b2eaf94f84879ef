package worker

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// TestMultiSubscriptionStrategy: exhaust-topic stays with a topic while it has
// messages, round-robin goes to the next after each quantum.
func TestMultiSubscriptionStrategy(t *testing.T) {
	for strategy, want := range map[string]string{
		"exhaust-topic": "a/0 a/1 a/0 a/1 b/0 b/0",
		"round-robin":   "a/0 b/0 a/1 b/0 b/0 b/0",
	} {
		cfg := config.Default()
		tu := newScheduler(1, strategy == "round-robin", newLimits(&cfg))
		a0, a1 := supplied(tu, topicPartition{"a", 0}, 1000), supplied(tu, topicPartition{"a", 1}, 1000)
		supplied(tu, topicPartition{"b", 0}, 1000)
		var got []string
		for i := range 6 {
			if i == 4 { // topic a has no more
				for _, p := range []*partition{a0, a1} {
					p.supply().log, p.supply().next, p.cursor.batches = nil, 0, nil
					tu.available(p)
					p.notified = false
				}
			}
			p, _ := tu.take()
			got = append(got, p.String())
			tu.release(p)
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: %s, want %s", strategy, s, want)
		}
	}
}

// TestBatchSize: a batch has at most fetch_messages, and waits for them at most
// max_wait_time.
func TestBatchSize(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(20)...)
	var mu sync.Mutex
	var sizes []int
	reg := batchRegistration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(_ context.Context, ms []*racecar.Message) error {
		mu.Lock()
		defer mu.Unlock()
		sizes = append(sizes, len(ms))
		return nil
	})
	cfg := testConfig(b, group)
	cfg.FetchMessages = 7
	s := start(t, reg, cfg)
	s.await("all", func() bool { return b.Committed(group, topic, 0) == 20 })
	s.stop()
	if want := []int{7, 7, 6}; !slices.Equal(sizes, want) {
		t.Errorf("batches of %v, want %v", sizes, want)
	}
}

// TestBatchWaits for more messages, up to max_wait_time, while more can come.
func TestBatchWaits(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*partition)
		want   time.Duration
	}{
		"more is on its way":                 {func(*partition) {}, 3 * time.Second},
		"this was the last":                  {func(p *partition) { p.supply().caughtUp = true }, 0},
		"nothing more may be fetched":        {func(p *partition) { p.supply().full = true }, 0},
		"its batch failed and is retried":    {func(p *partition) { p.repeatSize = 10 }, 0},
		"its next message is called alone":   {func(p *partition) { p.suspect = true }, 0},
		"there are as many as a batch has":   {func(p *partition) { p.supply().log = decodedItems("a", rawBatch(0, 100, false)) }, 0},
		"the next but one fills it, however": {func(p *partition) { p.supply().log = decodedItems("a", rawBatch(0, 99, false)) }, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := config.Default()
				tu := newScheduler(1, false, newLimits(&cfg))
				tu.batch, tu.batchWait = 100, 3*time.Second
				p := supplied(tu, topicPartition{"a", 0}, 10)
				p.supply().caughtUp = false
				tt.change(p)
				tu.available(p)
				began := time.Now()
				tu.take()
				if waited := time.Since(began); waited != tt.want {
					t.Errorf("waited %v, want %v", waited, tt.want)
				}
			})
		})
	}
}

// A batch of large messages does not fit the queues, which are bounded in bytes: what is
// there is handed over at once.
func TestLargeBatchesDoNotWait(t *testing.T) {
	const partitions, messages = 4, 400
	b := testbroker.New(t)
	from, group := b.Topic(partitions), b.Group()
	value := strings.Repeat("x", 10_000)
	for n := range int32(partitions) {
		for range messages / 100 {
			b.Produce(from, n, slices.Repeat([]string{value}, 100)...)
		}
	}
	rec := newRecorder()
	reg := batchRegistration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}}, func(_ context.Context, ms []*racecar.Message) error {
		for _, m := range ms {
			rec.add(m)
		}
		return nil
	})
	cfg := testConfig(b, group)
	cfg.MaxBytes, cfg.FetchMessages, cfg.MaxWaitTime = 1<<20, 1000, 20*time.Second
	began := time.Now()
	s := start(t, reg, cfg)
	rec.await(t, partitions*messages)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("%d messages took %v", partitions*messages, took)
	}
	s.stop()
}

// TestOffsetCommitInterval: positions are committed that often while all goes well,
// and not with each message.
func TestOffsetCommitInterval(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		interval time.Duration
		want     int64
	}{{100 * time.Millisecond, 20}, {time.Hour, 0}} {
		b := testbroker.New(t)
		topic, group := b.Topic(1), b.Group()
		b.Produce(topic, 0, values(20)...)
		rec := newRecorder()
		cfg := testConfig(b, group)
		cfg.OffsetCommitInterval = tt.interval
		s := start(t, one(t, topic, recording(rec)), cfg)
		rec.await(t, 20)
		s.await("the commit", func() bool { return b.Committed(group, topic, 0) >= tt.want })
		if c := b.Committed(group, topic, 0); c > tt.want {
			t.Errorf("every %v: %d was committed already", tt.interval, c)
		}
		s.stop()
	}
}

// Fetch requests carry the configured limits.
func TestFetchSettings(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	var mu sync.Mutex
	var requests []*kmsg.FetchRequest
	watchRequests(b, kmsg.Fetch, func(_ int, req kmsg.Request) kmsg.Response {
		mu.Lock()
		defer mu.Unlock()
		requests = append(requests, req.(*kmsg.FetchRequest))
		return nil
	})
	cfg := testConfig(b, group)
	cfg.FetchMinBytes, cfg.MaxWaitTime, cfg.MaxBytes = 7, 1234*time.Millisecond, 3<<20
	cfg.Consumer = []string{"client.rack=r1"}
	rec := newRecorder()
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic, MaxBytesPerPartition: 123_456}}}, func(racecar.Runtime) (*processor, error) {
		return &processor{process: recording(rec)}, nil
	})
	s := start(t, reg, cfg)
	b.Produce(topic, 0, values(5)...)
	rec.await(t, 5)
	any := func(what string, is func(*kmsg.FetchRequest) bool) {
		t.Helper()
		waitFor(t, what, func() bool { mu.Lock(); defer mu.Unlock(); return slices.ContainsFunc(requests, is) })
	}
	any("fetch_min_bytes", func(r *kmsg.FetchRequest) bool { return r.MinBytes == 7 })
	any("max_wait_time", func(r *kmsg.FetchRequest) bool { return r.MaxWaitMillis == 1234 })
	any("max_bytes_per_partition", func(r *kmsg.FetchRequest) bool {
		return len(r.Topics) == 1 && r.Topics[0].Partitions[0].PartitionMaxBytes == 123_456
	})
	any("client.rack", func(r *kmsg.FetchRequest) bool { return r.Rack == "r1" })
	s.stop()
	mu.Lock()
	defer mu.Unlock()
	for _, r := range requests {
		if r.MaxBytes > 3<<20 {
			t.Errorf("a request for %d bytes, max_bytes is %d", r.MaxBytes, 3<<20)
		}
	}
}
