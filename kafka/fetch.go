package kafka

import (
	"encoding/binary"
	"net"
)

// FetchControl bounds what the fetches of a client bring. sarama has one setting,
// read when a client is made, in compressed bytes; how much memory an answer takes
// is known only when answers have been seen. Its methods are called concurrently.
type FetchControl interface {
	// Limit is asked before a fetch is sent how many bytes its answer may hold, as
	// they travel. It may wait a little, which holds up that broker's answers only.
	Limit() int32
	// Received is told that so many bytes have come.
	Received(n int)
}

// ControlFetches has f asked before each fetch. To be set before the client is
// used.
func (c *Client) ControlFetches(f FetchControl) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fetches = f
}

// wrap is applied to connections other than those to coordinators.
func (c *Client) wrap(conn net.Conn) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fetches == nil {
		return conn
	}
	return &fetchConn{Conn: conn, control: c.fetches}
}

// fetchConn lowers max_bytes in the fetch requests that pass. sarama writes a
// request in one call.
type fetchConn struct {
	net.Conn
	control FetchControl
}

func (f *fetchConn) Read(b []byte) (int, error) {
	n, err := f.Conn.Read(b)
	if n > 0 {
		f.control.Received(n)
	}
	return n, err
}

func (f *fetchConn) Write(b []byte) (int, error) {
	at := maxBytesAt(b)
	if at < 0 {
		return f.Conn.Write(b)
	}
	limit := uint32(max(f.control.Limit(), 1))
	if binary.BigEndian.Uint32(b[at:]) <= limit {
		return f.Conn.Write(b)
	}
	lower := append([]byte(nil), b...) // a Writer does not change what it is given
	binary.BigEndian.PutUint32(lower[at:], limit)
	return f.Conn.Write(lower)
}

const (
	fetchKey = 1
	// Fetch has max_bytes from version 3 on; from version 15 on the fields before it
	// are others. sarama sends at most 12.
	fetchOldest, fetchNewest = 3, 14
	fetchFlexible            = 12 // the header ends with tagged fields from here on
)

// maxBytesAt returns where max_bytes lies in a whole request, -1 when it is no
// fetch, or not one that we know:
//
//	size int32, key int16, version int16, correlation id int32, client id string
//	(int16 length, -1: null), from version 12 on tagged fields (a count),
//	replica id, max wait, min bytes, max bytes: int32 each
func maxBytesAt(b []byte) int {
	if len(b) < 14 || int(binary.BigEndian.Uint32(b)) != len(b)-4 || binary.BigEndian.Uint16(b[4:]) != fetchKey {
		return -1
	}
	version := int(binary.BigEndian.Uint16(b[6:]))
	if version < fetchOldest || version > fetchNewest {
		return -1
	}
	at := 14 + max(0, int(int16(binary.BigEndian.Uint16(b[12:]))))
	if version >= fetchFlexible {
		if at >= len(b) || b[at] != 0 {
			return -1 // sarama has none
		}
		at++
	}
	at += 3 * 4
	if at+4 > len(b) {
		return -1
	}
	return at
}
