package access

import (
	"encoding/binary"
	"fmt"
	"net"
	"sync"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Whoever answers as a broker decides how much memory its answers take: sarama
// allocates the length that an answer announces, and what it makes of the bytes is
// up to forty times as large. So each kind of answer has a limit of its own.

const (
	// maxLoginAnswer bounds what comes before the broker knows us, and we it.
	maxLoginAnswer = 64 << 10
	// maxAnswer is for whatever is not named in answerLimit.
	maxAnswer = 4 << 20
	// maxListAnswer is for the answers that list a cluster's topics or a group's
	// members: of 150,000 partitions, say.
	maxListAnswer = 8 << 20
	// maxBrokers is how many brokers a cluster may have: of all that sarama makes of
	// an answer a broker is the largest.
	maxBrokers = 10_000
)

// metadataFlexible is the first version of Metadata with tagged fields.
const metadataFlexible = 9

// answerLimit is how large an answer to a kind of request may be. JoinGroup's is read
// by package kafka's joinFilter, which holds it down.
func answerLimit(key int16) uint32 {
	switch kmsg.Key(key) {
	case kmsg.ApiVersions, kmsg.SASLHandshake, kmsg.SASLAuthenticate:
		return maxLoginAnswer
	case kmsg.Metadata, kmsg.DescribeGroups:
		return maxListAnswer
	case kmsg.Fetch, kmsg.JoinGroup:
		return uint32(sarama.MaxResponseSize)
	}
	return maxAnswer
}

// OversizedError is an answer that is larger than any that a broker would give.
type OversizedError struct {
	Key   int16 // the kind of request
	Bytes uint32
	Limit uint32
}

func (e *OversizedError) Error() string {
	return fmt.Sprintf("the answer to a request of kind %d announces %d bytes, at most %d are taken: not a Kafka broker", e.Key, e.Bytes, e.Limit)
}

// answerConn refuses answers that are too large, before anything is allocated for
// them, and answers that nobody asked for. sarama writes a request in one call.
type answerConn struct {
	net.Conn

	mu    sync.Mutex
	asked []request // guarded by mu; without an answer, in order

	// Of the answer being read; used by Read alone.
	head    [24]byte
	have    int   // bytes of head
	need    int   // of them, to judge; 0: not known yet
	left    int64 // bytes of the answer still to come, once it was judged
	current request
}

// request is what we need to know of one that was sent.
type request struct {
	key, version  int16
	correlationID uint32
}

func (c *answerConn) Write(b []byte) (int, error) {
	if len(b) >= 12 { // size int32, key int16, version int16, correlation id int32
		c.mu.Lock()
		c.asked = append(c.asked, request{int16(binary.BigEndian.Uint16(b[4:])), int16(binary.BigEndian.Uint16(b[6:])), binary.BigEndian.Uint32(b[8:])})
		c.mu.Unlock()
	}
	return c.Conn.Write(b)
}

func (c *answerConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if wrong := c.check(b[:n]); wrong != nil {
		return 0, wrong
	}
	return n, err
}

// check follows the frames of the stream: size int32, correlation id int32, the rest.
func (c *answerConn) check(b []byte) error {
	for len(b) > 0 {
		if c.left > 0 {
			n := min(c.left, int64(len(b)))
			c.left -= n
			b = b[n:]
			continue
		}
		want := max(c.need, 8)
		n := copy(c.head[c.have:want], b)
		c.have += n
		b = b[n:]
		if c.have < want {
			return nil
		}
		size := binary.BigEndian.Uint32(c.head[:])
		if c.need == 0 {
			if err := c.begin(size); err != nil {
				return err
			}
			if c.need > c.have {
				continue
			}
		}
		if err := c.checkBrokers(); err != nil {
			return err
		}
		c.left = int64(size) + 4 - int64(c.have)
		c.have, c.need = 0, 0
	}
	return nil
}

// begin judges an answer by its size and finds what was asked.
func (c *answerConn) begin(size uint32) error {
	id := binary.BigEndian.Uint32(c.head[4:])
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, r := range c.asked {
		if r.correlationID != id {
			continue
		}
		c.asked = append(c.asked[:0], c.asked[i+1:]...) // those before it want no answer
		c.current = r
		if limit := answerLimit(r.key); size < 4 || size > limit {
			return &OversizedError{r.key, size, limit}
		}
		c.need = 8
		if r.key == int16(kmsg.Metadata) {
			c.need = min(len(c.head), int(size)+4)
		}
		return nil
	}
	return fmt.Errorf("answer %d was not asked for: not a Kafka broker", id)
}

// checkBrokers looks at how many brokers an answer to Metadata lists: after the
// correlation id and, from version 9 on, tagged fields (none) come the throttle time
// (version 3) and the number.
func (c *answerConn) checkBrokers() error {
	if c.current.key != int16(kmsg.Metadata) {
		return nil
	}
	rest := c.head[8:c.have]
	skip := 0
	if c.current.version >= metadataFlexible {
		skip++
	}
	if c.current.version >= 3 {
		skip += 4
	}
	if len(rest) < skip {
		return nil // cut short: sarama says so
	}
	n := uint64(0)
	if rest = rest[skip:]; c.current.version >= metadataFlexible {
		n, _ = binary.Uvarint(rest)
	} else if len(rest) >= 4 {
		n = uint64(binary.BigEndian.Uint32(rest))
	}
	if n > maxBrokers {
		return fmt.Errorf("the cluster has %d brokers, it says: not a Kafka broker", n)
	}
	return nil
}
