package fetch_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// tap is an access whose requests are seen, and whose answers may be changed, by a test.
type tap struct {
	access
	request func(addr string, req kmsg.Request)                      // nil: not seen
	answer  func(addr string, req kmsg.Request, frame []byte) []byte // nil: unchanged; frame with its length
}

func (t tap) Dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := t.access.Dial(ctx, addr)
	return &tapConn{Conn: c, addr: addr, tap: t}, err
}

type tapConn struct {
	net.Conn
	tap  tap
	addr string

	mu      sync.Mutex
	asked   []kmsg.Request
	pending []byte
}

func (c *tapConn) Write(b []byte) (int, error) {
	req := kmsg.RequestForKey(int16(binary.BigEndian.Uint16(b[4:])))
	req.SetVersion(int16(binary.BigEndian.Uint16(b[6:])))
	body := b[14+int(binary.BigEndian.Uint16(b[12:])):]
	if req.IsFlexible() {
		body = body[1:] // no tags
	}
	if err := req.ReadFrom(body); err != nil {
		return 0, err
	}
	if c.tap.request != nil {
		c.tap.request(c.addr, req)
	}
	c.mu.Lock()
	c.asked = append(c.asked, req)
	c.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *tapConn) Read(b []byte) (int, error) {
	for len(c.pending) == 0 { // an answer without bytes is swallowed
		var head [4]byte
		if _, err := io.ReadFull(c.Conn, head[:]); err != nil {
			return 0, err
		}
		frame := make([]byte, 4+binary.BigEndian.Uint32(head[:]))
		copy(frame, head[:])
		if _, err := io.ReadFull(c.Conn, frame[4:]); err != nil {
			return 0, err
		}
		c.mu.Lock()
		req := c.asked[0]
		c.asked = c.asked[1:]
		c.mu.Unlock()
		if c.tap.answer != nil {
			frame = c.tap.answer(c.addr, req, frame)
		}
		c.pending = frame
	}
	n := copy(b, c.pending)
	c.pending = c.pending[n:]
	return n, nil
}

// reencode has an answer to Fetch changed.
func reencode(req kmsg.Request, frame []byte, change func(*kmsg.FetchResponse)) []byte {
	resp := kmsg.NewPtrFetchResponse()
	resp.Version = req.GetVersion()
	head := 8
	if resp.IsFlexible() {
		head++ // no tags
	}
	if err := resp.ReadFrom(frame[head:]); err != nil {
		panic(err)
	}
	change(resp)
	out := resp.AppendTo(append([]byte{}, frame[:head]...))
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	return out
}

func isFetch(req kmsg.Request) bool { return req.Key() == kmsg.Fetch.Int16() }
