package fetch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"unsafe"

	"github.com/racecar-go/racecar/racecar"
)

// Fields of a record batch (format 2):
//
//	base offset int64, length int32 (of what follows), leader epoch int32, magic int8,
//	CRC-32C uint32 (of what follows), attributes int16, last offset delta int32, base
//	and max timestamp int64, producer id int64, epoch int16, sequence int32, records int32
//
// Formats 0 and 1 have offset, length and magic at the same positions; see legacy.go.
const (
	lengthAt        = 8
	leaderEpochAt   = 12
	magicAt         = 16
	crcAt           = 17
	attributesAt    = 21
	lastDeltaAt     = 23
	baseTimestampAt = 27
	maxTimestampAt  = 35
	producerAt      = 43
	countAt         = 57
	recordsAt       = 61
)

// Attributes; formats 0 and 1 have the first two.
const (
	codecMask         = 0x07
	logAppendTimeMask = 0x08
	transactionalMask = 0x10
	controlMask       = 0x20
)

const (
	recordBatchFormat = 2
	uncounted         = lengthAt + 4 // so many bytes the length does not count

	batchCost   = int64(unsafe.Sizeof(Batch{}))
	messageCost = int64(unsafe.Sizeof(racecar.Message{}))
	headerCost  = int64(unsafe.Sizeof(racecar.Header{}))
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batch is one record batch (format 2) or one entry of a message set (formats 0 and 1). It does
// not share its memory. One goroutine at a time may use it.
type Batch struct {
	decoder     *Decoder
	topic       string
	partition   int32
	raw         []byte
	first, next int64
	count       int   // as the header says; exact once open
	empty       bool  // no message for consumers
	invalid     error // why the header cannot be right

	records []byte // while open: the records, decompressed
	shift   int64  // while open: what is added to the records' own offsets
	headers int    // while open: in all records
	read    cursor // where Messages continues
}

// FirstOffset is the offset that the batch begins with. A compressed message set (formats 0
// and 1) does not say it: there it is the first offset that was asked for.
func (b *Batch) FirstOffset() int64 { return b.first }

// NextOffset is the offset behind the batch, compacted records included.
func (b *Batch) NextOffset() int64 { return b.next }

// Empty reports whether the batch holds no message for consumers: transaction markers, an
// aborted transaction, or records that compaction has removed. It still moves the position.
func (b *Batch) Empty() bool { return b.empty }

// LeaderEpoch is the epoch of the leader that appended the batch, -1 when unknown.
func (b *Batch) LeaderEpoch() int32 {
	if b.raw[magicAt] != recordBatchFormat {
		return -1
	}
	return int32(binary.BigEndian.Uint32(b.raw[leaderEpochAt:]))
}

// Size is the memory that the batch takes as received.
func (b *Batch) Size() int64 { return int64(len(b.raw)) + batchCost }

// Count is the largest number of messages that the batch may hold.
func (b *Batch) Count() int {
	if b.empty {
		return 0
	}
	return b.count
}

// Compressed reports whether the batch is compressed.
func (b *Batch) Compressed() bool { return b.codec() != 0 }

// Decoded is the memory that the batch holds beyond Size: its decompressed records.
func (b *Batch) Decoded() int64 {
	if b.records == nil || b.codec() == 0 {
		return 0
	}
	return int64(cap(b.records))
}

// Open verifies and decompresses the batch, unless it is open. The error is a *CorruptError
// when the batch cannot be decoded, or when decompressed records, messages and headers would
// take more than limit bytes of memory: then less than that has been allocated.
func (b *Batch) Open(limit int64) error {
	if b.empty || b.records != nil {
		return nil
	}
	if err := b.open(limit); err != nil {
		b.Discard()
		return &CorruptError{Topic: b.topic, Partition: b.partition, First: b.first, Next: b.next, Reason: err.Error()}
	}
	return nil
}

func (b *Batch) open(limit int64) error {
	if b.invalid != nil {
		return b.invalid
	}
	if !b.Intact() {
		return errors.New("its checksum does not match its content")
	}
	v2 := b.raw[magicAt] == recordBatchFormat
	if v2 && int64(b.count)*messageCost > limit {
		return tooLarge(limit)
	}
	if v2 {
		b.records = b.raw[recordsAt:]
	} else {
		b.records = b.legacyRecords()
	}
	if codec := b.codec(); codec != 0 {
		var err error
		if b.records, err = b.decoder.decompress(codec, b.records, limit); err != nil {
			return err
		}
	}
	if !v2 {
		return b.checkLegacy(limit)
	}
	b.shift = b.first
	return b.check(limit)
}

// check reads all records of an open batch, so that Messages cannot fail in the middle.
func (b *Batch) check(limit int64) error {
	cost := int64(b.count)*messageCost + int64(len(b.records))
	c := b.front()
	var r record
	for i := range b.count {
		previous := c.last
		if !c.next(b, &r) || !r.skipHeaders() {
			return fmt.Errorf("record %d of %d is malformed", i+1, b.count)
		}
		if r.offset <= previous || r.offset >= b.next {
			return fmt.Errorf("record %d of %d has offset %d, which is not above %d and below %d", i+1, b.count, r.offset, previous, b.next)
		}
		b.headers += r.headerCount
		if cost += int64(r.headerCount) * headerCost; cost > limit {
			return tooLarge(limit)
		}
	}
	if rest := len(b.records) - c.pos; rest > 0 {
		return fmt.Errorf("%d bytes follow its %d records", rest, b.count)
	}
	b.read = b.front()
	return nil
}

// Messages decodes the next messages with an offset ≥ from, at most limit of them, into a new
// slice; see Append.
func (b *Batch) Messages(from int64, limit int) ([]racecar.Message, error) {
	n := min(limit, b.count-b.read.count)
	if b.records == nil || from <= b.read.last {
		n = min(limit, b.Count())
	}
	ms, err := b.Append(make([]racecar.Message, 0, max(0, n)), from)
	if len(ms) == 0 {
		return nil, err
	}
	return ms, err
}

// Append decodes the next messages with an offset ≥ from and appends as many as ms has capacity
// for. None means that there are no more. Continuing where the last call ended is cheap; with an
// older from, decoding starts from the first record. Keys and values are slices of the batch's
// memory. The batch has to be open.
func (b *Batch) Append(ms []racecar.Message, from int64) ([]racecar.Message, error) {
	if b.empty {
		return ms, nil
	}
	if b.records == nil {
		return ms, errors.New("the batch is not open")
	}
	from = max(from, b.first)
	if from <= b.read.last {
		b.read = b.front()
	}
	out := ms
	var r record
	var h headerSlab
	for b.read.count < b.count && len(out) < cap(out) {
		if !b.read.next(b, &r) {
			return ms, &CorruptError{Topic: b.topic, Partition: b.partition, First: b.first, Next: b.next, Reason: "it was changed after it was opened"}
		}
		b.read.headers += r.headerCount
		if r.offset < from {
			continue
		}
		out = out[:len(out)+1]
		m := &out[len(out)-1]
		*m = racecar.Message{Topic: b.topic, Partition: b.partition, Offset: r.offset, Timestamp: r.time(), Key: r.key, Value: r.value}
		if r.headerCount > 0 {
			m.Headers = h.headers(&r, min(b.headers-b.read.headers, r.headerCount*(cap(out)-len(out))))
		}
	}
	return out, nil
}

// Discard forgets what is decoded; the received bytes stay. Messages stay valid.
func (b *Batch) Discard() {
	b.records, b.headers, b.read = nil, 0, cursor{}
}

// Intact reports whether the checksum of the received bytes holds: consumer code may have
// written into the values of an uncompressed batch.
func (b *Batch) Intact() bool {
	if b.invalid != nil {
		return false
	}
	if b.raw[magicAt] != recordBatchFormat {
		return crc32.ChecksumIEEE(b.raw[magicAt:]) == binary.BigEndian.Uint32(b.raw[uncounted:])
	}
	return crc32.Checksum(b.raw[attributesAt:], castagnoli) == binary.BigEndian.Uint32(b.raw[crcAt:])
}

// attributes are the 8 bits in use.
func (b *Batch) attributes() byte {
	if b.raw[magicAt] != recordBatchFormat {
		return b.raw[legacyAttributesAt]
	}
	return b.raw[attributesAt+1]
}

func (b *Batch) codec() byte     { return b.attributes() & codecMask }
func (b *Batch) producer() int64 { return int64(binary.BigEndian.Uint64(b.raw[producerAt:])) }

// CorruptError says which offsets of a partition cannot be decoded, and why.
type CorruptError struct {
	Topic       string
	Partition   int32
	First, Next int64 // the offsets of the batch: from First on and below Next
	Reason      string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s/%d: the batch with offsets %d to %d cannot be decoded: %s", e.Topic, e.Partition, e.First, e.Next-1, e.Reason)
}

// TruncatedError says that an answer ends before its first batch does.
type TruncatedError struct {
	Size int64 // of the whole batch; 0 when even that is cut off
}

func (e *TruncatedError) Error() string {
	return fmt.Sprintf("the answer ends before its first batch of %d bytes does", e.Size)
}

// tooLarge is the limit that a batch exceeds.
type tooLarge int64

func (e tooLarge) Error() string {
	return fmt.Sprintf("decoded it takes more than %d bytes (max_batch_bytes)", int64(e))
}
