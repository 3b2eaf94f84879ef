// Package scoreboard is memory that a worker shares with its supervisor: the messages that
// its calls of consumer code have in hand, when these calls began, and the worker's
// counters. The worker writes it without a system call. It outlives the worker, so that
// after os.Exit, an out-of-memory kill or a fatal error of the runtime the supervisor still
// knows what was in hand. Its layout belongs to the version of the protocol: see package
// wire.
package scoreboard

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Layout: a header of headerSize bytes (magic, number of slots), Counters in
// countersSize bytes, then slots of slotSize bytes. In a slot the sequence is odd while it is being written
// (seqlock): a reader that sees an odd or changed sequence of a live writer retries; of a
// dead one it takes the values that are there.
const (
	magic        = 0x7261636563617232 // "racecar2"
	headerSize   = 64
	countersSize = 448
	slotsAt      = headerSize + countersSize
	slotSize     = 320
	maxTopic     = 249 // Kafka's limit
)

var _ [countersSize - unsafe.Sizeof(Counters{})]struct{} // they fit

// slot mirrors the memory; all fields but topic are accessed atomically.
type slot struct {
	seq       uint64
	started   int64 // CLOCK_MONOTONIC in ns; 0: nothing in hand
	first     int64
	last      int64
	partition int32
	alone     uint32
	topicLen  uint32
	topic     [maxTopic]byte
}

// Call is a running call of one slot.
type Call struct {
	Topic       string
	Partition   int32
	FirstOffset int64
	LastOffset  int64
	// Alone is true when no other call ran in that process: then this call caused its
	// death.
	Alone bool
	// Since is how long the call has been running.
	Since time.Duration
}

// Board is the memory, mapped. Begin and End of different slots may run at the
// same time; one slot belongs to one goroutine at a time.
type Board struct {
	mem      []byte
	counters *Counters
	slots    []*slot
	base     time.Time
	mono     int64 // CLOCK_MONOTONIC at base
}

// Create makes a board of n slots in anonymous memory (memfd; an unlinked
// temporary file where there is none) and returns the file to pass to the worker.
func Create(n int) (*os.File, *Board, error) {
	f, err := anonymousFile()
	if err != nil {
		return nil, nil, fmt.Errorf("scoreboard: %w", err)
	}
	size := slotsAt + n*slotSize
	if err := f.Truncate(int64(size)); err != nil {
		_ = f.Close()
		return nil, nil, fmt.Errorf("scoreboard: %w", err)
	}
	var head [16]byte
	binary.LittleEndian.PutUint64(head[:8], magic)
	binary.LittleEndian.PutUint64(head[8:], uint64(n))
	if _, err := f.WriteAt(head[:], 0); err != nil {
		_ = f.Close()
		return nil, nil, fmt.Errorf("scoreboard: %w", err)
	}
	b, err := Open(f)
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, b, nil
}

// Open maps the board in f; f may be closed afterwards.
func Open(f *os.File) (*Board, error) {
	var head [16]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return nil, fmt.Errorf("scoreboard: read header: %w", err)
	}
	n := binary.LittleEndian.Uint64(head[8:])
	if binary.LittleEndian.Uint64(head[:8]) != magic || n > 1<<16 {
		return nil, fmt.Errorf("scoreboard: %s is not a scoreboard", f.Name())
	}
	size := slotsAt + int(n)*slotSize
	if info, err := f.Stat(); err != nil {
		return nil, fmt.Errorf("scoreboard: %w", err)
	} else if info.Size() < int64(size) {
		return nil, fmt.Errorf("scoreboard: %d bytes where %d slots take %d", info.Size(), n, size)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("scoreboard: map: %w", err)
	}
	b := &Board{mem: mem, counters: (*Counters)(unsafe.Pointer(&mem[headerSize])), base: time.Now(), mono: monotonic()}
	for i := range int(n) {
		b.slots = append(b.slots, (*slot)(unsafe.Pointer(&mem[slotsAt+i*slotSize])))
	}
	return b, nil
}

// Close unmaps the memory. Nobody may use the board any more.
func (b *Board) Close() error {
	b.counters, b.slots = nil, nil
	return unix.Munmap(b.mem)
}

// Counters are those of the worker.
func (b *Board) Counters() *Counters { return b.counters }

// Slots is the number of slots.
func (b *Board) Slots() int { return len(b.slots) }

// Begin records that slot i now runs a call with these messages of a partition. alone
// says that no other call runs.
func (b *Board) Begin(i int, topic string, partition int32, first, last int64, alone bool) {
	b.BeginAt(i, topic, partition, first, last, alone, b.Now())
}

// BeginAt is Begin for a caller that has just read the board's clock, Now.
func (b *Board) BeginAt(i int, topic string, partition int32, first, last int64, alone bool, now int64) {
	s := b.slots[i]
	atomic.AddUint64(&s.seq, 1)
	atomic.StoreInt64(&s.started, now)
	atomic.StoreInt64(&s.first, first)
	atomic.StoreInt64(&s.last, last)
	atomic.StoreInt32(&s.partition, partition)
	var flag uint32
	if alone {
		flag = 1
	}
	atomic.StoreUint32(&s.alone, flag)
	n := copy(s.topic[:], topic)
	atomic.StoreUint32(&s.topicLen, uint32(n))
	atomic.AddUint64(&s.seq, 1)
}

// NextAt records that the call of slot i has ended and another one of the same partition
// has begun: End and BeginAt in one, for the path of each message.
func (b *Board) NextAt(i int, first, last, now int64) {
	s := b.slots[i]
	atomic.AddUint64(&s.seq, 1)
	atomic.StoreInt64(&s.started, now)
	atomic.StoreInt64(&s.first, first)
	atomic.StoreInt64(&s.last, last)
	atomic.AddUint64(&s.seq, 1)
}

// End records that slot i has nothing in hand.
func (b *Board) End(i int) {
	s := b.slots[i]
	atomic.AddUint64(&s.seq, 1)
	atomic.StoreInt64(&s.started, 0)
	atomic.AddUint64(&s.seq, 1)
}

// InHand returns the running calls, in order of the slots.
func (b *Board) InHand() []Call {
	var calls []Call
	for _, s := range b.slots {
		if c, ok := b.read(s); ok {
			calls = append(calls, c)
		}
	}
	return calls
}

// tries bounds the retries of a reader: a writer that died while it wrote leaves an odd
// sequence forever.
const tries = 100

func (b *Board) read(s *slot) (Call, bool) {
	var c Call
	var started int64
	for range tries {
		before := atomic.LoadUint64(&s.seq)
		started = atomic.LoadInt64(&s.started)
		c = Call{
			Partition:   atomic.LoadInt32(&s.partition),
			FirstOffset: atomic.LoadInt64(&s.first),
			LastOffset:  atomic.LoadInt64(&s.last),
			Alone:       atomic.LoadUint32(&s.alone) == 1,
			Topic:       string(s.topic[:min(atomic.LoadUint32(&s.topicLen), maxTopic)]),
		}
		if before%2 == 0 && atomic.LoadUint64(&s.seq) == before {
			break
		}
	}
	if started == 0 {
		return Call{}, false
	}
	c.Since = max(0, time.Duration(b.Now()-started))
	return c, true
}

// Now is CLOCK_MONOTONIC in nanoseconds, without a system call: Go's clock, shifted to
// the same zero.
func (b *Board) Now() int64 { return b.mono + int64(time.Since(b.base)) }

func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("scoreboard: no monotonic clock: " + err.Error()) // cannot happen on a supported system
	}
	return ts.Nano()
}
