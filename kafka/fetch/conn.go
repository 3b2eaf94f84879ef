package fetch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Limits of an answer's length. A broker never sends a longer answer to Fetch, whatever
// message.max.bytes is, and other answers are small.
const (
	maxFetchAnswer = 100 << 20
	maxOtherAnswer = 4 << 20
	// readAhead is how much memory an announced answer gets before its first bytes arrive.
	readAhead = 256 << 10
	// largeAnswer is the size from which the garbage collector runs before an answer gets its
	// buffer: else the one of the answer before may still be there.
	largeAnswer = 32 << 20
)

// Versions of requests that we send. Kafka 2.4 has the first of each.
var (
	fetchVersions    = versionRange{1, 11, 13} // 12 is flexible, 13 has topic ids (Kafka 3.1)
	listVersions     = versionRange{2, 5, 7}   // 5 has leader epochs
	metadataVersions = versionRange{3, 9, 12}  // 10 has topic ids (Kafka 2.8)
	epochVersions    = versionRange{23, 3, 4}  // 3 has the current leader epoch
)

// versionRange holds the versions of a request that we know.
type versionRange struct{ key, oldest, newest int16 }

// protocolError reports an answer that no broker gives. The connection is closed.
type protocolError struct{ problem string }

func (e *protocolError) Error() string { return e.problem + ": not a Kafka broker" }

func newProtocolError(format string, args ...any) error {
	return &protocolError{fmt.Sprintf(format, args...)}
}

// conn is a connection to a broker, for one goroutine. Its buffers are reused: an answer is
// valid until the next request.
type conn struct {
	net.Conn
	format      *kmsg.RequestFormatter
	timeout     time.Duration
	correlation int32
	versions    map[int16][2]int16 // by request key: what the broker has
	used        bool               // something but its versions was answered
	out, in     []byte
	count       func(sent int) (answered func(received int)) // see Options.Count; nil: nobody counts
	stop        func() bool
}

// dial connects and learns which versions the broker has (KIP-35). The broker has to answer
// within timeout.
func (f *Fetcher) dial(addr string, timeout time.Duration) (*conn, error) {
	ctx, cancel := context.WithTimeout(f.ctx, timeout)
	defer cancel()
	raw, err := f.opts.Access.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: raw, format: kmsg.NewRequestFormatter(kmsg.FormatterClientID(f.opts.Config.ClientID)), timeout: timeout, versions: map[int16][2]int16{}}
	c.stop = context.AfterFunc(f.ctx, func() { _ = raw.Close() }) // whatever waits on it ends
	if err := c.learnVersions(); err != nil {
		c.close()
		return nil, err
	}
	c.timeout = f.opts.Access.SocketTimeout()
	return c, nil
}

func (c *conn) learnVersions() error {
	req := kmsg.NewPtrApiVersionsRequest()
	resp := kmsg.NewPtrApiVersionsResponse()
	if err := c.ask(req, resp); err != nil {
		return err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return err
	}
	for _, k := range resp.ApiKeys {
		c.versions[k.ApiKey] = [2]int16{k.MinVersion, k.MaxVersion}
	}
	c.used = false
	return nil
}

// version is the newest one of a request that both sides know.
func (c *conn) version(r versionRange) (int16, error) {
	has, ok := c.versions[r.key]
	v := min(r.newest, has[1])
	if !ok || v < max(r.oldest, has[0]) {
		return 0, fmt.Errorf("the broker has versions %d to %d of the request %s, we know %d to %d (Kafka 2.4 or later is needed)", has[0], has[1], kmsg.NameForKey(r.key), r.oldest, r.newest)
	}
	return v, nil
}

func (c *conn) close() {
	if c != nil {
		c.stop()
		_ = c.Close() // nothing is lost with it
	}
}

// ask sends a request and reads its answer into resp.
func (c *conn) ask(req kmsg.Request, resp kmsg.Response) error {
	resp.SetVersion(req.GetVersion())
	body, err := c.exchange(req, resp.IsFlexible() && req.Key() != 18, maxOtherAnswer, 0)
	if err != nil {
		return err
	}
	if err := resp.ReadFrom(body); err != nil {
		return newProtocolError("the answer to %s cannot be read (%v)", kmsg.NameForKey(req.Key()), err)
	}
	return nil
}

// exchange sends a request and returns the body of its answer. wait is how long the broker
// may hold the answer back.
func (c *conn) exchange(req kmsg.Request, flexible bool, limit int, wait time.Duration) ([]byte, error) {
	c.correlation++
	c.out = c.format.AppendRequest(c.out[:0], req, c.correlation)
	if err := c.SetDeadline(time.Now().Add(c.timeout + wait)); err != nil {
		return nil, err
	}
	answered := func(int) {}
	if c.count != nil {
		answered = c.count(len(c.out))
	}
	_, err := c.Write(c.out)
	if err == nil {
		err = c.read(limit)
	}
	if err != nil {
		answered(0)
		return nil, err
	}
	answered(4 + len(c.in))
	if got := int32(binary.BigEndian.Uint32(c.in)); got != c.correlation {
		return nil, newProtocolError("answer %d came to request %d", got, c.correlation)
	}
	c.used = true
	body := c.in[4:]
	if flexible {
		r := answerReader{b: body, flexible: true}
		r.tags()
		if r.bad {
			return nil, newProtocolError("the head of an answer is cut short")
		}
		body = r.b
	}
	return body, nil
}

// read reads an answer into c.in. What it announces is not allocated before it comes.
func (c *conn) read(limit int) error {
	var head [4]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return err
	}
	size := int64(binary.BigEndian.Uint32(head[:]))
	if size < 4 || size > int64(limit) {
		return newProtocolError("an answer announces %d bytes, at most %d are taken", size, limit)
	}
	c.in = c.in[:0]
	for len(c.in) < int(size) {
		step := int(size) - len(c.in)
		if len(c.in) == 0 {
			step = min(step, max(readAhead, cap(c.in)))
		}
		if cap(c.in)-len(c.in) < step { // without the reserve that append leaves
			if step > largeAnswer {
				runtime.GC()
			}
			c.in = append(make([]byte, 0, len(c.in)+step), c.in...)
		}
		n, err := io.ReadFull(c, c.in[len(c.in):len(c.in)+step])
		c.in = c.in[:len(c.in)+n]
		if err != nil {
			return err
		}
	}
	return nil
}

// shrink drops a buffer that one large answer made larger than most need.
func (c *conn) shrink(f *Fetcher) {
	if cap(c.in) > largestKept(f) {
		c.in = nil
	}
}

// keepBufferFrom is the size from which a batch keeps the buffer that it arrived in instead of a copy.
func (c *conn) keepBufferFrom(f *Fetcher) int { return max(largestKept(f)+1, cap(c.in)/2) }

// largestKept is the size up to which a buffer is kept for the next answer.
func largestKept(f *Fetcher) int { return int(2*f.request + readAhead) }

// isClosed reports whether err is that of a connection which the broker closed, as it does
// with idle ones (connections.max.idle.ms).
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
