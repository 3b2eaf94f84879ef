package worker

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// stocked is a partition with messages in its queue.
func stocked(topic string, number int32, messages int, bytes int64) *partition {
	p := &partition{tp: tp{topic, number}}
	p.queue.n, p.queue.bytes = messages, bytes
	return p
}

// TestMultiSubscriptionStrategy: exhaust-topic stays with a topic while it has
// messages, round-robin goes to the next after each turn.
func TestMultiSubscriptionStrategy(t *testing.T) {
	for strategy, want := range map[string]string{
		"exhaust-topic": "a/0 a/1 a/0 a/1 b/0 b/0",
		"round-robin":   "b/0 a/0 b/0 a/1 b/0 b/0",
	} {
		cfg := config.Default()
		tu := newTurns(1, strategy == "round-robin", newLimits(&cfg))
		a0, a1, b0 := stocked("a", 0, 1000, 1), stocked("a", 1, 1000, 1), stocked("b", 0, 1000, 1)
		for _, p := range []*partition{a0, a1, b0} {
			tu.add(p)
		}
		var got []string
		for i := range 6 {
			if i == 4 { // topic a has no more
				a0.queue.n, a1.queue.n = 0, 0
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

// TestStock: min_message_queue_size says how many messages are held, max_bytes how
// many bytes.
func TestStock(t *testing.T) {
	cfg := config.Default()
	cfg.FetchMessages, cfg.MinMessageQueueSize, cfg.MaxBytes = 1, 5000, 2<<20
	tu := newTurns(1, false, newLimits(&cfg))
	p := stocked("a", 0, 0, 0)
	tu.add(p)
	for _, tt := range []struct {
		messages  int
		bytes     int64
		full, low bool
	}{
		{0, 0, false, true},
		{5000, 1, false, true},
		{5001, 1, false, false},
		{9999, 1, false, false},
		{10000, 1, true, false},
		{10, 4 << 20, true, false},
		{10, 1 << 20, false, true},
	} {
		p.queue.n, p.queue.bytes, tu.bytes = tt.messages, tt.bytes, tt.bytes
		if full, low := tu.full(p), tu.low(p); full != tt.full || low != tt.low {
			t.Errorf("%d messages, %d bytes: full %v, low %v", tt.messages, tt.bytes, full, low)
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
		change func(*turns, *partition)
		want   time.Duration
	}{
		"more is on its way":                 {func(*turns, *partition) {}, 3 * time.Second},
		"this was the last":                  {func(_ *turns, p *partition) { p.more.Store(false) }, 0},
		"the partition is not fetched":       {func(_ *turns, p *partition) { p.fetching = false }, 0},
		"no partition is fetched":            {func(tu *turns, _ *partition) { tu.throttle() }, 0},
		"half of what may be held is there":  {func(tu *turns, _ *partition) { tu.bytes = tu.limits.bytes / 2 }, 0},
		"it holds its share of all queues":   {func(tu *turns, p *partition) { p.queue.bytes = tu.limits.bytes / 2 }, 0},
		"its batch failed and is retried":    {func(_ *turns, p *partition) { p.again = 10 }, 0},
		"its next message is called alone":   {func(_ *turns, p *partition) { p.suspect = true }, 0},
		"there are as many as a batch has":   {func(_ *turns, p *partition) { p.queue.n = 100 }, 0},
		"the next but one fills it, however": {func(_ *turns, p *partition) { p.queue.n = 99 }, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := config.Default()
				tu := newTurns(1, false, newLimits(&cfg))
				tu.batch, tu.batchWait = 100, 3*time.Second
				p := stocked("a", 0, 10, 1)
				p.last, p.fetching = 9, true
				p.more.Store(true)
				tt.change(tu, p)
				tu.add(p)
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
