package producer

import (
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"math/bits"
	"slices"
	"time"
)

// This file encodes messages into record batches.

// entry is the state of a message between Send and Done, without its encoded record.
type entry struct {
	done     Done
	deadline time.Duration // since the Producer was made
	buffered int32         // of the Producer's buffer that it takes
	end      int32         // where its record ends in its batch
	anywhere bool          // its partition was chosen at random
}

// record is an encoded message outside of a batch.
type record struct {
	entry
	timestamp int64  // in milliseconds
	body      []byte // key, value and headers, encoded
}

// batch is a run of messages for one partition under one sequence number. Send
// encodes each of them once, into the batch's buffer:
//
//	base offset int64, length int32, leader epoch int32, magic int8, crc int32,
//	attributes int16, last offset delta int32, base timestamp int64, max timestamp int64,
//	producer id int64, producer epoch int16, base sequence int32, records: a list of
//	length varint, attributes int8, timestamp delta varint, offset delta varint,
//	key, value: bytes with a varint length, headers: a list of key and value
type batch struct {
	entries     []entry
	buf         []byte // the header's room, then the records
	base, max   int64  // timestamps
	encoded     []byte // the batch as it is sent, compressed; nil: not closed yet
	numbered    bool   // wire has a sequence number
	maybeStored bool   // a request with it had no clear result
}

// Offsets of a batch's fields.
const (
	lengthAt     = 8
	epochAt      = 12
	magicAt      = 16
	crcAt        = 17
	attributesAt = 21
	lastDeltaAt  = 23
	baseTimeAt   = 27
	maxTimeAt    = 35
	producerAt   = 43
	countAt      = 57
	headerSize   = 61

	transactionalBit = 1 << 4
)

// bytes is the size of the records before compression.
func (b *batch) bytes() int { return len(b.buf) - headerSize }

// bodySize is how many bytes appendBody appends.
func bodySize(m *Message) int {
	n := bytesSize(m.Key) + bytesSize(m.Value) + varintSize(int64(len(m.Headers)))
	for i := range m.Headers {
		h := &m.Headers[i]
		n += varintSize(int64(len(h.Key))) + len(h.Key) + bytesSize(h.Value)
	}
	return n
}

func bytesSize(b []byte) int {
	if b == nil {
		return 1
	}
	return varintSize(int64(len(b))) + len(b)
}

// varintSize is how many bytes binary.AppendVarint appends.
func varintSize(n int64) int {
	zigzag := uint64(n)<<1 ^ uint64(n>>63)
	return (bits.Len64(zigzag|1) + 6) / 7
}

func appendBody(buf []byte, m *Message) []byte {
	buf = appendBytes(appendBytes(buf, m.Key), m.Value)
	buf = binary.AppendVarint(buf, int64(len(m.Headers)))
	for i := range m.Headers {
		h := &m.Headers[i]
		buf = append(binary.AppendVarint(buf, int64(len(h.Key))), h.Key...)
		buf = appendBytes(buf, h.Value)
	}
	return buf
}

func appendBytes(buf, b []byte) []byte {
	if b == nil {
		return append(buf, 1) // the varint -1: null
	}
	return append(binary.AppendVarint(buf, int64(len(b))), b...)
}

// add encodes m as the last record.
func (b *batch) add(pool *buffers, e entry, timestamp int64, m *Message) {
	b.open(pool, timestamp, bodySize(m))
	b.buf = appendBody(b.buf, m)
	b.close(e)
}

// addRecord appends a message that was encoded before.
func (b *batch) addRecord(pool *buffers, r record) {
	b.open(pool, r.timestamp, len(r.body))
	b.buf = append(b.buf, r.body...)
	b.close(r.entry)
}

// open writes what comes before the body of the next record.
func (b *batch) open(pool *buffers, timestamp int64, body int) {
	if b.buf == nil {
		b.buf = pool.get(headerSize + recordOverhead + body)[:headerSize]
		b.base, b.max = timestamp, timestamp
	}
	b.max = max(b.max, timestamp)
	after, offset := timestamp-b.base, int64(len(b.entries))
	size := 1 + varintSize(after) + varintSize(offset) + body
	b.buf = pool.grow(b.buf, varintSize(int64(size))+size)
	b.buf = append(binary.AppendVarint(b.buf, int64(size)), 0)
	b.buf = binary.AppendVarint(binary.AppendVarint(b.buf, after), offset)
}

func (b *batch) close(e entry) {
	e.end = int32(len(b.buf))
	b.entries = append(b.entries, e)
}

// records returns the batch's messages. They share the batch's buffer.
func (b *batch) records() []record {
	all := make([]record, 0, len(b.entries))
	start := int32(headerSize)
	for _, e := range b.entries {
		rest := b.buf[start:e.end]
		start = e.end
		_, n := binary.Varint(rest) // the length
		rest = rest[n+1:]
		after, n := binary.Varint(rest)
		rest = rest[n:]
		_, n = binary.Varint(rest) // the offset
		all = append(all, record{entry: e, timestamp: b.base + after, body: rest[n:]})
	}
	return all
}

// seal completes the batch except for its sequence number, and compresses it unless that
// would make it larger. A sealed batch takes no more messages.
func (b *batch) seal(pool *buffers, c codec, compress compressor) error {
	if b.encoded != nil {
		return nil
	}
	wire, attributes := b.buf, int16(0)
	if compress != nil {
		out, err := compress(pool.get(len(b.buf))[:headerSize], b.buf[headerSize:])
		if err != nil {
			return err
		}
		if len(out) < len(b.buf) {
			wire, attributes = out, c.id
		} else {
			pool.put(out)
		}
	}
	b.encoded = wire
	h := b.encoded
	binary.BigEndian.PutUint64(h, 0)
	binary.BigEndian.PutUint32(h[lengthAt:], uint32(len(h)-epochAt))
	binary.BigEndian.PutUint32(h[epochAt:], ^uint32(0)) // not known to producers
	h[magicAt] = 2
	binary.BigEndian.PutUint16(h[attributesAt:], uint16(attributes))
	binary.BigEndian.PutUint32(h[lastDeltaAt:], uint32(len(b.entries)-1))
	binary.BigEndian.PutUint64(h[baseTimeAt:], uint64(b.base))
	binary.BigEndian.PutUint64(h[maxTimeAt:], uint64(b.max))
	binary.BigEndian.PutUint32(h[countAt:], uint32(len(b.entries)))
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// setSequence sets a sealed batch's producer and sequence number, once: retries are identical,
// so that the broker recognizes them. id -1: not idempotent.
func (b *batch) setSequence(id int64, epoch int16, sequence int32, transactional bool) {
	if b.numbered {
		return
	}
	b.numbered = true
	h := b.encoded
	if transactional {
		binary.BigEndian.PutUint16(h[attributesAt:], binary.BigEndian.Uint16(h[attributesAt:])|transactionalBit)
	}
	binary.BigEndian.PutUint64(h[producerAt:], uint64(id))
	binary.BigEndian.PutUint16(h[producerAt+8:], uint16(epoch))
	binary.BigEndian.PutUint32(h[producerAt+10:], uint32(sequence))
	binary.BigEndian.PutUint32(h[crcAt:], crc32.Checksum(h[attributesAt:], castagnoli))
}

// release gives the batch's memory back. Its entries remain.
func (b *batch) release(pool *buffers) {
	if b.encoded != nil && &b.encoded[0] != &b.buf[0] {
		pool.put(b.encoded)
	}
	pool.put(b.buf)
	b.buf, b.encoded = nil, nil
}

// batches makes batches of records, in order and within the limits.
func (l *limits) batches(records []record) []*batch {
	var all []*batch
	for _, r := range records {
		if n := len(all); n == 0 || l.full(all[n-1], len(r.body)+recordOverhead) {
			all = append(all, &batch{})
		}
		all[len(all)-1].addRecord(l.pool, r)
	}
	return all
}

// limits bound batches.
type limits struct {
	bytes    int // of a batch of several messages, before compression
	messages int // in a batch; 0: any number
	pool     *buffers
}

// full reports whether a record of at most so many bytes needs another batch.
func (l *limits) full(b *batch, record int) bool {
	n := len(b.entries)
	return b.encoded != nil || n > 0 && (b.bytes()+record > l.bytes || l.messages > 0 && n >= l.messages)
}

// sortByDeadline restores the order of Send.
func sortByDeadline(records []record) {
	slices.SortStableFunc(records, func(a, b record) int { return cmp.Compare(a.deadline, b.deadline) })
}
