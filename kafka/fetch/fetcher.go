package fetch

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
)

// Access opens connections to brokers; kafka/access.Access is one.
type Access interface {
	// Dial returns a connection for requests: each in one Write, and only one goroutine at a
	// time waits for an answer.
	Dial(ctx context.Context, addr string) (net.Conn, error)
	// Addresses returns the configured brokers.
	Addresses() ([]string, error)
	// SocketTimeout bounds the wait for an answer.
	SocketTimeout() time.Duration
}

// Options are the settings of a Fetcher.
type Options struct {
	Config        *config.Config
	Access        Access
	ReadCommitted bool               // leave out aborted transactions and wait for open ones
	Rack          string             // client.rack: fetch from a replica there (KIP-392)
	Backoff       time.Duration      // the first pause after an error; 0: 100 ms
	Log           logrus.FieldLogger // nil: nothing is logged
	// Count is called with each request to a broker, and what it returns with the bytes of
	// the answer; 0: none came. Nil: nobody counts.
	Count func(broker int32, sent int) (answered func(received int))
}

const (
	firstBackoff = 100 * time.Millisecond
	// longestBackoff bounds the doubled pauses: a leader election takes seconds.
	longestBackoff = 2 * time.Second
	// leastRequest is the smallest request that is worth its round trip. It is also what a
	// waiting request reserves.
	leastRequest = 64 << 10
	// defaultUntouched is the time without a Next after which a partition's batches may be
	// dropped. It bounds how much is fetched in vain when all partitions are slow.
	defaultUntouched = 5 * time.Second
)

// Fetcher fetches the partitions of one worker from all brokers, on demand: it fetches a
// partition while the batches that wait for Next take less than its share of the budget.
type Fetcher struct {
	opts    Options
	log     logrus.FieldLogger
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	refresh chan struct{} // capacity 1: metadata is needed
	decoder Decoder

	mu      sync.Mutex
	started bool // the metadata loop runs
	closed  bool
	topics  map[string]*topic
	brokers map[int32]*broker
	open    int   // partitions
	used    int64 // bytes reserved by requests, waiting, or taken and not released
	limit   int64 // of used
	request int64 // bytes that a hot request asks for at most

	untouched time.Duration // see defaultUntouched
}

// topic is a topic that has fetched partitions; guarded by Fetcher.mu.
type topic struct {
	id         [16]byte // zero: unknown, or below Kafka 2.8
	leaders    map[int32]leader
	partitions map[int32]*Partition
}

// leader is the leader of a partition, according to metadata.
type leader struct {
	broker, epoch int32
}

// New returns a Fetcher. It does not connect before the first Add.
func New(o Options) *Fetcher {
	if o.Backoff <= 0 {
		o.Backoff = firstBackoff
	}
	if o.Log == nil {
		silent := logrus.New()
		silent.SetOutput(io.Discard)
		o.Log = silent
	}
	most := int64(max(o.Config.MaxBytes, leastRequest))
	f := &Fetcher{
		opts: o, log: o.Log, refresh: make(chan struct{}, 1),
		topics: map[string]*topic{}, brokers: map[int32]*broker{},
		limit: 2 * most, request: max(most/4, leastRequest), untouched: defaultUntouched,
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

// Close closes all partitions and connections, and returns when no goroutine is left.
func (f *Fetcher) Close() {
	f.mu.Lock()
	f.closed = true
	for _, t := range f.topics {
		for _, p := range t.partitions {
			p.close()
		}
	}
	f.mu.Unlock()
	f.cancel()
	f.wg.Wait()
}

// Position is an offset with what identifies the log that it belongs to.
type Position struct {
	Offset      int64    // NoOffset: none
	LeaderEpoch int32    // of the record before Offset; -1: unknown
	TopicID     [16]byte // zero: unknown
}

// NoOffset is the Offset of a partition for which nothing is committed.
const NoOffset = -1

// StartFrom says where a partition without a commit begins.
type StartFrom int

const (
	Beginning StartFrom = iota
	End
)

// PartitionOptions differ between the partitions of one Fetcher.
type PartitionOptions struct {
	MaxBytes int // of one answer: max_bytes_per_partition
}

// Add begins to fetch a partition. committed is what the group has. changed is called
// without locks held whenever Next may have something new or Err may have changed; it
// must not block.
func (f *Fetcher) Add(name string, number int32, committed Position, from StartFrom, o PartitionOptions, changed func()) *Partition {
	p := newPartition(f, name, number, committed, from, o, changed)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		p.close()
		return p
	}
	t := f.topics[name]
	if t == nil {
		t = &topic{partitions: map[int32]*Partition{}, leaders: map[int32]leader{}}
		f.topics[name] = t
	}
	if old := t.partitions[number]; old != nil {
		old.close()
		f.topics[name] = t // close removes a topic without partitions
	}
	t.partitions[number] = p
	f.open++
	if !f.started {
		f.started = true
		f.wg.Go(f.keepMetadata)
	}
	if l, ok := t.leaders[number]; ok {
		p.checkTopic(t.id)
		p.setLeader(l)
	} else {
		f.needMetadata()
	}
	return p
}

// share is the part of the budget for each partition's waiting batches. f.mu is held.
func (f *Fetcher) share() int64 { return f.limit / 2 / int64(max(f.open, 1)) }

// room is the unused part of the budget. f.mu is held.
func (f *Fetcher) room() int64 { return f.limit - f.used }

// least is the room that a hot request needs: many small requests would be inefficient. f.mu is
// held.
func (f *Fetcher) least() int64 { return max(f.request/4, leastRequest) }

// release returns bytes to the budget, and wakes the loops that wait for them. f.mu is held.
func (f *Fetcher) release(bytes int64) {
	f.used -= bytes
	for _, b := range f.brokers {
		if b.hot.short > 0 && f.room() >= b.hot.short {
			b.hot.wake()
		}
	}
}

// makeRoom drops the waiting batches of a paused partition or, if there is none, of the
// partition that had no Next for longest. They are fetched again later. It spares partitions
// with an open question about their position. f.mu is held.
func (f *Fetcher) makeRoom(now time.Time) {
	var victim *Partition
	for _, t := range f.topics {
		for _, p := range t.partitions {
			if p.bytes == 0 || p.ask != askNothing || !p.held && now.Sub(p.touched) < f.untouched {
				continue
			}
			if victim == nil || p.held && !victim.held || p.held == victim.held && p.touched.Before(victim.touched) {
				victim = p
			}
		}
	}
	if victim != nil {
		victim.dropWaiting()
	}
}

// poke fills a channel of capacity 1.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
