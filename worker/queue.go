package worker

import (
	"bytes"
	"slices"

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

// weight is what p holds outside of its queue: its chunk, and what it keeps from chunks
// before. The executor owns p.
func (p *partition) weight() (n int64) {
	for _, m := range p.cur {
		n += size(m)
	}
	for _, m := range p.kept {
		if len(p.cur) > 0 && m.Offset >= p.cur[0].Offset {
			break
		}
		n += size(m)
	}
	return n
}

// hold counts what p holds outside of its queue. Called with turns.mu held.
func (t *turns) hold(p *partition, n int64) {
	if _, ours := t.claims[p]; ours {
		t.bytes += n - p.held
		p.held = n
	}
}

// keep holds on to messages until their output is acknowledged.
func (p *partition) keep(messages []*sarama.ConsumerMessage) {
	p.kept = append(p.kept, messages...)
	p.countKept(messages, 1)
}

// unkeep lets go of the first n of them.
func (p *partition) unkeep(n int) {
	p.countKept(p.kept[:n], -1)
	clear(p.kept[:n]) // the array may live on
	if p.kept = p.kept[n:]; len(p.kept) == 0 {
		p.kept = nil
	}
}

func (p *partition) countKept(messages []*sarama.ConsumerMessage, sign int64) {
	var n int64
	for _, m := range messages {
		n += size(m)
	}
	p.keptBytes += sign * n
	p.m.w.turns.kept.Add(sign * n)
}

// smallBytes is how large a key or value may be to share memory with its neighbours.
const smallBytes = 512

func small(b []byte) int {
	if len(b) > smallBytes {
		return 0
	}
	return len(b)
}

// own copies the bytes of messages that will wait: they share the memory of a whole
// answer, and one that waits would hold all of it.
func own(messages []*sarama.ConsumerMessage) {
	for chunk := range slices.Chunk(messages, chunkSize) {
		n := 0
		for _, m := range chunk {
			n += small(m.Key) + small(m.Value)
		}
		shared := make([]byte, 0, n)
		copied := func(b []byte) []byte {
			if from := len(shared); small(b) > 0 {
				shared = append(shared, b...)
				return shared[from:len(shared):len(shared)]
			}
			return bytes.Clone(b) // nil and empty stay what they are
		}
		for _, m := range chunk {
			m.Key, m.Value = copied(m.Key), copied(m.Value)
			for _, h := range m.Headers {
				h.Key, h.Value = bytes.Clone(h.Key), bytes.Clone(h.Value)
			}
		}
	}
}

// size is what a message weighs, in bytes.
func size(m *sarama.ConsumerMessage) int64 {
	n := int64(len(m.Key) + len(m.Value) + kafka.MessageOverhead)
	for _, h := range m.Headers {
		n += int64(len(h.Key) + len(h.Value) + kafka.HeaderOverhead)
	}
	return n
}
