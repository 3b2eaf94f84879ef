package fetch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Split copies the complete batches of records, a field of a Fetch answer, without those that
// end below from. A batch that is cut off at the end is left out; if it is the first, the
// error is a *TruncatedError. A batch whose header is nonsense is returned as far as its
// offset is known, so that Open reports it, and is the last one when its length is nonsense.
func (d *Decoder) Split(topic string, partition int32, records []byte, from int64) ([]*Batch, error) {
	batches, _, err := d.split(topic, partition, records, from, math.MaxInt)
	return batches, err
}

// split is Split without copying batches of at least taken bytes: nobody reuses their memory.
// ahead is the size of the batch that is cut off at the end; 0: there is none, or it is unknown.
func (d *Decoder) split(topic string, partition int32, records []byte, from int64, taken int) (batches []*Batch, ahead int64, err error) {
	for len(records) > 0 {
		var size int64
		if len(records) > lengthAt+4 {
			size = uncounted + int64(int32(binary.BigEndian.Uint32(records[lengthAt:])))
		}
		if len(records) <= magicAt || size > int64(len(records)) {
			if len(batches) == 0 {
				return nil, 0, &TruncatedError{Size: size}
			}
			return batches, size, nil
		}
		b := &Batch{decoder: d, topic: topic, partition: partition, raw: records[:max(magicAt+1, size):max(magicAt+1, size)]}
		if len(b.raw) < taken {
			b.raw = bytes.Clone(b.raw)
		}
		if b.invalid = b.setHeader(size, from); b.first < 0 || b.first > math.MaxInt64-math.MaxInt32-1 {
			if len(batches) == 0 {
				return nil, 0, fmt.Errorf("%s/%d: the answer holds a batch with offset %d", topic, partition, b.first)
			}
			break
		}
		// Batches that consumers do not see are skipped only if their checksum is right.
		intact := (!b.empty && b.next > from) || b.Intact()
		b.empty = b.empty && intact
		if b.next <= from && !intact {
			b.next = from + 1
		}
		if b.next > from {
			batches, from = append(batches, b), b.next
		}
		if size <= magicAt {
			break
		}
		records = records[size:]
	}
	return batches, 0, nil
}

// setHeader reads the header of raw; size is the batch's length according to it. The error says
// why the header is invalid: then the batch ends after from, or after its first offset.
func (b *Batch) setHeader(size, from int64) error {
	b.first = int64(binary.BigEndian.Uint64(b.raw))
	b.count, b.next = 1, max(b.first, from)+1
	smallest := int64(recordsAt)
	switch format := b.raw[magicAt]; {
	case format > recordBatchFormat:
		return fmt.Errorf("its format is %d, which is unknown", format)
	case format < recordBatchFormat:
		smallest = legacyTimestampAt
	}
	if size < smallest {
		return fmt.Errorf("its length is %d bytes, less than any batch has", size)
	}
	if b.raw[magicAt] < recordBatchFormat {
		b.next = b.first + 1
		if b.codec() != 0 {
			b.first = min(b.first, from)
			b.count = int(b.next - b.first)
		}
		return nil
	}
	lastDelta, count := int32(binary.BigEndian.Uint32(b.raw[lastDeltaAt:])), int32(binary.BigEndian.Uint32(b.raw[countAt:]))
	if lastDelta < 0 {
		return errors.New("its last offset is below its first")
	}
	b.next = b.first + int64(lastDelta) + 1
	if count < 0 || int64(count) > int64(lastDelta)+1 {
		return fmt.Errorf("it says that it has %d records between the offsets %d and %d", count, b.first, b.next-1)
	}
	b.count = int(count)
	b.empty = count == 0 || b.attributes()&controlMask != 0
	return nil
}

// markAborted makes those of an answer's batches Empty that belong to aborted transactions.
// The broker lists all of them that overlap the answer, in any order.
func markAborted(batches []*Batch, aborted []kmsg.FetchResponseTopicPartitionAbortedTransaction) {
	aborted = slices.Clone(aborted)
	for _, b := range batches {
		if b.invalid != nil || b.raw[magicAt] != recordBatchFormat || b.attributes()&transactionalMask == 0 {
			continue
		}
		i := slices.IndexFunc(aborted, func(t kmsg.FetchResponseTopicPartitionAbortedTransaction) bool {
			return t.ProducerID == b.producer() && t.FirstOffset <= b.first
		})
		switch {
		case i < 0:
		case b.attributes()&controlMask == 0:
			b.empty = b.Intact()
		case b.abortMarker():
			aborted = slices.Delete(aborted, i, i+1)
		}
	}
}

// abortMarker reports whether a control batch ends its transaction by aborting it: its
// record's key is a version and a type.
func (b *Batch) abortMarker() bool {
	c := cursor{fieldReader: fieldReader{b: b.raw[recordsAt:]}}
	var r record
	return b.empty && c.next(b, &r) && len(r.key) >= 4 && binary.BigEndian.Uint16(r.key[2:]) == 0
}
