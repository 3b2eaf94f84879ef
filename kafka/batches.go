package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/klauspost/compress/gzip"
	snappy "github.com/klauspost/compress/snappy/xerial"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// What a message and a header take in memory beside their bytes: sarama's Record and
// ConsumerMessage, and their pointers.
const (
	MessageOverhead = 256
	HeaderOverhead  = 64
)

// defaultMaxBatch stands in for max_batch_bytes in a configuration that was not loaded.
const defaultMaxBatch = 64 << 20

// Where the fields of a record batch lie:
//
//	base offset int64, length int32 (of what follows), leader epoch int32, magic int8,
//	CRC-32C uint32 (of what follows), attributes int16, last offset delta int32, first
//	and last timestamp int64, producer id int64, epoch int16, sequence int32, records int32
const (
	lengthAt     = 8
	magicAt      = 16
	crcAt        = 17
	attributesAt = 21
	lastDeltaAt  = 23
	producerAt   = 43
	countAt      = 57
	recordsAt    = 61
)

const (
	codecMask         = 0x07
	transactionalMask = 0x10
	controlMask       = 0x20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errCutOff    = errors.New("the batch is cut off")
	errOldFormat = errors.New("messages in the format of Kafka 0.10")
)

// wireBatch is a whole record batch as it travels.
type wireBatch []byte

func (b wireBatch) base() int64 { return int64(binary.BigEndian.Uint64(b)) }
func (b wireBatch) last() int64 {
	return b.base() + int64(int32(binary.BigEndian.Uint32(b[lastDeltaAt:])))
}
func (b wireBatch) attributes() uint16  { return binary.BigEndian.Uint16(b[attributesAt:]) }
func (b wireBatch) transactional() bool { return b.attributes()&transactionalMask != 0 }
func (b wireBatch) control() bool       { return b.attributes()&controlMask != 0 }
func (b wireBatch) producer() int64     { return int64(binary.BigEndian.Uint64(b[producerAt:])) }
func (b wireBatch) count() int32        { return int32(binary.BigEndian.Uint32(b[countAt:])) }

// cutBatch splits the first batch off what an answer holds of a partition. errCutOff: the
// end is missing, which is normal of the last one; errOldFormat: it is none. After any
// other error nobody knows where the next batch begins.
func cutBatch(b []byte) (wireBatch, []byte, error) {
	if len(b) <= magicAt {
		return nil, nil, errCutOff
	}
	if b[magicAt] < 2 {
		return nil, nil, errOldFormat
	}
	if b[magicAt] > 2 {
		return nil, nil, fmt.Errorf("its format is %d, which is unknown", b[magicAt])
	}
	size := lengthAt + 4 + int64(int32(binary.BigEndian.Uint32(b[lengthAt:])))
	if size < recordsAt {
		return nil, nil, fmt.Errorf("it says that it has %d bytes, less than any batch", size)
	}
	if size > int64(len(b)) {
		return nil, nil, errCutOff
	}
	return b[:size:size], b[size:], nil
}

// decodedBatch is what was found by reading the records of a batch.
type decodedBatch struct {
	plain wireBatch // not compressed; valid until the next batch is decoded
	cost  int64     // what its messages take in memory
	last  int64     // offset of the last record; below the first: there is none
	abort bool      // it is the end of an aborted transaction
}

// batchDecoder decodes batches one after the other. It refuses one that costs more than
// limit before that much has been allocated.
type batchDecoder struct {
	limit   int64
	scratch []byte // the batch that was decompressed last; room for its head is kept
	gzip    *gzip.Reader
	lz4     *lz4.Reader
	zstd    *zstd.Decoder
}

// scratchKept is how large a scratch is kept for the next batch.
const scratchKept = 4 << 20

// decode reads all of a batch, so that nothing in it surprises whoever decodes it again.
func (d *batchDecoder) decode(b wireBatch) (decodedBatch, error) {
	if sum := crc32.Checksum(b[attributesAt:], castagnoli); sum != binary.BigEndian.Uint32(b[crcAt:]) {
		return decodedBatch{}, errors.New("its checksum does not match its content")
	}
	count := int64(b.count())
	if count < 0 {
		return decodedBatch{}, fmt.Errorf("it says that it has %d records", count)
	}
	if count*MessageOverhead > d.limit {
		return decodedBatch{}, d.tooLarge()
	}
	found := decodedBatch{plain: b}
	if codec := b.attributes() & codecMask; codec != 0 {
		plain, err := d.decompress(codec, b[recordsAt:])
		if err != nil {
			return decodedBatch{}, err
		}
		copy(plain, b[:recordsAt])
		binary.BigEndian.PutUint16(plain[attributesAt:], b.attributes()&^codecMask)
		found.plain = wireBatch(plain).sealed()
		if d.scratch = plain; cap(plain) > scratchKept {
			d.scratch = nil
		}
	}
	err := found.read(count)
	if err == nil && found.cost > d.limit {
		err = d.tooLarge()
	}
	return found, err
}

func (d *batchDecoder) tooLarge() error { return batchTooLarge(d.limit) }

// batchTooLarge is max_batch_bytes, which a batch exceeds.
type batchTooLarge int64

func (e batchTooLarge) Error() string {
	return fmt.Sprintf("decoded it takes more than %d bytes (max_batch_bytes)", int64(e))
}

// read goes through the records.
func (d *decodedBatch) read(count int64) error {
	r := recordReader{rest: d.plain[recordsAt:]}
	d.last = d.plain.base() - 1
	for i := range count {
		rec, err := r.next()
		if err != nil {
			return fmt.Errorf("record %d of %d: %w", i+1, count, err)
		}
		offset := d.plain.base() + rec.delta
		if offset <= d.last {
			return fmt.Errorf("record %d of %d: its offset is not above the one before it", i+1, count)
		}
		d.last = offset
		d.cost += rec.cost
		if i == 0 && d.plain.control() && len(rec.key) >= 4 { // a version and a type
			d.abort = binary.BigEndian.Uint16(rec.key[2:]) == 0
		}
	}
	if len(r.rest) > 0 {
		return fmt.Errorf("%d bytes follow its %d records", len(r.rest), count)
	}
	return nil
}

// emptyWireBatch is one that has the offsets from first to last and no records.
func emptyWireBatch(first, last int64) wireBatch {
	p := make(wireBatch, recordsAt)
	binary.BigEndian.PutUint64(p, uint64(first))
	p[magicAt] = 2
	binary.BigEndian.PutUint32(p[lastDeltaAt:], uint32(last-first))
	binary.BigEndian.PutUint64(p[producerAt:], ^uint64(0))
	return p.sealed()
}

// sealed sets length and checksum.
func (b wireBatch) sealed() wireBatch {
	binary.BigEndian.PutUint32(b[lengthAt:], uint32(len(b)-lengthAt-4))
	binary.BigEndian.PutUint32(b[crcAt:], crc32.Checksum(b[attributesAt:], castagnoli))
	return b
}

// recordReader reads records that are not compressed.
type recordReader struct{ rest []byte }

// record is what matters of one here.
type record struct {
	delta int64 // of its offset
	key   []byte
	cost  int64
}

var errRecord = errors.New("it does not have the format of a record")

// next reads a record as strictly as sarama does, which takes what it cannot read for
// the end of an answer that was cut off, or closes the connection.
func (r *recordReader) next() (record, error) {
	size, ok := r.varint()
	if !ok || size < 1 || size > int64(len(r.rest)) {
		return record{}, errRecord
	}
	body := recordReader{rest: r.rest[1:size]} // without its attributes, of which there are none
	r.rest = r.rest[size:]
	_, timestampOK := body.varint()
	delta, deltaOK := body.varint()
	key, keyOK := body.bytes()
	value, valueOK := body.bytes()
	headers, headersOK := body.varint()
	// A header has two lengths: what is no smaller is not even counted.
	if !timestampOK || !deltaOK || !keyOK || !valueOK || !headersOK || delta < 0 || headers < 0 || 2*headers > int64(len(body.rest)) {
		return record{}, errRecord
	}
	rec := record{delta: delta, key: key, cost: MessageOverhead + int64(len(key)+len(value)+len(body.rest)) + headers*HeaderOverhead}
	for range headers {
		_, nameOK := body.bytes()
		_, valueOK := body.bytes()
		if !nameOK || !valueOK {
			return record{}, errRecord
		}
	}
	if len(body.rest) > 0 {
		return record{}, errRecord
	}
	return rec, nil
}

func (r *recordReader) varint() (int64, bool) {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		return 0, false
	}
	r.rest = r.rest[n:]
	return v, true
}

func (r *recordReader) bytes() ([]byte, bool) {
	size, ok := r.varint()
	if !ok || size < -1 || size > int64(len(r.rest)) {
		return nil, false
	}
	if size == -1 { // null
		return nil, true
	}
	b := r.rest[:size]
	r.rest = r.rest[size:]
	return b, true
}

// decompress returns at most limit bytes, behind room for the head of a batch. They are
// valid until the next call.
func (d *batchDecoder) decompress(codec uint16, src []byte) (out []byte, err error) {
	d.scratch = slices.Grow(d.scratch[:0], recordsAt)[:recordsAt]
	switch codec {
	case 1:
		if d.gzip == nil {
			d.gzip = new(gzip.Reader)
		}
		if err = d.gzip.Reset(bytes.NewReader(src)); err == nil {
			out, err = d.readUpTo(d.gzip)
		}
	case 2:
		out, err = d.unsnappy(src)
	case 3:
		if d.lz4 == nil {
			d.lz4 = lz4.NewReader(nil)
		}
		d.lz4.Reset(bytes.NewReader(src))
		out, err = d.readUpTo(d.lz4)
	case 4:
		out, err = d.unzstd(src)
	default:
		return nil, fmt.Errorf("its compression is %d, which is unknown", codec)
	}
	if _, large := errors.AsType[batchTooLarge](err); large || err == nil && int64(len(out)) > d.limit+recordsAt {
		return nil, d.tooLarge()
	}
	if err != nil {
		return nil, fmt.Errorf("decompressing it: %w", err)
	}
	return out, nil
}

// readUpTo reads all there is, or one byte more than the limit.
func (d *batchDecoder) readUpTo(r io.Reader) ([]byte, error) {
	b := bytes.NewBuffer(d.scratch)
	_, err := b.ReadFrom(io.LimitReader(r, d.limit+1))
	return b.Bytes(), err
}

// unsnappy decodes raw snappy and the blocks that Java's client writes.
func (d *batchDecoder) unsnappy(src []byte) ([]byte, error) {
	for size := int64(max(cap(d.scratch), 4*len(src), 64<<10)); ; size *= 2 {
		size = min(size, d.limit)
		d.scratch = slices.Grow(d.scratch, int(size))
		out, err := snappy.DecodeCapped(d.scratch[recordsAt:recordsAt:recordsAt+size], src)
		if !errors.Is(err, snappy.ErrDstTooSmall) {
			return d.scratch[:recordsAt+len(out)], err
		}
		if size >= d.limit {
			return nil, d.tooLarge()
		}
	}
}

func (d *batchDecoder) unzstd(src []byte) (out []byte, err error) {
	if d.zstd == nil {
		// It needs no Close: it has goroutines only while something is streamed.
		if d.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(d.limit+recordsAt))); err != nil {
			return nil, err
		}
	}
	out, err = d.zstd.DecodeAll(src, d.scratch)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return nil, d.tooLarge()
	}
	return out, err
}
