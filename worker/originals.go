package worker

import (
	"bytes"
	"slices"
	"sync"

	"github.com/IBM/sarama"
)

// originals are the bytes of the messages in hand as they were received. Consumer code
// may do with its message's bytes what it likes, decrypt them in place for one; what is
// handed over again or dead-lettered has to be what came. To copy them into a buffer
// that is used again and again is all that it costs a message whose call goes well.
type originals struct {
	buf []byte
	// large has a buffer that is too large to be kept for good: a new one for each
	// batch would cost more than the copy, and the garbage collector takes what is not
	// used for a while.
	large sync.Pool
}

// maxIdleOriginals is how large a buffer is kept for good.
const maxIdleOriginals = 1 << 20

// note takes messages that are about to be handed over.
func (o *originals) note(messages []*sarama.ConsumerMessage) {
	n := 0
	for _, m := range messages {
		n += len(m.Key) + len(m.Value)
		for _, h := range m.Headers {
			n += len(h.Value)
		}
	}
	if n > cap(o.buf) && n > maxIdleOriginals {
		if b, ok := o.large.Get().(*[]byte); ok {
			o.buf = *b
		}
	}
	o.buf = slices.Grow(o.buf[:0], n) // at once: a large batch would be copied several times
	for _, m := range messages {
		o.buf = append(o.buf, m.Key...)
		o.buf = append(o.buf, m.Value...)
		for _, h := range m.Headers {
			o.buf = append(o.buf, h.Value...)
		}
	}
}

// release lets go of a buffer that is too large to be kept for good.
func (o *originals) release() {
	if cap(o.buf) > maxIdleOriginals {
		large := o.buf
		o.large.Put(&large)
		o.buf = nil
	}
}

// changed reports whether messages, which were noted last, are not what they were.
func (o *originals) changed(messages []*sarama.ConsumerMessage) bool {
	rest := o.buf
	same := func(b []byte) bool {
		was := rest[:len(b)]
		rest = rest[len(b):]
		return bytes.Equal(b, was)
	}
	for _, m := range messages {
		if !same(m.Key) || !same(m.Value) {
			return true
		}
		for _, h := range m.Headers {
			if !same(h.Value) {
				return true
			}
		}
	}
	return false
}

// restore replaces messages, which were noted last, by what they were, in memory that
// consumer code has never seen.
func (o *originals) restore(messages []*sarama.ConsumerMessage) {
	rest := bytes.Clone(o.buf)
	take := func(b []byte) []byte {
		if b == nil {
			return nil
		}
		n := len(b)
		was := rest[:n:n]
		rest = rest[n:]
		return was
	}
	for i, m := range messages {
		was := *m
		was.Key, was.Value = take(m.Key), take(m.Value)
		was.Headers = nil
		for _, h := range m.Headers {
			was.Headers = append(was.Headers, &sarama.RecordHeader{Key: h.Key, Value: take(h.Value)})
		}
		messages[i] = &was
	}
}
