package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/process"
)

// message is one message of a transcript.
type message struct {
	up bool // from the child to the supervisor
	wire.Envelope
}

// key says what a message is about: its kind, and of a command or handshake which.
func (m message) key() string {
	var body struct {
		Kind    string `json:"kind"`
		Standby bool   `json:"standby"`
	}
	switch m.Kind {
	case wire.KindCommand, wire.KindHandshake:
		if err := m.Decode(&body); err != nil {
			return err.Error()
		}
	}
	switch {
	case m.Kind == wire.KindCommand:
		return "command " + body.Kind
	case body.Standby:
		return "handshake to stand by"
	}
	return string(m.Kind)
}

// transcript is what went both ways between a supervisor and one child.
type transcript []message

// answers are what the child said after the supervisor's message of that key.
func (t transcript) answers(key string) (transcript, bool) {
	i := slices.IndexFunc(t, func(m message) bool { return !m.up && m.key() == key })
	if i < 0 {
		return nil, false
	}
	return t[i+1:].opening(), true
}

// opening is what the child said before the supervisor's next message.
func (t transcript) opening() transcript {
	if i := slices.IndexFunc(t, func(m message) bool { return !m.up }); i >= 0 {
		return t[:i]
	}
	return t
}

// condensed is the transcript without frames that say the same as the one before, and
// with the last status alone. Replies follow their commands, and probes their leases: of
// those that crossed on the way none is the other's answer.
func (t transcript) condensed() transcript {
	replies, probes := map[uint64]message{}, map[uint64]message{}
	var status uint64 // the last status command
	for _, m := range t {
		switch id := m.id(); {
		case m.Kind == wire.KindReply:
			replies[id] = m
		case m.Kind == wire.KindProbed:
			probes[id] = m
		case m.key() == "command status":
			status = id
		}
	}
	var all transcript
	var frame []byte
	for _, m := range t {
		switch {
		case m.Kind == wire.KindReply && m.id() != 0, m.Kind == wire.KindProbed,
			m.Kind == wire.KindFrame && bytes.Equal(frame, m.Body),
			m.key() == "command status" && m.id() != status:
			continue
		case m.Kind == wire.KindFrame:
			frame = m.Body
		}
		all = append(all, m)
		if reply, ok := replies[m.id()]; ok && m.Kind == wire.KindCommand {
			all = append(all, reply)
		}
		if probed, ok := probes[m.id()]; ok && m.Kind == wire.KindLease {
			all = append(all, probed)
		}
	}
	return all
}

// id is that of a command or reply, or of a lease.
func (m message) id() uint64 {
	var body struct{ ID, Lease uint64 }
	switch m.Kind {
	case wire.KindCommand, wire.KindReply, wire.KindLease, wire.KindProbed:
		if m.Decode(&body) == nil {
			return max(body.ID, body.Lease)
		}
	}
	return 0
}

// brokerName stands for the address of the broker in recordings.
const brokerName = "broker.invalid:9092"

func (t transcript) write(path, broker string) error {
	var b bytes.Buffer
	for _, m := range t {
		line, err := json.Marshal(m.Envelope)
		if err != nil {
			return err
		}
		b.WriteString(map[bool]string{true: "< ", false: "> "}[m.up])
		b.Write(bytes.ReplaceAll(line, []byte(broker), []byte(brokerName)))
		b.WriteByte('\n')
	}
	return os.WriteFile(path, b.Bytes(), 0o600)
}

// load reads a recording for a cluster with a broker at that address.
func load(t *testing.T, path, broker string) transcript {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all transcript
	for line := range strings.Lines(strings.ReplaceAll(string(b), brokerName, broker)) {
		m := message{up: line[0] == '<'}
		if err := json.Unmarshal([]byte(line[2:]), &m.Envelope); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, m)
	}
	return all
}

// tap records what goes through a socket.
type tap struct {
	io.ReadWriteCloser
	role wire.Role

	mu      sync.Mutex
	said    transcript
	halfway []byte // of a message that is being read
}

func (p *tap) Write(b []byte) (int, error) {
	p.mu.Lock()
	p.record(false, b[4:]) // a Conn writes whole messages
	p.mu.Unlock()
	return p.ReadWriteCloser.Write(b)
}

func (p *tap) Read(b []byte) (int, error) {
	n, err := p.ReadWriteCloser.Read(b)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.halfway = append(p.halfway, b[:n]...)
	for len(p.halfway) >= 4 {
		end := 4 + int(binary.BigEndian.Uint32(p.halfway))
		if len(p.halfway) < end {
			break
		}
		p.record(true, p.halfway[4:end])
		p.halfway = p.halfway[end:]
	}
	return n, err
}

func (p *tap) record(up bool, b []byte) {
	m := message{up: up}
	if err := json.Unmarshal(b, &m.Envelope); err != nil {
		m.Kind = wire.Kind(fmt.Sprintf("unreadable: %v", err))
	}
	p.said = append(p.said, m)
}

func (p *tap) transcript() transcript {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.said).condensed()
}

// recorder starts real processes and records what they say.
type recorder struct {
	process.Spawner
	mu   sync.Mutex
	taps []*tap
}

type tapped struct {
	process.Process
	tap *tap
}

func (p tapped) Socket() io.ReadWriteCloser { return p.tap }

func (r *recorder) Spawn(spec process.Spec) (process.Process, error) {
	p, err := r.Spawner.Spawn(spec)
	if err != nil {
		return nil, err
	}
	t := &tap{ReadWriteCloser: p.Socket(), role: spec.Role}
	r.mu.Lock()
	r.taps = append(r.taps, t)
	r.mu.Unlock()
	return tapped{p, t}, nil
}

// transcripts are those of all children by what they were; of two workers the second
// is the first one's successor.
func (r *recorder) transcripts() map[string]transcript {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[string]transcript{}
	for _, t := range r.taps {
		name := string(t.role)
		if _, seen := all[name]; seen && t.role == wire.RoleWorker {
			name = successor
		}
		all[name] = t.transcript()
	}
	return all
}

// successor is the recording of a worker that took a slot over in a roll.
const successor = "successor"

// recordings is the folder of a version.
func recordings(version int) string { return filepath.Join("testdata", fmt.Sprintf("v%d", version)) }
