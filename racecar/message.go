package racecar

import "time"

// Message is one record of a partition, as handed to Process. Its fields are
// plain, so that a test can write &racecar.Message{Value: …}. Key, Value and
// the header values are the consumer's to keep: they are never reused.
type Message struct {
	Topic     string
	Partition int32
	Offset    int64
	// Key is nil when the record has none; an empty key is not nil.
	Key []byte
	// Value is nil for a tombstone.
	Value     []byte
	Headers   []Header
	Timestamp time.Time
	// Retries counts the failed attempts at this message before this call,
	// those of earlier processes included (upstream: retries_count).
	Retries int
}

// Header is one record header. Kafka allows a key to occur more than once.
type Header struct {
	Key   string
	Value []byte
}

// Header returns the value of the first header called name, and whether there
// is one: a header can be there with a nil value.
func (m *Message) Header(name string) (value []byte, ok bool) {
	for i := range m.Headers {
		if m.Headers[i].Key == name {
			return m.Headers[i].Value, true
		}
	}
	return nil, false
}
