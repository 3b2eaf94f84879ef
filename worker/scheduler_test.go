package worker

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/racecar-go/racecar/kafka/fetch"
)

// supplied is a partition with n messages waiting, of a worker without brokers.
func supplied(t *scheduler, k topicPartition, n int) *partition {
	w := &worker{scheduler: t}
	p := newPartition(&membership{w: w}, k)
	p.inst = w.bareInstance(nil)
	p.begin(0, 0)
	c, s := testCursor()
	if n > 0 {
		s.log = decodedItems(k.topic, rawBatch(0, n, false))
	}
	s.caughtUp = true
	p.cursor = *c
	t.claimed(p)
	t.add(p)
	t.available(p)
	return p
}

func (p *partition) supply() *fakeSource { return p.cursor.source.(*fakeSource) }

// serve serves one message and returns whose it was.
func serve(t *scheduler) string {
	p, _ := t.take()
	p.cursor.read(1)
	p.cursor.peek(1)
	t.release(p)
	return p.topicPartition.String()
}

func TestOrderOfPartitions(t *testing.T) {
	for _, c := range []struct {
		roundRobin bool
		want       []string
	}{
		// All of a topic first, its partitions in turn.
		{false, []string{"a/0", "a/1", "a/0", "a/1", "b/0", "b/0", "c/0", "c/0"}},
		// No topic waits longer than a full round.
		{true, []string{"a/0", "b/0", "c/0", "a/1", "b/0", "c/0", "a/0", "a/1"}},
	} {
		tt := newScheduler(1, c.roundRobin, limits{})
		for _, k := range []topicPartition{{"a", 0}, {"a", 1}, {"b", 0}, {"c", 0}} {
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

// While a partition is served, the first batches of those that are served next are opened, and
// not those of others.
func TestPartitionsServedNextAreOpenedAhead(t *testing.T) {
	tt := newScheduler(1, false, limits{})
	var parts []*partition
	for n := range int32(5) {
		p := supplied(tt, topicPartition{"a", n}, 2000)
		p.cursor.opener = newOpener(1 << 20)
		parts = append(parts, p)
	}
	done := make(chan struct{})
	defer close(done)
	for range 2 {
		p, _ := tt.take()
		tt.release(p)
	}
	for i, p := range parts[2:] {
		b := p.cursor.batches
		if want := i < partitionsAhead; (len(b) == 1 && b[0].ahead != nil) != want {
			t.Errorf("partition %d: %d batches are taken, want them opened: %v", p.partition, len(b), want)
		}
	}
	next := &parts[2].cursor
	go next.opener.run(done)
	<-next.batches[0].ahead.done
	p, _ := tt.take()
	if p != parts[2] || len(p.cursor.read(3000)) != 2000 {
		t.Errorf("partition %d is served", p.partition)
	}
	tt.release(p)
}

// A paused partition is passed over until its time has come.
func TestPausedPartitionWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tt := newScheduler(1, false, limits{})
		p := supplied(tt, topicPartition{"a", 0}, 1)
		q := supplied(tt, topicPartition{"a", 1}, 1)
		tt.change(func() {
			tt.hold(p, heldBy{hold: holdBackoff, until: time.Now().Add(10 * time.Second)})
			tt.hold(q, heldBy{hold: holdBackoff, until: time.Now().Add(3 * time.Second)})
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
		waiting  int
		caughtUp bool
		full     bool
		want     time.Duration
	}{
		"there is a batch":            {10, false, false, 0},
		"at the end":                  {3, true, false, 0},
		"more is coming":              {3, false, false, 2 * time.Second},
		"nothing more may be fetched": {3, false, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt := newScheduler(1, false, limits{})
				tt.batch, tt.batchWait = 10, 2*time.Second
				p := supplied(tt, topicPartition{"a", 0}, c.waiting)
				p.supply().caughtUp, p.supply().full = c.caughtUp, c.full
				tt.available(p)
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
		tt := newScheduler(2, false, limits{})
		supplied(tt, topicPartition{"a", 0}, 5)
		s := supplied(tt, topicPartition{"a", 1}, 5)
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
			t.Errorf("got %v, alone %v", one.p.topicPartition, one.alone)
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

// yieldingSource fetches nothing while its partition is paused.
type yieldingSource struct {
	*fakeSource
	held bool
}

func (s *yieldingSource) Hold(held bool) { s.held = held }

func (s *yieldingSource) Buffered() (messages int, bytes int64) {
	if s.held {
		return 0, 0
	}
	return s.fakeSource.Buffered()
}

// A partition that was paused and has given back all it held is served again, whether or not
// anything of it was fetched meanwhile.
func TestPausedPartitionIsServedAgain(t *testing.T) {
	for name, c := range map[string]struct{ pause, resume func(*scheduler, *partition) }{
		"for a time": {func(tt *scheduler, p *partition) {
			tt.hold(p, heldBy{hold: holdBackoff, until: time.Now().Add(3 * time.Second)})
		}, func(*scheduler, *partition) {}},
		"at a batch that cannot be decoded": {
			func(tt *scheduler, p *partition) {
				p.cursor.corrupt = &fetch.CorruptError{}
				tt.hold(p, heldBy{hold: holdCorrupt})
			},
			func(tt *scheduler, p *partition) { tt.unhold(p, holdCorrupt) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt := newScheduler(1, false, limits{})
				p := supplied(tt, topicPartition{"a", 0}, 10)
				source := &yieldingSource{fakeSource: p.supply()}
				source.raw, p.cursor.source = rawBatch(0, 10, false), source
				_, _ = tt.take()
				p.cursor.read(1)
				p.acks.processed.Store(1)
				tt.change(func() { c.pause(tt, p) })
				if tt.release(p); !source.held || source.taken > 0 {
					t.Errorf("paused: held %v, %d batches taken", source.held, source.taken)
				}
				tt.change(func() { c.resume(tt, p) })
				if q, _ := tt.take(); q != p || source.held {
					t.Errorf("served %v, held %v", q, source.held)
				}
				tt.stop()
			})
		})
	}
}
