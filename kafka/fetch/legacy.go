package fetch

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// An entry of a message set (formats 0 and 1):
//
//	offset int64, length int32 (of what follows), CRC-32 uint32 (of what follows), magic
//	int8, attributes int8, timestamp int64 (format 1 only), key bytes, value bytes
//
// A length of -1 before key and value is null. The value of a compressed entry is a message
// set, and the entry's offset that of the last message in it.
const (
	legacyAttributesAt = magicAt + 1
	legacyTimestampAt  = magicAt + 2
)

// legacyEntry reads entries one after the other.
type legacyEntry struct {
	fieldReader
	offset     int64
	attributes byte
	timestamp  int64 // -1: none
	key, value []byte
}

func (e *legacyEntry) next() {
	head := e.bytes(uncounted)
	if e.failed {
		return
	}
	body := fieldReader{b: e.bytes(int64(int32(binary.BigEndian.Uint32(head[lengthAt:]))))}
	head2 := body.bytes(legacyTimestampAt - uncounted)
	if e.failed || body.failed || head2 == nil || head2[4] > 1 {
		e.failed = true
		return
	}
	e.offset, e.attributes, e.timestamp = int64(binary.BigEndian.Uint64(head)), head2[5], -1
	if head2[4] == 1 {
		if t := body.bytes(8); t != nil {
			e.timestamp = int64(binary.BigEndian.Uint64(t))
		}
	}
	e.key, e.value = body.sized(), body.sized()
	e.failed = body.failed || body.pos != len(body.b)
}

// sized reads an int32 length and so many bytes.
func (r *fieldReader) sized() []byte {
	size := r.bytes(4)
	if r.failed {
		return nil
	}
	return r.bytes(int64(int32(binary.BigEndian.Uint32(size))))
}

// legacyRecords returns the compressed set, or the uncompressed entry as a set of one.
func (b *Batch) legacyRecords() []byte {
	if b.codec() == 0 {
		return b.raw
	}
	e := legacyEntry{fieldReader: fieldReader{b: b.raw}}
	e.next()
	return e.value
}

// nextLegacy reads a message. What is compressed holds nothing that is compressed again.
func (c *cursor) nextLegacy(b *Batch, r *record) {
	e := legacyEntry{fieldReader: c.fieldReader}
	e.next()
	if c.fieldReader = e.fieldReader; e.attributes&codecMask != 0 {
		c.failed = true
	}
	*r = record{offset: e.offset + b.shift, timestamp: e.timestamp, key: e.key, value: e.value}
	if b.raw[magicAt] == 1 && b.attributes()&logAppendTimeMask != 0 {
		r.timestamp = int64(binary.BigEndian.Uint64(b.raw[legacyTimestampAt:]))
	}
}

// checkLegacy counts the messages of an open set and finds out where its offsets begin: in a
// compressed set of format 1 they are relative, and the last one's is the entry's.
func (b *Batch) checkLegacy(limit int64) error {
	b.shift, b.count = 0, 0
	c := b.front()
	var r record
	for c.pos < len(c.b) {
		if !c.next(b, &r) {
			return fmt.Errorf("message %d is malformed", c.count)
		}
		if int64(c.count)*messageCost > limit {
			return tooLarge(limit)
		}
	}
	if c.count == 0 {
		return errors.New("it holds no message")
	}
	if b.count = c.count; b.raw[magicAt] == 1 && b.codec() != 0 {
		b.shift = b.next - 1 - r.offset
	}
	return b.check(limit)
}
