package access

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// answerTo is the head of an answer that announces size bytes.
func answerTo(correlationID, size uint32, body ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, size), correlationID), body...)
}

// requestOf is a whole request.
func requestOf(key, version uint16, correlationID uint32) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0, 0, 0, 10}, key)
	return append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, version), correlationID), 0xff, 0xff)
}

// An answer is refused by its first bytes when it is larger than its kind may be.
func TestResponsesAreBounded(t *testing.T) {
	for _, tt := range []struct {
		name         string
		key, version uint16
		size         uint32
		body         []byte
		refused      bool
	}{
		{"ApiVersions", uint16(kmsg.ApiVersions), 4, 1000, nil, false},
		{"large ApiVersions", uint16(kmsg.ApiVersions), 4, maxLoginAnswer + 1, nil, true},
		{"SaslHandshake of two gigabytes", uint16(kmsg.SASLHandshake), 1, 1<<31 - 1, nil, true},
		{"SaslAuthenticate of four gigabytes", uint16(kmsg.SASLAuthenticate), 1, 1<<32 - 1, nil, true},
		{"no room for the correlation id", 12, 1, 3, nil, true},
		{"Heartbeat", 12, 1, 10, nil, false},
		{"large Heartbeat", 12, 1, maxAnswer + 1, nil, true},
		{"Fetch", uint16(kmsg.Fetch), 12, 50 << 20, nil, false},
		{"large Fetch", uint16(kmsg.Fetch), 12, 101 << 20, nil, true},
		{"Metadata", uint16(kmsg.Metadata), 10, 7 << 20, nil, false},
		{"large Metadata", uint16(kmsg.Metadata), 10, maxListAnswer + 1, nil, true},
		{"short Metadata", uint16(kmsg.Metadata), 10, 5, []byte{0}, false},
	} {
		for step := 1; step <= 30; step += 7 { // however the bytes come
			ours, theirs := net.Pipe()
			c := &limitedConn{Conn: ours}
			go func() {
				_, _ = io.ReadFull(theirs, make([]byte, 14))
				b := answerTo(5, tt.size, append(tt.body, make([]byte, 20)...)...)
				if int(tt.size)+4 < len(b) {
					b = b[:max(int(tt.size)+4, 8)]
				}
				for ; len(b) > 0; b = b[min(step, len(b)):] {
					if _, err := theirs.Write(b[:min(step, len(b))]); err != nil {
						return
					}
				}
				_ = theirs.Close()
			}()
			if _, err := c.Write(requestOf(tt.key, tt.version, 5)); err != nil {
				t.Fatal(err)
			}
			_, err := io.Copy(io.Discard, struct{ io.Reader }{c})
			if (err != nil) != tt.refused {
				t.Errorf("%s, in steps of %d: %v", tt.name, step, err)
			}
			_ = ours.Close()
		}
	}
}

// The correlation id assigns a response to its request; a response without one is rejected.
func TestResponsesWithoutARequestAreRejected(t *testing.T) {
	c := &limitedConn{}
	sink, _ := net.Pipe()
	_ = sink.Close()
	c.Conn = sink // where the requests go does not matter
	for id, key := range []uint16{uint16(kmsg.ApiVersions), 0, uint16(kmsg.Metadata), uint16(kmsg.Fetch)} {
		_, _ = c.Write(requestOf(key, 3, uint32(id)))
	}
	stream := answerTo(0, 6, 1, 2)
	stream = append(stream, answerTo(2, 12, 0, 0, 0, 0, 0, 0, 0, 1)...) // no answer to 1: acks=0
	if err := c.check(stream); err != nil {
		t.Fatal(err)
	}
	if err := c.check(answerTo(1, 6, 1, 2)); err == nil || !strings.Contains(err.Error(), "was not asked for") {
		t.Errorf("an answer that came too late: %v", err)
	}
	c = &limitedConn{Conn: sink}
	_, _ = c.Write(requestOf(uint16(kmsg.Fetch), 12, 1))
	var oversized *OversizedError
	if err := c.check(answerTo(1, 1<<30)); !errors.As(err, &oversized) {
		t.Errorf("a gigabyte: %v", err)
	}
}
