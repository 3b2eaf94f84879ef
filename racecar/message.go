package racecar

import (
	"time"

	"github.com/racecar-go/racecar/config"
)

// Message is one record of a partition, as Process receives it. It has exported fields
// alone, so that a test can write &racecar.Message{Value: …}. The consumer may keep Key,
// Value and header values: Racecar never reuses their memory. They share it with other
// messages of the same fetch, so clone a few bytes that are kept for long.
type Message struct {
	Topic     string
	Partition int32
	Offset    int64 // from 0, increasing; not always by one
	// Key is nil if the record has none; an empty key is not nil.
	Key []byte
	// Value is nil for a tombstone; an empty value is not nil.
	Value   []byte
	Headers []Header // in the order of the record
	// Timestamp is when the record was produced or appended, as the topic's
	// message.timestamp.type says, to the millisecond.
	Timestamp time.Time
	// Retries is how many attempts at this message have failed before this call, those of
	// earlier processes included; 0 at the first call (upstream: retries_count).
	Retries int
}

// Header is one header of a record. A record may have several with the same key. Its Value
// may be nil.
type Header = config.Header

// Header returns the value of the first header whose key is name, and whether there is
// such a header: its value may be nil. Keys are compared byte by byte.
func (m *Message) Header(name string) (value []byte, ok bool) {
	for i := range m.Headers {
		if m.Headers[i].Key == name {
			return m.Headers[i].Value, true
		}
	}
	return nil, false
}
