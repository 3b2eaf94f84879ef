package lanes

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/racecar-go/racecar/racecar"
)

// state is where an unfinished message is.
type state int

const (
	waiting state = iota // behind another one of its lane
	ready                // it may begin
	absent               // it may begin once it was fetched again
	inHand               // it has begun, and is not acknowledged
	paused               // it has failed
)

// Message is an unfinished message. Its exported fields belong to whoever has it in hand;
// nobody else changes them meanwhile.
type Message struct {
	Offset    int64
	Attempts  int              // failed calls in a row
	Record    *racecar.Message // nil: it must be fetched again
	Single    bool             // a batch holds it alone
	RetryOnce bool             // it is called although it is poison
	Disposal  any              // what is done with it instead of a call; nil: it is called
	LoggedAt  time.Time        // when its failure was logged last
	Awaits    int              // calls in a row that found a dependency unavailable
	Limited   time.Time        // when it is dead-lettered though many are; zero: that is not known

	group   int64 // of the batch that it failed in; 0: it may be in any
	state   state
	begun   bool // at least once
	counted bool // its record counts in what the partition uses
	size    int64
	wait    Wait
	lane    *lane
	number  int // in the heap of its state

	prev, next *Message // in the order of offsets
}

// Wait says for how long a failed message waits, and why.
type Wait struct {
	Since    time.Time // when it failed first
	Until    time.Time // zero: until it is resumed
	Poisoned bool      // it has killed its process
	Reason   string    // one line
}

// Wait returns why m waits; false when it has not failed, or does not wait for that.
func (m *Message) Wait() (Wait, bool) { return m.wait, m.state == paused }

// Failing reports whether m has failed and is not finished.
func (m *Message) Failing() bool { return m.Attempts > 0 || m.state == paused }

// Key returns the key of m's lane; nil: it has none.
func (m *Message) Key() []byte {
	if m.lane.keyed {
		return []byte(m.lane.key)
	}
	return nil
}

// overhead is about what a Message takes beside its record.
const overhead = 256

// Size is about how many bytes of memory a record takes.
func Size(r *racecar.Message) int64 {
	n := overhead + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += 48 + len(h.Key) + len(h.Value)
	}
	return int64(n)
}

// Clone returns r in memory of its own, so that it keeps nothing else of its batch.
func Clone(r *racecar.Message) *racecar.Message {
	c := *r
	c.Key, c.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
	if c.Headers = slices.Clone(r.Headers); len(c.Headers) > 0 {
		for i, h := range c.Headers {
			c.Headers[i] = racecar.Header{Key: strings.Clone(h.Key), Value: bytes.Clone(h.Value)}
		}
	}
	c.Topic = r.Topic
	return &c
}

// lane is the messages of a key, in the order of their offsets. The first one decides
// whether any of them may begin.
type lane struct {
	key      string
	keyed    bool
	messages []*Message
	bytes    int64 // of their records
	failing  bool  // the first one has failed
}

func (l *lane) first() *Message { return l.messages[0] }

// byOffset and byTime are heaps.
type byOffset []*Message

func (h byOffset) Len() int           { return len(h) }
func (h byOffset) Less(i, j int) bool { return h[i].Offset < h[j].Offset }
func (h byOffset) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].number, h[j].number = i, j }
func (h *byOffset) Push(x any)        { m := x.(*Message); m.number = len(*h); *h = append(*h, m) }
func (h *byOffset) Pop() any {
	m := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = nil
	*h = (*h)[:len(*h)-1]
	return m
}

type byTime struct{ byOffset }

func (h byTime) Less(i, j int) bool {
	return h.byOffset[i].wait.Until.Before(h.byOffset[j].wait.Until)
}
