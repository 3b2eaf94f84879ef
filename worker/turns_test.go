package worker

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
)

// supplied is a partition with n messages queued, of a worker without brokers.
func supplied(t *turns, k tp, n int) *partition {
	p := newPartition(&membership{w: &worker{}}, k)
	p.begin(0, 0)
	var ms []*sarama.ConsumerMessage
	for i := range n {
		ms = append(ms, &sarama.ConsumerMessage{Topic: k.topic, Partition: k.partition, Offset: int64(i)})
	}
	p.queue.push(ms, 0)
	p.last = int64(n - 1)
	t.add(p)
	return p
}

// serve takes a turn of one message and returns whose it was.
func serve(t *turns) string {
	p, _ := t.take()
	t.mu.Lock()
	if p.at == len(p.cur) {
		p.cur, p.at = p.queue.pop(), 0
	}
	t.mu.Unlock()
	p.at++
	t.release(p)
	return p.tp.String()
}

func TestOrderOfTurns(t *testing.T) {
	for _, c := range []struct {
		roundRobin bool
		want       []string
	}{
		// All of a topic first, its partitions in turn.
		{false, []string{"a/0", "a/1", "a/0", "a/1", "b/0", "b/0", "c/0", "c/0"}},
		// No topic waits longer than a full round.
		{true, []string{"b/0", "c/0", "a/0", "b/0", "c/0", "a/1", "a/0", "a/1"}},
	} {
		tt := newTurns(1, c.roundRobin, limits{})
		for _, k := range []tp{{"a", 0}, {"a", 1}, {"b", 0}, {"c", 0}} {
			supplied(tt, k, 2)
		}
		var got []string
		for range c.want {
			got = append(got, serve(tt))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("round-robin %v: %v, want %v", c.roundRobin, got, c.want)
		}
	}
}

// A paused partition is passed over until its time has come.
func TestPausedPartitionWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tt := newTurns(1, false, limits{})
		p := supplied(tt, tp{"a", 0}, 1)
		q := supplied(tt, tp{"a", 1}, 1)
		tt.change(func() {
			p.until = time.Now().Add(10 * time.Second)
			q.until = time.Now().Add(3 * time.Second)
		})
		began := time.Now()
		if got := serve(tt); got != "a/1" || time.Since(began) != 3*time.Second {
			t.Errorf("%s after %v", got, time.Since(began))
		}
		if got := serve(tt); got != "a/0" || time.Since(began) != 10*time.Second {
			t.Errorf("%s after %v", got, time.Since(began))
		}
		tt.stop()
	})
}

// A batch is called when it is full, when its time is up, or when nothing more is
// coming.
func TestBatchesWaitOnlyForWhatIsComing(t *testing.T) {
	for name, c := range map[string]struct {
		queued int
		last   int64 // message that a fetch has brought
		more   bool  // there is more to be fetched
		want   time.Duration
	}{
		"full":              {10, 999, true, 0},
		"at the end":        {3, 2, false, 0},
		"more is in flight": {3, 999, false, 2 * time.Second},
		"more is coming":    {3, 2, true, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt := newTurns(1, false, limits{messages: 100, bytes: 1 << 20})
				tt.batch, tt.batchWait = 10, 2*time.Second
				p := supplied(tt, tp{"a", 0}, c.queued)
				p.visible.Store(c.last)
				p.more.Store(c.more)
				began := time.Now()
				serve(tt)
				if d := time.Since(began); d != c.want {
					t.Errorf("waited %v, want %v", d, c.want)
				}
				tt.stop()
			})
		})
	}
}

// A suspect is taken when nothing else runs, and nothing is begun beside it.
func TestSuspectIsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tt := newTurns(2, false, limits{})
		supplied(tt, tp{"a", 0}, 5)
		s := supplied(tt, tp{"a", 1}, 5)
		first, alone := tt.take()
		if alone {
			t.Error("said to be alone though others may begin")
		}
		tt.change(func() { s.suspect = true })
		type taken struct {
			p     *partition
			alone bool
		}
		got := make(chan taken, 1)
		go func() { p, alone := tt.take(); got <- taken{p, alone} }()
		synctest.Wait()
		if len(got) != 0 {
			t.Fatal("begun beside another")
		}
		tt.release(first)
		synctest.Wait()
		one := <-got
		if one.p != s || !one.alone {
			t.Errorf("got %v, alone %v", one.p.tp, one.alone)
		}
		go func() { p, alone := tt.take(); got <- taken{p, alone} }()
		synctest.Wait()
		if len(got) != 0 {
			t.Fatal("something was begun beside a suspect")
		}
		tt.change(func() { s.suspect = false })
		tt.release(s)
		synctest.Wait()
		if len(got) != 1 {
			t.Fatal("nothing goes on after the suspect")
		}
		tt.stop()
	})
}

func TestQueueKeepsOrderAndCounts(t *testing.T) {
	var q queue
	next, popped := int64(0), int64(0)
	for round := range 50 {
		var ms []*sarama.ConsumerMessage
		var bytes int64
		for range 1 + round*7%300 {
			m := &sarama.ConsumerMessage{Offset: next, Value: make([]byte, 10)}
			next++
			ms, bytes = append(ms, m), bytes+size(m)
		}
		q.push(ms, bytes)
		clear(ms) // the queue has its own
		for range round % 3 {
			for _, m := range q.pop() {
				if m.Offset != popped {
					t.Fatalf("offset %d, want %d", m.Offset, popped)
				}
				popped++
			}
		}
	}
	if q.n != int(next-popped) {
		t.Errorf("%d counted, %d there", q.n, next-popped)
	}
	for chunk := q.pop(); chunk != nil; chunk = q.pop() {
		if len(chunk) > chunkSize {
			t.Errorf("a chunk of %d", len(chunk))
		}
		popped += int64(len(chunk))
	}
	if q.n != 0 || q.bytes != 0 || popped != next {
		t.Errorf("left: %d messages, %d bytes; %d of %d popped", q.n, q.bytes, popped, next)
	}
}

// A partition that is slow is not fetched while it has enough; others are not
// touched by that.
func TestLimits(t *testing.T) {
	tt := newTurns(1, false, limits{messages: 100, bytes: 1 << 20, lead: time.Second})
	p := supplied(tt, tp{"a", 0}, 0)
	stock := func(n int, bytes int64, pace float64) {
		tt.bytes += bytes - p.queue.bytes
		p.queue.n, p.queue.bytes, p.pace = n, bytes, pace
	}
	for _, c := range []struct {
		n         int
		bytes     int64
		pace      float64
		full, low bool
	}{
		{0, 0, 0, false, true},
		{100, 1000, 0, false, true},
		{150, 1000, 0, false, false},
		{200, 1000, 0, true, false},
		{200, 1000, 1000, false, true}, // fast: a second's worth is not there yet
		{2000, 1000, 1000, true, false},
		{10, 1 << 20, 1000, true, false}, // too many bytes
		{0, 1 << 20, 0, false, true},
	} {
		stock(c.n, c.bytes, c.pace)
		if full, low := tt.full(p), tt.low(p); full != c.full || low != c.low {
			t.Errorf("%+v: full %v, low %v", c, full, low)
		}
	}
}

// pausable is a consumer group that notes what it is told of fetching.
type pausable struct {
	sarama.ConsumerGroup
	told []string
}

func (g *pausable) Pause(map[string][]int32)  { g.told = append(g.told, "pause") }
func (g *pausable) Resume(map[string][]int32) { g.told = append(g.told, "resume") }

// sarama keeps a pause over a reassignment: one that was decided before a claim
// ended must not be told after its end, or the next claim of that partition stands
// still for ever.
func TestNoPauseOutlivesItsClaim(t *testing.T) {
	group := &pausable{}
	tt := newTurns(1, false, limits{messages: 100, bytes: 1 << 20})
	p := newPartition(&membership{w: &worker{}, group: group}, tp{"a", 0})
	tt.pumped(p)
	tt.add(p)
	tt.mu.Lock()
	p.queue.push([]*sarama.ConsumerMessage{{Topic: "a"}}, 1<<20)
	tt.bytes = 1 << 20
	late := tt.throttle() // decided by the pump of another partition
	tt.mu.Unlock()
	tt.remove(p)
	tt.released(p)
	tt.tell(late)
	if want := []string{"resume", "resume"}; !slices.Equal(group.told, want) {
		t.Errorf("sarama was told %v, want %v", group.told, want)
	}
}
