package worker

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
)

// fetcher stands in for sarama: it delivers what it fetches to the claims' channels, of
// those partitions that are not paused.
type fetcher struct {
	sarama.ConsumerGroup
	mu     sync.Mutex
	paused map[tp]bool
}

func (g *fetcher) set(which map[string][]int32, paused bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for topic, ps := range which {
		for _, n := range ps {
			g.paused[tp{topic, n}] = paused
		}
	}
}
func (g *fetcher) Pause(which map[string][]int32)  { g.set(which, true) }
func (g *fetcher) Resume(which map[string][]int32) { g.set(which, false) }

func (g *fetcher) isPaused(k tp) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.paused[k]
}

// flowClaim is a claim with more messages than anybody takes.
type flowClaim struct {
	sarama.ConsumerGroupClaim
	messages chan *sarama.ConsumerMessage
}

func (c *flowClaim) Messages() <-chan *sarama.ConsumerMessage { return c.messages }
func (c *flowClaim) HighWaterMarkOffset() int64               { return 1 << 40 }

// flow is one partition with its claim and its pump.
type flow struct {
	p    *partition
	done chan struct{}
	n    atomic.Int64 // processed
}

// Partitions that are paused, slow, taken away and given back, with more than all may
// hold together: once everything is well again, each of them is fetched and processed.
func TestEveryPartitionIsFetchedInTheEnd(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { flows(t, seed) }) })
	}
}

func flows(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 2))
	group := &fetcher{paused: map[tp]bool{}}
	executors := 1 + random.IntN(3)
	tt := newTurns(executors, random.IntN(2) == 0, limits{messages: 256, bytes: 1 << 20, lead: time.Second})
	m := &membership{w: &worker{}, group: group, parts: map[tp]*partition{}}
	counts := sync.Map{} // *partition → *flow
	var calm atomic.Bool
	for i := range executors {
		pace := rand.New(rand.NewPCG(seed, uint64(10+i)))
		go func() {
			e := &executor{t: tt}
			for {
				p, _ := tt.take()
				if p == nil {
					return
				}
				chunk := e.pop(p)
				if !calm.Load() {
					<-time.After(time.Duration(pace.IntN(200)) * time.Millisecond)
				}
				if f, ok := counts.Load(p); ok {
					f.(*flow).n.Add(int64(len(chunk)))
				}
				tt.release(p)
			}
		}()
	}
	begin := func(k tp) *flow {
		f := &flow{p: newPartition(m, k), done: make(chan struct{})}
		f.p.begin(0, 0)
		counts.Store(f.p, f)
		tt.pumped(f.p)
		c := &flowClaim{messages: make(chan *sarama.ConsumerMessage, 64)}
		fetch := rand.New(rand.NewPCG(seed, uint64(100+k.partition)))
		value := make([]byte, 1<<(4+fetch.IntN(12)))
		go func() { // sarama
			defer close(c.messages)
			for offset := int64(0); ; {
				select {
				case <-f.p.leaving:
					return
				case <-time.After(100 * time.Millisecond):
				}
				if group.isPaused(k) {
					continue
				}
				for range 1 + fetch.IntN(200) {
					select {
					case c.messages <- &sarama.ConsumerMessage{Topic: k.topic, Partition: k.partition, Offset: offset, Value: value}:
						offset++
					case <-f.p.leaving:
						return
					}
				}
			}
		}()
		go func() { defer close(f.done); newPump(tt, f.p, c).run() }()
		tt.add(f.p)
		return f
	}
	end := func(f *flow) {
		f.p.leave()
		tt.retire(f.p)
		<-f.p.idle
		tt.remove(f.p)
		<-f.done
		tt.released(f.p)
	}
	all := map[tp]*flow{}
	keys := []tp{{"a", 0}, {"a", 1}, {"b", 0}, {"b", 1}, {"c", 0}}
	for _, k := range keys {
		all[k] = begin(k)
	}
	for range 60 {
		k := keys[random.IntN(len(keys))]
		f := all[k]
		switch random.IntN(6) {
		case 0:
			tt.change(func() { f.p.setOperator(true) })
		case 1:
			tt.change(func() { f.p.setOperator(false) })
		case 2:
			tt.change(func() { f.p.until = time.Now().Add(time.Duration(random.IntN(3000)) * time.Millisecond) })
		case 3:
			end(f)
			all[k] = begin(k)
		case 4:
			tt.setQuiet(random.IntN(2) == 0)
		}
		<-time.After(time.Duration(random.IntN(500)) * time.Millisecond)
	}
	tt.setQuiet(false)
	tt.change(func() {
		for _, f := range all {
			f.p.setOperator(false)
		}
	})
	calm.Store(true)
	<-time.After(4 * time.Second)
	before := map[tp]int64{}
	for k, f := range all {
		before[k] = f.n.Load()
	}
	<-time.After(4 * time.Second)
	for k, f := range all {
		if f.n.Load() == before[k] {
			tt.mu.Lock()
			t.Errorf("%v stands still: %d queued, fetching %v, sarama paused %v; throttled %v with %d bytes", k, f.p.queue.n, f.p.fetching, group.isPaused(k), tt.throttled, tt.bytes)
			tt.mu.Unlock()
		}
	}
	for _, f := range all {
		end(f)
	}
	if tt.bytes != 0 {
		t.Errorf("%d bytes are held of nothing", tt.bytes)
	}
	tt.stop()
	synctest.Wait()
}
