package ctl

import (
	"strconv"
	"strings"
	"time"

	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/racecar"
)

const (
	// deadLetterPrefix begins the headers that a worker adds to a dead-letter
	// record; see package worker.
	deadLetterPrefix = "racecar-dlq-"
	// replayPrefix begins the headers that a replay adds: other groups of the topic
	// can tell a replayed message by them.
	replayPrefix = "racecar-replay-"
)

// deadLetter is a record of a dead-letter topic.
type deadLetter struct {
	*racecar.Message
}

// header is the value of a header; the last one counts: those before may be what
// the producer of the message wrote.
func (d deadLetter) header(name string) string {
	value := ""
	for _, h := range d.Headers {
		if h.Key == name {
			value = string(h.Value)
		}
	}
	return value
}

// about is what a worker noted, by the header's name without the prefix.
func (d deadLetter) about(name string) string { return d.header(deadLetterPrefix + name) }

// group is the consumer group that gave the message up; empty when no worker of
// ours wrote the record.
func (d deadLetter) group() string { return d.about("group") }

// origin is where the message failed; not ok when the record does not say.
func (d deadLetter) origin() (p kafka.TopicPartition, offset int64, ok bool) {
	n, err := strconv.ParseInt(d.about("partition"), 10, 32)
	offset, err2 := strconv.ParseInt(d.about("offset"), 10, 64)
	p = kafka.TopicPartition{Topic: d.about("topic"), Partition: int32(n)}
	return p, offset, p.Topic != "" && err == nil && err2 == nil
}

// timestamp is the time of the message when it was first produced.
func (d deadLetter) timestamp() time.Time {
	for _, written := range []string{d.header(replayPrefix + "timestamp"), d.about("timestamp")} {
		if t, err := time.Parse(time.RFC3339Nano, written); err == nil {
			return t
		}
	}
	return d.Timestamp
}

// replayed is the message as a replay sends it: key, value and headers as they
// were, and by whom and from when it is. Topic and partition are the caller's.
func (d deadLetter) replayed() producer.Message {
	m := producer.Message{Key: d.Key, Value: d.Value, AnySize: true}
	if d.about("no-key") != "" {
		m.Key = nil
	}
	for _, h := range d.Headers {
		name := string(h.Key)
		if !strings.HasPrefix(name, deadLetterPrefix) && !strings.HasPrefix(name, replayPrefix) {
			m.Headers = append(m.Headers, producer.Header{Key: name, Value: h.Value})
		}
	}
	m.Headers = append(m.Headers,
		producer.Header{Key: replayPrefix + "group", Value: []byte(d.group())},
		producer.Header{Key: replayPrefix + "timestamp", Value: []byte(d.timestamp().UTC().Format(time.RFC3339Nano))})
	return m
}
