package producer

import (
	"encoding/binary"
	"time"

	"github.com/IBM/sarama"
)

// recordOverhead is the most that lengths, deltas and attributes of a record
// take on the wire.
const recordOverhead = 5*binary.MaxVarintLen32 + binary.MaxVarintLen64 + 1

// recordSize is the most bytes that m takes in a batch before compression.
func recordSize(m *Message) int {
	n := recordOverhead + len(m.Key) + len(m.Value)
	for i := range m.Headers {
		n += len(m.Headers[i].Key) + len(m.Headers[i].Value) + 2*binary.MaxVarintLen32
	}
	return n
}

// recordBatch encodes the messages of a batch, without its place in the
// sequence.
func recordBatch(conf *sarama.Config, msgs []*outMessage) *sarama.RecordBatch {
	first := msgs[0].Timestamp.Truncate(time.Millisecond)
	b := &sarama.RecordBatch{
		Version:          2,
		Codec:            conf.Producer.Compression,
		CompressionLevel: conf.Producer.CompressionLevel,
		FirstTimestamp:   first,
		MaxTimestamp:     first,
		LastOffsetDelta:  int32(len(msgs) - 1),
		ProducerID:       -1,
		ProducerEpoch:    -1,
		FirstSequence:    -1,
		Records:          make([]*sarama.Record, len(msgs)),
	}
	records := make([]sarama.Record, len(msgs))
	for i, o := range msgs {
		at := o.Timestamp.Truncate(time.Millisecond)
		if at.After(b.MaxTimestamp) {
			b.MaxTimestamp = at
		}
		r := &records[i]
		r.Key, r.Value = o.Key, o.Value
		r.OffsetDelta, r.TimestampDelta = int64(i), at.Sub(first)
		if n := len(o.Headers); n > 0 {
			headers := make([]sarama.RecordHeader, n)
			r.Headers = make([]*sarama.RecordHeader, n)
			for j, h := range o.Headers {
				headers[j] = sarama.RecordHeader{Key: []byte(h.Key), Value: h.Value}
				r.Headers[j] = &headers[j]
			}
		}
		b.Records[i] = r
	}
	return b
}
