package access

import (
	"encoding/binary"
	"fmt"
	"net"
	"sync"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A peer that poses as a broker could exhaust our memory: sarama allocates the length that
// a response announces, and decoded responses take up to forty times their size. So each
// kind of response has its own limit.

const (
	// maxLoginAnswer bounds responses before either side has authenticated.
	maxLoginAnswer = 64 << 10
	// maxAnswer applies to requests that answerLimit does not name.
	maxAnswer = 4 << 20
	// maxListAnswer applies to responses that list a cluster's topics or a group's
	// members: enough for 150,000 partitions.
	maxListAnswer = 8 << 20
)

// answerLimit is the maximum size of a response to a kind of request. Package kafka's
// joinFilter limits JoinGroup's further.
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

// OversizedError reports a response that is larger than any broker would send.
type OversizedError struct {
	Key   int16 // the kind of request
	Bytes uint32
	Limit uint32
}

func (e *OversizedError) Error() string {
	return fmt.Sprintf("the answer to a request of kind %d announces %d bytes, at most %d are taken: not a Kafka broker", e.Key, e.Bytes, e.Limit)
}

// limitedConn rejects responses that are too large, before anybody allocates memory for
// them, and responses without a request. Each request has to be one Write.
type limitedConn struct {
	net.Conn

	mu    sync.Mutex
	asked []request // guarded by mu; without an answer, in order

	// State of the response being read; only Read uses it.
	head    [8]byte
	have    int   // bytes of head
	left    int64 // bytes of the answer still to come, once it was judged
	current request
	seen    []byte // of an answer that is measured once it is whole; nil: it is not
}

// request identifies a request that was sent.
type request struct {
	key, version  int16
	correlationID uint32
}

func (c *limitedConn) Write(b []byte) (int, error) {
	if len(b) >= 12 { // size int32, key int16, version int16, correlation id int32
		c.mu.Lock()
		c.asked = append(c.asked, request{int16(binary.BigEndian.Uint16(b[4:])), int16(binary.BigEndian.Uint16(b[6:])), binary.BigEndian.Uint32(b[8:])})
		c.mu.Unlock()
	}
	return c.Conn.Write(b)
}

func (c *limitedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if wrong := c.check(b[:n]); wrong != nil {
		return 0, wrong
	}
	return n, err
}

// check follows the frames of the stream: size int32, correlation id int32, the rest.
func (c *limitedConn) check(b []byte) error {
	for len(b) > 0 {
		if c.left > 0 {
			n := min(c.left, int64(len(b)))
			c.left -= n
			if c.seen != nil {
				c.seen = append(c.seen, b[:n]...)
			}
			b = b[n:]
			if c.seen != nil && c.left == 0 {
				if err := c.current.checkDecodedSize(c.seen); err != nil {
					return err
				}
				c.seen = nil
			}
			continue
		}
		n := copy(c.head[c.have:], b)
		c.have += n
		b = b[n:]
		if c.have < len(c.head) {
			return nil
		}
		size := binary.BigEndian.Uint32(c.head[:])
		if err := c.begin(size); err != nil {
			return err
		}
		c.left = int64(size) + 4 - int64(c.have)
		c.have = 0
		if c.current.needsSizeCheck() && c.left > smallAnswer {
			c.seen = make([]byte, 0, c.left)
		}
	}
	return nil
}

// begin checks a response's size and finds its request.
func (c *limitedConn) begin(size uint32) error {
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
		return nil
	}
	return fmt.Errorf("answer %d was not asked for: not a Kafka broker", id)
}
