package worker

import (
	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/kafka"
)

// chunkSize is how many messages a queue hands over at once: large enough that
// its lock does not matter, small enough that room is noticed soon and that what
// is made of a chunk for consumer code stays below 32 KB, above which Go's
// allocator is slow.
const chunkSize = 128

// queue holds what a pump has taken from its claim and no executor has begun.
// It is guarded by turns.mu.
type queue struct {
	chunks [][]*sarama.ConsumerMessage
	n      int   // messages
	bytes  int64 // of keys, values and headers
}

// push appends a copy of msgs (the pointers).
func (q *queue) push(msgs []*sarama.ConsumerMessage, bytes int64) {
	q.n += len(msgs)
	q.bytes += bytes
	if last := len(q.chunks) - 1; last >= 0 {
		free := min(cap(q.chunks[last])-len(q.chunks[last]), len(msgs))
		q.chunks[last] = append(q.chunks[last], msgs[:free]...)
		msgs = msgs[free:]
	}
	for len(msgs) > 0 {
		n := min(chunkSize, len(msgs))
		// A lone message is the rule in a quiet topic: no room for 256 then.
		chunk := make([]*sarama.ConsumerMessage, n, min(chunkSize, max(8, 4*n)))
		copy(chunk, msgs)
		q.chunks = append(q.chunks, chunk)
		msgs = msgs[n:]
	}
}

// pop takes the oldest chunk, nil when there is none.
func (q *queue) pop() []*sarama.ConsumerMessage {
	if len(q.chunks) == 0 {
		return nil
	}
	chunk := q.chunks[0]
	q.chunks[0] = nil
	q.chunks = q.chunks[1:]
	q.n -= len(chunk)
	if len(q.chunks) == 0 {
		q.chunks = nil // the backing array is not to grow for ever
	}
	for _, m := range chunk {
		q.bytes -= size(m)
	}
	return chunk
}

// size is what a message weighs, in bytes.
func size(m *sarama.ConsumerMessage) int64 {
	n := int64(len(m.Key) + len(m.Value) + kafka.MessageOverhead)
	for _, h := range m.Headers {
		n += int64(len(h.Key) + len(h.Value) + kafka.HeaderOverhead)
	}
	return n
}
