package testbroker

import (
	"hash/crc32"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// RawBatch is a record batch whose records are any bytes, for what no producer would
// send. A real broker refuses most of what it cannot read itself.
type RawBatch struct {
	Records    []byte // as they travel, compressed by the codec in Attributes
	Count      int    // of records
	Attributes int16
	BadSum     bool // the checksum is wrong
}

// Bytes is the batch as it travels.
func (r RawBatch) Bytes() []byte {
	now := time.Now().UnixMilli()
	b := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, Attributes: r.Attributes, LastOffsetDelta: int32(r.Count - 1),
		FirstTimestamp: now, MaxTimestamp: now, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1,
		NumRecords: int32(r.Count), Records: r.Records,
	}
	b.Length = int32(len(b.AppendTo(nil)) - 12)
	sum := crc32.Checksum(b.AppendTo(nil)[21:], crc32.MakeTable(crc32.Castagnoli))
	if r.BadSum {
		sum++
	}
	b.CRC = int32(sum)
	return b.AppendTo(nil)
}

// RawRecord is a record as it travels in a batch, not compressed, with so many headers
// that hold nothing.
func RawRecord(offsetDelta int, value []byte, headers int) []byte {
	r := kmsg.Record{OffsetDelta: int32(offsetDelta), Value: value, Headers: make([]kmsg.Header, headers)}
	for i := range r.Headers {
		r.Headers[i].Value = []byte{}
	}
	r.Length = int32(len(r.AppendTo(nil)) - 1) // written in one byte as it is 0
	return r.AppendTo(nil)
}

// ProduceRaw writes a batch to one partition of topic.
func (b *Broker) ProduceRaw(topic string, partition int32, batch RawBatch) {
	b.t.Helper()
	// Later versions know topics by their ids.
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.addrs...), kgo.MaxVersions(kversion.V2_8_0()))
	if err != nil {
		b.t.Fatalf("produce to %s: %v", topic, err)
	}
	defer cl.Close()
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 10_000
	req.Topics = []kmsg.ProduceRequestTopic{{Topic: topic, Partitions: []kmsg.ProduceRequestTopicPartition{{Partition: partition, Records: batch.Bytes()}}}}
	resp, err := req.RequestWith(b.t.Context(), cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
	}
	if err != nil {
		b.t.Fatalf("produce to %s: %v", topic, err)
	}
}
