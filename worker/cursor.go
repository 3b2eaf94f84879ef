package worker

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/racecar-go/racecar/internal/offsetmap"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/fetch"
	"github.com/racecar-go/racecar/racecar"
)

// chunkSize is how many messages are decoded at once: enough that it costs little for
// each, and few enough that a chunk stays below 32 KiB, above which Go's allocator is slow.
const chunkSize = 128

const messageCost = int64(unsafe.Sizeof(racecar.Message{}))

// source is where a cursor gets its batches: a *fetch.Partition.
type source interface {
	Start(ctx context.Context) (fetch.Start, error)
	Next() fetch.Item
	Release(*fetch.Batch)
	SeekTo(offset int64)
	Hold(held bool)
	Buffered() (messages int, bytes int64)
	Watermarks() (start, stable, high int64)
	Fetched() (next int64, caughtUp bool)
	Full() bool
	Err() error
	Close()
}

// cursor is an executor's position in the batches of a partition. It holds the batches
// from the oldest unacknowledged message on, so that it can go back to it. It belongs to
// the executor that serves the partition, and between two quanta to the scheduler.
type cursor struct {
	source         source
	opener         *opener
	unacknowledged *atomic.Int64 // of the worker: bytes of batches that are read and not released
	epoch          *atomic.Int32 // kafka.Epoch of the batch that was read last

	batches []*takenBatch // in the order of their offsets
	reading int           // batches[reading] is decoded next
	floor   int64         // batches below it are released
	from    int64         // where decoding continues
	chunk   []racecar.Message
	index   int                 // the next message in chunk
	moved   *fetch.Moved        // where the position jumps, behind all batches; nil: nowhere
	corrupt *fetch.CorruptError // why the next batch cannot be decoded; nil: it can

	corruptMessages int // in that one, as far as it says so

	finished offsetmap.Set // messages that it passes over
}

// takenBatch is a batch that was taken from its source.
type takenBatch struct {
	*fetch.Batch
	count int      // of messages, at most: while the batch is opened, Count must not be called
	seen  bool     // consumer code may have written into it
	ahead *opening // it is opened by another goroutine; nil: it is not
}

// peek returns the messages that come next: at least want of them, if so many are there.
func (c *cursor) peek(want int) []racecar.Message {
	for len(c.chunk)-c.index < want && c.load(want-len(c.chunk)+c.index) {
	}
	return c.chunk[c.index:]
}

// load decodes more messages; false when there are none (yet).
func (c *cursor) load(want int) bool {
	for c.corrupt == nil && (c.reading < len(c.batches) || c.take()) {
		b := c.batches[c.reading]
		c.epoch.Store(int32(kafka.KnownLeaderEpoch(b.LeaderEpoch())))
		if !b.Empty() && c.from < b.NextOffset() {
			if len(c.chunk) == cap(c.chunk) {
				c.newChunk(want)
			}
			chunk, err := c.decode(b)
			if err != nil {
				c.undecodable(b, err)
				return false
			}
			if n := len(c.chunk); len(chunk) > n {
				c.from = chunk[len(chunk)-1].Offset + 1
				if len(c.finished) > 0 {
					chunk = chunk[:n+len(unfinishedOf(chunk[n:], c.finished))]
				}
				if c.chunk = chunk; len(chunk) == n {
					continue
				}
				return true
			}
		}
		c.from = max(c.from, b.NextOffset())
		c.reclaim(b)
		b.Discard() // what was decoded is in use, or not needed unless the cursor goes back
		c.unacknowledged.Add(b.Size())
		c.reading++
	}
	return false
}

// newChunk makes room for so many more messages, as far as the source has them: those of
// batches behind them would come too late, as a chunk is given up once it is processed.
func (c *cursor) newChunk(want int) {
	there := 0
	for i := c.reading; there < want && (i < len(c.batches) || c.take()); i++ {
		there += c.undecodedOf(c.batches[i])
	}
	left := c.chunk[c.index:]
	chunk := make([]racecar.Message, 0, len(left)+min(max(chunkSize, want), max(1, there)))
	c.chunk, c.index = append(chunk, left...), 0
}

// undecoded is how many messages the batches from the one being read on hold at most.
func (c *cursor) undecoded() (n int) {
	for _, b := range c.batches[c.reading:] {
		n += c.undecodedOf(b)
	}
	return n
}

func (c *cursor) undecodedOf(b *takenBatch) int {
	if b.Empty() {
		return 0
	}
	return int(min(int64(b.count), max(0, b.NextOffset()-max(c.from, b.FirstOffset()))))
}

// take takes the next batch; false when there is none.
func (c *cursor) take() bool {
	if c.moved != nil {
		return false
	}
	item := c.source.Next()
	if c.moved = item.Moved; item.Batch == nil {
		return false
	}
	c.batches = append(c.batches, &takenBatch{Batch: item.Batch, count: item.Batch.Count()})
	return true
}

// decode opens b and appends its next messages to the chunk. Meanwhile the batches after it are
// opened.
func (c *cursor) decode(b *takenBatch) ([]racecar.Message, error) {
	c.reclaim(b)
	if err := b.Open(c.opener.limit); err != nil {
		return nil, err
	}
	chunk, err := b.Append(c.chunk, c.from)
	if err == nil && !b.seen {
		b.seen = true
		c.openAhead(c.reading + 1)
	}
	return chunk, err
}

// openAhead has batches[i] and some after it opened by another goroutine, as far as they have
// arrived.
func (c *cursor) openAhead(i int) {
	bytes := int64(0)
	for end := i + leastBatchesAhead; (i < end || bytes < bytesAhead) && (i < len(c.batches) || c.take()); i++ {
		bytes += c.batches[i].Size()
		c.opener.open(c.batches[i])
	}
}

// reclaim has b opened by nobody else any more.
func (c *cursor) reclaim(b *takenBatch) {
	if b.ahead != nil {
		c.opener.takeBack(b.ahead)
		b.ahead = nil
	}
}

// undecodable deals with a batch that cannot be decoded. One that could be before was
// changed by consumer code: it is fetched again.
func (c *cursor) undecodable(b *takenBatch, err error) {
	if b.seen {
		c.seek(c.reading, c.from)
		return
	}
	corrupt, ok := errors.AsType[*fetch.CorruptError](err)
	if !ok {
		corrupt = &fetch.CorruptError{First: b.FirstOffset(), Next: b.NextOffset(), Reason: err.Error()}
	}
	c.corrupt, c.corruptMessages = corrupt, max(1, b.count)
}

// messages returns those of a call, which is next, as they were received; false until they
// were fetched again.
func (c *cursor) messages(call span) ([]racecar.Message, bool) {
	messages := c.peek(call.n)
	there := below(messages, call.next, 0)
	return there, len(there) >= call.n || len(there) < len(messages)
}

// exhausted reports whether all that was decoded is processed, and up to which offset
// there is nothing else.
func (c *cursor) exhausted() (position int64, exhausted bool) { return c.from, c.index == len(c.chunk) }

// done moves over the next n messages.
func (c *cursor) done(n int) {
	if c.index += n; c.index == len(c.chunk) {
		c.chunk, c.index = nil, 0
	}
}

// advance moves to offset, which is not below the next message's.
func (c *cursor) advance(offset int64) {
	n := 0
	for c.index+n < len(c.chunk) && c.chunk[c.index+n].Offset < offset {
		n++
	}
	if c.done(n); c.chunk == nil {
		c.from = max(c.from, offset)
	}
}

// rewind goes back to offset, at or above the oldest unacknowledged message. What was
// handed out is decoded again: consumer code may have changed it. Where that shows in a
// batch's checksum, it is fetched again.
func (c *cursor) rewind(offset int64) {
	c.chunk, c.index, c.corrupt = nil, 0, nil
	i := c.find(offset)
	c.unread(i)
	c.from = offset
	if offset < c.floor {
		c.seek(0, offset)
		return
	}
	for j, b := range c.batches[i:] {
		if !b.seen { // batches behind it may be: a batch without messages never is
			continue
		}
		if b.Discard(); !b.Intact() {
			c.seek(i+j, max(offset, b.FirstOffset()))
			return
		}
	}
}

// find returns the index of the first batch that ends behind offset.
func (c *cursor) find(offset int64) int {
	i, _ := slices.BinarySearchFunc(c.batches, offset, func(b *takenBatch, offset int64) int {
		if b.NextOffset() <= offset {
			return -1
		}
		return 1
	})
	return i
}

// unread makes batches[i] the next to be decoded, if one behind it is.
func (c *cursor) unread(i int) {
	for ; c.reading > i; c.reading-- {
		c.unacknowledged.Add(-c.batches[c.reading-1].Size())
	}
}

// seek has batches[i] and all behind it fetched again, from offset on. A log that has jumped
// meanwhile does not have them any more, unless it was merely cut off behind offset: the
// jump is made then.
func (c *cursor) seek(i int, offset int64) {
	moved := c.moved
	if c.drop(i); moved != nil && (moved.Reason != fetch.Truncated || moved.To < offset) {
		c.moved = moved
	} else {
		c.source.SeekTo(offset)
	}
	if c.reading == i {
		c.from, c.floor = offset, min(c.floor, offset)
	}
}

// drop lets go of batches[i], which is not read yet, and of all that comes after it.
func (c *cursor) drop(i int) {
	for _, b := range c.batches[i:] {
		c.reclaim(b)
		c.source.Release(b.Batch)
	}
	c.batches = slices.Delete(c.batches, i, len(c.batches))
	c.moved, c.corrupt = nil, nil
}

// retry has the batch fetched again that cannot be decoded.
func (c *cursor) retry() { c.seek(c.reading, c.from) }

// skip goes on behind the batch that cannot be decoded.
func (c *cursor) skip() {
	c.seek(c.reading, max(c.from, c.corrupt.Next))
}

// jump goes on where the log does, once all before is processed and acknowledged.
func (c *cursor) jump() {
	c.unread(0)
	to := c.moved.To
	c.drop(0)
	c.from, c.floor = to, to
}

// release lets go of the batches below position, which are acknowledged.
func (c *cursor) release(position int64) {
	n := 0
	for ; n < c.reading && c.batches[n].NextOffset() <= position; n++ {
		c.floor = c.batches[n].NextOffset()
		c.unacknowledged.Add(-c.batches[n].Size())
		c.source.Release(c.batches[n].Batch)
	}
	c.batches = slices.Delete(c.batches, 0, n)
	c.reading -= n
}

// close lets go of everything.
func (c *cursor) close() {
	if c.source == nil {
		return // it was never opened
	}
	c.unread(0)
	c.drop(0)
	c.chunk, c.index = nil, 0
	c.source.Close()
}

// waiting is about how many messages were taken and are not processed; pending says that
// there is something to be done, if only to move on.
func (c *cursor) waiting() (messages int, pending bool) {
	messages = len(c.chunk) - c.index + c.undecoded()
	return messages, c.index < len(c.chunk) || c.reading < len(c.batches) || c.moved != nil
}

// bytes is how many bytes its batches take.
func (c *cursor) bytes() (n int64) {
	for _, b := range c.batches {
		n += b.Size()
	}
	return n
}

// giveBack has all batches fetched again, if everything below the next message is
// acknowledged.
func (c *cursor) giveBack(acknowledged int64) bool {
	next := c.from
	if c.index < len(c.chunk) {
		next = c.chunk[c.index].Offset
	}
	if acknowledged < next && c.find(acknowledged) < c.find(next) || c.moved != nil {
		return false
	}
	corrupt := c.corrupt // which it stays
	c.release(next)
	c.chunk, c.index = nil, 0
	c.unread(0)
	c.seek(0, min(next, max(acknowledged, 0)))
	c.from, c.corrupt = next, corrupt
	return true
}

// decoded is how many bytes are held decoded.
func (c *cursor) decoded() int64 {
	n := int64(len(c.chunk)-c.index) * messageCost
	for _, b := range c.batches[c.reading:] {
		c.reclaim(b)
		n += b.Decoded()
	}
	return n
}

// discard forgets what is decoded and not processed.
func (c *cursor) discard() {
	if c.index < len(c.chunk) {
		c.from = c.chunk[c.index].Offset
	}
	c.chunk, c.index = nil, 0
	c.unread(c.find(c.from))
	for _, b := range c.batches[c.reading:] {
		c.reclaim(b)
		b.Discard()
	}
}
