package fetch

import (
	"encoding/binary"
	"time"

	"github.com/racecar-go/racecar/racecar"
)

// This file decodes the records of an open batch.

// fieldReader reads the fields of records. After the first field that exceeds b, failed is set
// and the fields read are zero.
type fieldReader struct {
	b      []byte
	pos    int
	failed bool
}

// varint is that of encoding/binary without its calls: half of the decoding time is spent here.
func (r *fieldReader) varint() int64 {
	b := r.b[r.pos:]
	var u uint64
	for i, c := range b[:min(len(b), binary.MaxVarintLen64)] {
		if c < 0x80 {
			r.pos += i + 1
			u |= uint64(c) << (7 * i)
			return int64(u>>1) ^ -int64(u&1)
		}
		u |= uint64(c&0x7f) << (7 * i)
	}
	r.failed = true
	return 0
}

// bytes returns the next size bytes, nil when size is -1.
func (r *fieldReader) bytes(size int64) []byte {
	if size < 0 || size > int64(len(r.b)-r.pos) {
		r.failed = r.failed || size != -1
		return nil
	}
	begin := r.pos
	r.pos += int(size)
	return r.b[begin:r.pos:r.pos]
}

// record is one record of a batch, its headers not yet read.
type record struct {
	offset      int64
	timestamp   int64 // in milliseconds
	key, value  []byte
	headerCount int
	headers     fieldReader
}

// time returns the zero time where the record has none.
func (r *record) time() time.Time {
	if r.timestamp < 0 {
		return time.Time{}
	}
	return time.UnixMilli(r.timestamp)
}

func (r *record) skipHeaders() bool {
	for range r.headerCount {
		r.header()
	}
	return !r.headers.failed && r.headers.pos == len(r.headers.b)
}

func (r *record) header() (key, value []byte) {
	size := r.headers.varint()
	if size < 0 {
		r.headers.failed = true // a key is never null
		return nil, nil
	}
	key = r.headers.bytes(size)
	return key, r.headers.bytes(r.headers.varint())
}

// cursor is a position in the records of an open batch.
type cursor struct {
	fieldReader
	count   int   // of the records read
	headers int   // in them
	last    int64 // offset of the last one
}

func (b *Batch) front() cursor { return cursor{fieldReader: fieldReader{b: b.records}, last: -1} }

// next reads a record; false: it is malformed.
func (c *cursor) next(b *Batch, r *record) bool {
	if b.raw[magicAt] == recordBatchFormat {
		c.nextRecord(b, r)
	} else {
		c.nextLegacy(b, r)
	}
	c.count++
	c.last = r.offset
	return !c.failed
}

// nextRecord reads a record of format 2: its length, attributes (there are none yet), deltas
// of timestamp and offset, key, value and headers.
func (c *cursor) nextRecord(b *Batch, r *record) {
	size := c.varint()
	if c.failed || size < 1 || size > int64(len(c.b)-c.pos) {
		c.failed = true
		return
	}
	body := fieldReader{b: c.b[:c.pos+int(size)], pos: c.pos + 1}
	c.pos += int(size)
	later := body.varint()
	delta := body.varint()
	r.key = body.bytes(body.varint())
	r.value = body.bytes(body.varint())
	headers := body.varint()
	// A header takes at least the two bytes of its lengths.
	if body.failed || delta < 0 || delta >= 1<<31 || headers < 0 || 2*headers > int64(len(body.b)-body.pos) {
		c.failed = true
		return
	}
	r.offset, r.headerCount, r.headers = b.shift+delta, int(headers), body
	if b.attributes()&logAppendTimeMask != 0 {
		r.timestamp = int64(binary.BigEndian.Uint64(b.raw[maxTimestampAt:]))
	} else {
		r.timestamp = int64(binary.BigEndian.Uint64(b.raw[baseTimestampAt:])) + later
	}
}

// headerSlab allocates the headers of several messages at once. A key that is equal to the
// previous message's key at the same index takes no allocation.
type headerSlab struct {
	free []racecar.Header
	last []racecar.Header
}

// headers reads the headers of r; more is how many headers will probably follow.
func (s *headerSlab) headers(r *record, more int) []racecar.Header {
	n := r.headerCount
	if len(s.free) < n {
		s.free = make([]racecar.Header, n+max(0, more))
	}
	hs := s.free[:n:n]
	s.free = s.free[n:]
	for i := range hs {
		key, value := r.header()
		if i < len(s.last) && s.last[i].Key == string(key) {
			hs[i].Key = s.last[i].Key
		} else {
			hs[i].Key = string(key)
		}
		hs[i].Value = value
	}
	s.last = hs
	return hs
}
