package producer

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/kafka"
)

// This file defines the messages that a producer takes, and checks what no broker would
// accept.

// maxTopic is the maximum length of a topic's name.
const maxTopic = 249

// maxTimestamp is the last second that every client can decode: sarama computes in nanoseconds.
const maxTimestamp = math.MaxInt64/int64(time.Second) - 1

// Header is one record header. A key may occur more than once.
type Header struct {
	Key   string
	Value []byte
}

// Message is a message to be produced. Send copies it.
type Message struct {
	Topic string
	// Partition sends to that partition; nil lets the partitioner choose.
	Partition *int32
	Key       []byte // nil: none
	Value     []byte // nil: null, a tombstone
	// PartitionKey is hashed in place of Key when not nil.
	PartitionKey []byte
	Headers      []Header
	Timestamp    time.Time // zero: the time of Send
	// AnySize ignores message.max.bytes: only the topic's limit applies.
	AnySize bool
}

// Clone returns a deep copy, for callers that keep a message before they send it. The
// bytes take one allocation.
func (m Message) Clone() Message {
	n := len(m.Key) + len(m.Value) + len(m.PartitionKey)
	for _, h := range m.Headers {
		n += len(h.Value)
	}
	buf := make([]byte, 0, n)
	clone := func(b []byte) []byte {
		if b == nil {
			return nil
		}
		buf = append(buf, b...)
		return buf[len(buf)-len(b) : len(buf) : len(buf)]
	}
	m.Key, m.Value, m.PartitionKey = clone(m.Key), clone(m.Value), clone(m.PartitionKey)
	m.Headers = slices.Clone(m.Headers)
	for i := range m.Headers {
		m.Headers[i].Value = clone(m.Headers[i].Value)
	}
	if m.Partition != nil {
		m.Partition = new(*m.Partition)
	}
	return m
}

// Done gets the result of one message's delivery: its partition and offset, or a
// *DeliveryError. The offset is -1 if the broker recognized a repetition whose offset it
// no longer knows; the partition is -1 if none was chosen.
//
// Within a partition, calls come one after the other in the order of Send. Calls for
// different partitions may run concurrently. Done must not block: it must not wait for
// room in the same producer, nor call Flush or Close.
type Done func(partition int32, offset int64, err error)

// CheckMessage rejects what a producer with configuration c rejects without asking a
// broker, for test doubles.
func CheckMessage(m Message, c *config.Config) error {
	props, err := config.ProducerProperties(c.Producer)
	if err != nil {
		return err
	}
	return checkMessage(&m, recordSize(&m), cmp.Or(props.MaxMessageBytes, kafka.DefaultMaxMessage))
}

func checkMessage(o *Message, size, limit int) error {
	refuse := func(err error) error {
		return &DeliveryError{Kind: DeliveryRefused, Topic: o.Topic, Partition: -1, Err: err}
	}
	switch {
	case o.Topic == "":
		return refuse(errors.New("no topic is set"))
	case len(o.Topic) > maxTopic:
		return refuse(fmt.Errorf("the topic's name has %d characters, more than %d", len(o.Topic), maxTopic))
	case o.Partition != nil && *o.Partition < 0:
		return refuse(fmt.Errorf("partition %d is negative", *o.Partition))
	case !o.Timestamp.IsZero() && (o.Timestamp.Unix() < 0 || o.Timestamp.Unix() > maxTimestamp):
		return refuse(fmt.Errorf("the timestamp %s is not between the years 1970 and 2262", o.Timestamp.Format(time.RFC3339)))
	case size > math.MaxInt32/2:
		return refuse(fmt.Errorf("%d bytes are more than Kafka's protocol can carry", size))
	case size > limit && !o.AnySize:
		return refuse(fmt.Errorf("%d bytes are more than the %d of message.max.bytes", size, limit))
	}
	return nil
}

// recordOverhead is the maximum size of a record's lengths, deltas and attributes.
const recordOverhead = 5*binary.MaxVarintLen32 + binary.MaxVarintLen64 + 1

// recordSize is the maximum size of m's record before compression.
func recordSize(m *Message) int {
	n := recordOverhead + len(m.Key) + len(m.Value)
	for i := range m.Headers {
		n += len(m.Headers[i].Key) + len(m.Headers[i].Value) + 2*binary.MaxVarintLen32
	}
	return n
}
