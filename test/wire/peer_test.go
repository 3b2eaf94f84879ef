package wire

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/fleet"
	"github.com/racecar-go/racecar/supervisor/process"
)

// recorded starts no processes: what it starts says what was recorded.
type recorded struct {
	t     *testing.T
	plays map[string]transcript // by role; the successor of a worker is successor

	mu      sync.Mutex
	workers int
	heard   transcript // by all
	open    sync.WaitGroup
}

// program is a fake process.Image.
type program struct{}

func (program) Same(process.Image) bool { return true }
func (program) String() string          { return "recorded program" }
func (program) Close() error            { return nil }

func (r *recorded) Find() (process.Image, error)         { return program{}, nil }
func (r *recorded) CurrentImage() (process.Image, error) { return program{}, nil }
func (r *recorded) OutOfMemoryKills() (uint64, bool)     { return 0, false }
func (r *recorded) Close() error                         { r.open.Wait(); return nil }

func (r *recorded) Spawn(spec process.Spec) (process.Process, error) {
	name := string(spec.Role)
	r.mu.Lock()
	defer r.mu.Unlock()
	if spec.Role == wire.RoleWorker {
		if r.workers++; r.workers > 1 {
			name = successor
		}
	}
	f, board, err := scoreboard.Create(max(1, spec.Slots))
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	board.Counters().Add(scoreboard.Messages, 3) // the work of a recorded worker is not in its messages
	p := &peer{r: r, pid: 1000 + r.workers, says: r.plays[name], board: board, over: make(chan fleet.Exit, 1)}
	p.ours, p.theirs = net.Pipe()
	r.open.Go(p.play)
	return p, nil
}

// peer is a child that says what was recorded.
type peer struct {
	r            *recorded
	pid          int
	says         transcript
	board        *scoreboard.Board
	ours, theirs net.Conn
	over         chan fleet.Exit
	ended        atomic.Bool
}

func (p *peer) end(e fleet.Exit) {
	if !p.ended.Swap(true) {
		_ = p.theirs.Close()
		p.over <- e
	}
}

// play answers each message of the supervisor as the recorded child did.
func (p *peer) play() {
	defer p.end(fleet.Exit{})
	conn := wire.NewConn(p.theirs)
	if !p.say(conn, p.says.opening(), 0) {
		return
	}
	for {
		env, err := conn.Read()
		if err != nil {
			return
		}
		m := message{Envelope: env}
		p.r.mu.Lock()
		p.r.heard = append(p.r.heard, m)
		p.r.mu.Unlock()
		answers, known := p.says.answers(m.key())
		if !known {
			p.r.t.Errorf("the supervisor said %s, which is not in the recording", m.key())
		}
		var c wire.Command
		if m.Kind == wire.KindCommand {
			if err := m.Decode(&c); err != nil {
				p.r.t.Error(err)
			}
		}
		if m.Kind == wire.KindLease {
			var l wire.Lease
			if err := m.Decode(&l); err != nil {
				p.r.t.Error(err)
			}
			c.ID = l.ID
		}
		if !p.say(conn, answers, c.ID) || c.Kind == wire.CommandExit || c.Kind == wire.CommandStop && !c.Stay {
			return
		}
	}
}

// say sends what was recorded; replies answer the command of that id, and probes give back
// the lease of that id.
func (p *peer) say(conn *wire.Conn, all transcript, id uint64) bool {
	for _, m := range all {
		body := any(m.Body)
		if named := map[wire.Kind]string{wire.KindReply: "id", wire.KindProbed: "lease"}[m.Kind]; named != "" && id != 0 {
			var answer map[string]any
			if err := m.Decode(&answer); err != nil {
				p.r.t.Error(err)
			}
			answer[named] = id
			body = answer
		}
		if conn.Write(m.Kind, body) != nil {
			return false
		}
	}
	return true
}

func (p *peer) PID() int                        { return p.pid }
func (p *peer) Socket() io.ReadWriteCloser      { return p.ours }
func (p *peer) HasUnread() bool                 { return false }
func (p *peer) Wait() fleet.Exit                { return <-p.over }
func (p *peer) InHand() []scoreboard.Call       { return p.board.InHand() }
func (p *peer) Work() status.Work               { return p.board.Counters().Work() }
func (p *peer) CountUnknownMessage()            { p.board.Counters().Add(scoreboard.UnknownMessages, 1) }
func (p *peer) Usage() (process.Usage, error)   { return process.Usage{}, nil }
func (p *peer) Image() (process.Image, error)   { return program{}, nil }
func (p *peer) Stderr() (tail, headline string) { return "", "" }
func (p *peer) Signal(sig syscall.Signal) error {
	if sig == syscall.SIGKILL {
		p.end(fleet.Exit{Code: -1, Signal: sig})
	}
	return nil
}

func (p *peer) Close() error {
	_ = p.ours.Close() // a pipe's never fails
	return p.board.Close()
}

// writeBoard writes a scoreboard with a call in hand, and what its counters are.
func writeBoard(t *testing.T, path string) {
	t.Helper()
	f, b, err := scoreboard.Create(2)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	defer b.Close()
	b.Begin(1, "orders", 3, 40, 49, true)
	for i := range scoreboard.Counter(len(b.Counters().Work().Counters)) {
		b.Counters().Add(i, uint64(i)+1)
	}
	memory, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	counters, err := json.MarshalIndent(b.Counters().Work().Counters, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(path, memory, 0o600), os.WriteFile(path+".json", append(counters, '\n'), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// checkBoard reads a recorded scoreboard.
func checkBoard(t *testing.T, path string) {
	t.Helper()
	memory, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "scoreboard")
	if err := os.WriteFile(copied, memory, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(copied, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := scoreboard.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	calls := b.InHand()
	for i := range calls {
		calls[i].Since = 0 // its clock was another machine's
	}
	if want := []scoreboard.Call{{Topic: "orders", Partition: 3, FirstOffset: 40, LastOffset: 49, Alone: true}}; !slices.Equal(calls, want) {
		t.Errorf("in hand: %+v", calls)
	}
	var want map[string]uint64
	text, err := os.ReadFile(path + ".json")
	if err == nil {
		err = json.Unmarshal(text, &want)
	}
	if err != nil || len(want) == 0 {
		t.Fatalf("counters %v, %v", want, err)
	}
	have := b.Counters().Work().Counters
	for name, n := range want {
		if have[name] != n {
			t.Errorf("%s: %d, want %d", name, have[name], n)
		}
	}
}
