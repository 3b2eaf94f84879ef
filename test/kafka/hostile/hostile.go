// Package hostile has a Kafka broker and a Kerberos server that answer what a script
// says, for tests of what a stranger on the network can do to a client.
//
// A scenario is a file of the folder scenarios. It begins with a comment that says
// what it is about; then come, a line each:
//
//	login MECHANISM    how the client logs in: PLAIN, SCRAM-SHA-256 or GSSAPI
//	answer REQUEST     what follows replaces the answers to that request (as Kafka's
//	                   protocol names it), or with KDC those of the Kerberos server
//	from VERSION       only those to requests of at least that version
//	size N             the length that the answer announces; else its true one
//	real N             the first N bytes of the true answer's body
//	hex AB CD …        bytes of the body
//	repeat N AB CD …   the same, N times
//
// A body begins behind the correlation id. All requests without a script are answered
// by the embedded broker, which a Scenario is put in front of by Listen.
package hostile

import (
	"bytes"
	"embed"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

//go:embed scenarios
var files embed.FS

// Scenario is one attack.
type Scenario struct {
	Name  string
	Login string // mechanism; empty: none

	answers map[int16]*answer
	kdc     *answer
}

// answer is a scripted one.
type answer struct {
	from  int16 // of which version requests are answered
	size  int64 // announced; -1: the true one
	real  int   // bytes of the true answer; -1: none
	parts []part
}

// part is bytes that are sent a number of times.
type part struct {
	bytes []byte
	times int
}

// Scenarios returns all of them, in the order of their names.
func Scenarios(t testing.TB) []Scenario {
	t.Helper()
	entries, err := files.ReadDir("scenarios")
	if err != nil {
		t.Fatal(err)
	}
	all := make([]Scenario, 0, len(entries))
	for _, e := range entries {
		text, err := files.ReadFile(path.Join("scenarios", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		s, err := parse(string(text))
		if err != nil {
			t.Fatalf("%s: %v", e.Name(), err)
		}
		s.Name = strings.TrimSuffix(e.Name(), ".txt")
		all = append(all, s)
	}
	return all
}

func parse(text string) (Scenario, error) {
	s := Scenario{answers: map[int16]*answer{}}
	var current *answer
	number := 0
	for line := range strings.Lines(text) {
		number++
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		var err error
		switch {
		case word == "" || strings.HasPrefix(word, "#"):
		case word == "login":
			s.Login = rest
		case word == "answer":
			current = &answer{size: -1, real: -1}
			if rest == "KDC" {
				s.kdc = current
				break
			}
			var key int16
			if key, err = keyOf(rest); err == nil {
				s.answers[key] = current
			}
		case current == nil:
			err = fmt.Errorf("%s without an answer", word)
		default:
			err = current.add(word, rest)
		}
		if err != nil {
			return s, fmt.Errorf("line %d: %w", number, err)
		}
	}
	return s, nil
}

func (a *answer) add(word, rest string) error {
	var err error
	times := 1
	switch word {
	case "from":
		version, err := strconv.ParseInt(rest, 10, 16)
		a.from = int16(version)
		return err
	case "size":
		a.size, err = strconv.ParseInt(rest, 0, 64)
		return err
	case "real":
		a.real, err = strconv.Atoi(rest)
		return err
	case "repeat":
		count, data, _ := strings.Cut(rest, " ")
		if times, err = strconv.Atoi(count); err != nil {
			return err
		}
		rest = data
	case "hex":
	default:
		return fmt.Errorf("%q is none of answer, from, size, real, hex and repeat", word)
	}
	data, err := hex.DecodeString(strings.ReplaceAll(rest, " ", ""))
	a.parts = append(a.parts, part{data, times})
	return err
}

func keyOf(name string) (int16, error) {
	for key := range int16(kmsg.MaxKey + 1) {
		if kmsg.NameForKey(key) == name {
			return key, nil
		}
	}
	return 0, fmt.Errorf("%q is no request of Kafka's protocol", name)
}

// write sends the answer with head (a correlation id) before its body.
func (a *answer) write(w io.Writer, head, trueBody []byte) error {
	body := append(bytes.Clone(head), trueBody[:min(max(a.real, 0), len(trueBody))]...)
	size := int64(len(body))
	for _, p := range a.parts {
		size += int64(len(p.bytes) * p.times)
	}
	if a.size >= 0 {
		size = a.size
	}
	if _, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(size)), body...)); err != nil {
		return err
	}
	for _, p := range a.parts {
		const chunk = 1 << 16
		block := bytes.Repeat(p.bytes, min(p.times, chunk/max(len(p.bytes), 1)+1))
		for left := len(p.bytes) * p.times; left > 0; {
			n := min(left, len(block))
			if _, err := w.Write(block[:n]); err != nil {
				return err
			}
			left -= n
		}
	}
	return nil
}

// Listen is for kfake.ListenFn.
func (s Scenario) Listen(network, addr string) (net.Listener, error) {
	l, err := net.Listen(network, addr)
	return &listener{l, s.answers}, err
}

type listener struct {
	net.Listener
	answers map[int16]*answer
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, answers: l.answers, asked: map[uint32]request{}}, nil
}

// conn is the embedded broker's end of a connection. That broker writes an answer in
// one call.
type conn struct {
	net.Conn
	answers map[int16]*answer

	requests bytes.Buffer // what was read of the next request; used by Read alone
	mu       sync.Mutex
	asked    map[uint32]request // guarded by mu; by correlation id
}

type request struct{ key, version int16 }

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.requests.Write(b[:n])
	for {
		r := c.requests.Bytes()
		if len(r) < 12 || len(r) < 4+int(binary.BigEndian.Uint32(r)) {
			return n, err
		}
		c.mu.Lock()
		c.asked[binary.BigEndian.Uint32(r[8:])] = request{int16(binary.BigEndian.Uint16(r[4:])), int16(binary.BigEndian.Uint16(r[6:]))}
		c.mu.Unlock()
		c.requests.Next(4 + int(binary.BigEndian.Uint32(r)))
	}
}

func (c *conn) Write(b []byte) (int, error) {
	if len(b) >= 8 {
		c.mu.Lock()
		asked, ok := c.asked[binary.BigEndian.Uint32(b[4:])]
		c.mu.Unlock()
		if scripted := c.answers[asked.key]; ok && scripted != nil && asked.version >= scripted.from {
			return len(b), scripted.write(c.Conn, b[4:8], b[8:])
		}
	}
	return c.Conn.Write(b)
}

// KDC starts the scenario's Kerberos server and returns its address. It ends with the
// test.
func (s Scenario) KDC(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close() //nolint:errcheck // all was said
				if _, err := c.Read(make([]byte, 64<<10)); err == nil && s.kdc != nil {
					_ = s.kdc.write(c, nil, nil) // whoever hangs up has heard enough
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}
