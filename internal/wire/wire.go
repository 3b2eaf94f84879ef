// Package wire is the protocol between supervisor and worker over their socket pair.
// Each message is a JSON envelope, its kind and its body, behind a 4-byte big-endian
// length. EOF means that the other side is gone, however it ended.
//
//	down: Handshake, then commands
//	up:   Hello, then frames, members and replies; before an exit of its own accord ExitReason
//
// Writing never blocks either side for long: a worker keeps only its newest frame
// when the supervisor does not read (worker's sender).
//
// # Versions
//
// A rolling restart starts another program under the same supervisor, so the two may
// be of different releases. A supervisor offers the range of versions that it speaks in
// the Handshake, and a worker answers in its Hello with the highest that both speak. A
// Plan names the program's range, so that a roll to a program without a common version is
// refused before any worker is replaced. A worker that finds none says so in its
// ExitReason, which is permanent.
//
// What is new within a version is ignored where it is not known. Neither side ends for
// a kind of message or a field that it does not know: messages of unknown kinds are counted
// (status.CountUnknownMessages), and the first of a connection is logged. A supervisor
// passes a Consumer on as it received it, with fields that it does not know. A field
// that is missing has its zero value, a key of the configuration its default.
//
// A new version is needed for everything that the other side must not ignore: another
// meaning of a field or a kind, a command that has to be carried out, a new
// status.State, another layout of the scoreboard (package scoreboard), other
// descriptors or exit codes. The envelope, Versions, Hello, ExitReason, Plan, Leave and
// the Reply to it are the same in all versions.
//
// Version 1 knows no outages: KindOutage, KindProbed, KindLease and KindOutageState are sent
// only where the two agreed on VersionOutages or later. A worker of an older supervisor
// probes by itself, and a supervisor holds no lease for an older worker.
//
// # Recorded peers
//
// test/wire keeps a recording of each version in testdata/v<N>: what went both ways
// between a supervisor and its children, and a scoreboard. It plays the worker's
// part to this supervisor and the supervisor's part to this program's workers, the same with
// the fields and kinds of an invented next version, and reads the scoreboard. To add version N+1, raise
// MaxVersion, make what differs depend on the agreed version, and record:
//
//	go test ./test/wire -run TestRecord$ -record
//
// The recordings of earlier versions stay until MinVersion is raised above them.
package wire

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
)

// MaxMessage is the most bytes of one message; a longer one is an error.
const MaxMessage = 16 << 20

// MaxFrame is the most bytes of a Frame's envelope.
const MaxFrame = 200

// EnvRole is the variable that makes a re-executed binary a child; its value is
// a Role. The child removes it at once, so that users' children do not inherit it.
const EnvRole = "RACECAR_INTERNAL_ROLE"

// Role is what a re-executed binary does.
type Role string

const (
	// RoleWorker runs one worker; socket on SocketFD, scoreboard on ScoreboardFD.
	RoleWorker Role = "worker"
	// RolePlan loads and validates configuration and Specs (like --check) and
	// writes a Plan message to SocketFD. Then it waits for EOF: meanwhile the supervisor
	// finds out which program it runs, which a launcher may have built, and starts the
	// workers from that.
	RolePlan Role = "plan"
	// RoleLeave reads a Leave message from SocketFD, removes those members from
	// their groups, and answers with a Reply.
	RoleLeave Role = "leave"
)

// File descriptors of a child.
const (
	SocketFD     = 3
	ScoreboardFD = 4
)

// Exit codes of a worker.
const (
	ExitOK        = 0 // stopped gracefully
	ExitCrash     = 1 // anything else
	ExitPermanent = 3 // must not be restarted: see ExitReason
)

// Kind names a message.
type Kind string

// The kinds of messages.
const (
	KindHandshake  Kind = "handshake" // down, first: Handshake; again after one with Standby
	KindCommand    Kind = "command"   // down: Command
	KindLeave      Kind = "leave"     // down, RoleLeave only: Leave
	KindHello      Kind = "hello"     // up, first, RoleWorker only: Hello
	KindFrame      Kind = "f"         // up: Frame
	KindMembers    Kind = "members"   // up, at each change: []status.Member
	KindMetrics    Kind = "metrics"   // up, once a second: Metrics
	KindReply      Kind = "reply"     // up: Reply
	KindExitReason Kind = "exit"      // up, before exit: ExitReason
	KindPlan       Kind = "plan"      // up, RolePlan only: Plan

	KindOutage      Kind = "outage"       // up, since VersionOutages, at each change: Outage
	KindProbed      Kind = "probed"       // up, since VersionOutages: Probed
	KindLease       Kind = "lease"        // down, since VersionOutages: Lease
	KindOutageState Kind = "outage-state" // down, since VersionOutages: OutageState
)

// Consumer is what the supervisor needs to know about a consumer to run it.
type Consumer struct {
	Name string `json:"name"`
	// Config is effective: file, Configure, Spec, environment and flags applied.
	Config config.Config `json:"config"`
	// Sources says where each key's value came from (key → e.g. "config/racecar.yml:12").
	Sources map[string]string `json:"sources,omitempty"`
	// Digest changes with everything that requires new workers: the configuration and
	// the Spec.
	Digest        string         `json:"digest"`
	Subscriptions []Subscription `json:"subscriptions,omitempty"`

	received json.RawMessage // what this was decoded from; nil: it was made here
}

// Subscription is a topic, or a pattern of topic names.
type Subscription struct {
	Topic   string `json:"topic,omitempty"`
	Pattern string `json:"pattern,omitempty"`
}

// Plan says what to run. It is the result of loading and validating everything.
type Plan struct {
	// Versions are those that the program speaks.
	Versions  Versions   `json:"versions"`
	Consumers []Consumer `json:"consumers"`
	Warnings  []string   `json:"warnings,omitempty"`
	// Error is one line (or several, one per problem) when loading failed; the rest is then empty.
	Error string `json:"error,omitempty"`
}

// Handshake makes a process a worker.
type Handshake struct {
	Versions Versions `json:"versions"` // those that the supervisor speaks
	Consumer Consumer `json:"consumer"`
	Index    int      `json:"index"`
	// Nonce goes into the instance ids (membership run: drawn once per supervisor
	// run; host: static_id). Empty with membership dynamic.
	Nonce string `json:"nonce,omitempty"`
	// Predecessors are the members of the process that had this slot before. The worker
	// first removes those from their groups that it does not take over.
	Predecessors []status.Member `json:"predecessors,omitempty"`
	Suspects     []Suspect       `json:"suspects,omitempty"`
	Paused       []Partition     `json:"paused,omitempty"` // by an operator; Partition -1: the whole topic
	Quiet        bool            `json:"quiet,omitempty"`
	LogLevel     string          `json:"log_level,omitempty"` // when changed while running
	// Standby: in a rolling restart the worker constructs its consumer, reports it (a
	// frame with status.Standby) and waits for another handshake, without Standby, before
	// it joins. Until then its predecessor has the slot.
	Standby bool `json:"standby,omitempty"`
	// WasReady: the consumer has been ready under this supervisor, so an error of its
	// constructor has an external cause and is retried.
	WasReady  bool      `json:"was_ready,omitempty"`
	StartedAt time.Time `json:"started_at"`
}

// Hello answers a Handshake.
type Hello struct {
	Version int `json:"version"` // the one of Handshake.Versions that the worker speaks
}

// Partition names a partition.
type Partition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
}

// Call names a running call by its message; FirstOffset is a batch's first.
type Call struct {
	Consumer    string `json:"consumer"`
	Topic       string `json:"topic"`
	Partition   int32  `json:"partition"`
	FirstOffset int64  `json:"offset"`
}

// Suspect is a message (or the messages FirstOffset..LastOffset of a batch) that was in
// hand when a process died. Its next call runs with no other call beside it.
type Suspect struct {
	Topic       string `json:"topic"`
	Partition   int32  `json:"partition"`
	FirstOffset int64  `json:"first"`
	LastOffset  int64  `json:"last"`
	// Deaths counts the processes that died with this message alone in hand; at
	// PoisonedAfter it is dead-lettered or its partition paused as poisoned.
	Deaths int    `json:"deaths"`
	Reason string `json:"reason"` // of the last death
}

// PoisonedAfter is the number of deaths after which a message counts as poisoned.
const PoisonedAfter = 3

// CommandKind says what a worker shall do.
type CommandKind string

// The commands. The worker sends a Reply with the command's ID once it is done; the answer
// to stop and exit is the exit.
const (
	CommandStop     CommandKind = "stop"      // Grace, Leave, Stay
	CommandExit     CommandKind = "exit"      // ends a worker that stays
	CommandStatus   CommandKind = "status"    // → status.Report
	CommandQuiet    CommandKind = "quiet"     //
	CommandContinue CommandKind = "continue"  // ends quiet
	CommandPause    CommandKind = "pause"     // Partitions
	CommandResume   CommandKind = "resume"    // Partitions; also ends a backoff and a poisoned state
	CommandCancel   CommandKind = "cancel"    // Call, Reason: cancels its ctx
	CommandSuspects CommandKind = "suspects"  // Suspects: the whole list
	CommandConfig   CommandKind = "config"    // print configuration to stderr (USR1)
	CommandLogLevel CommandKind = "log-level" // Value
	CommandDump     CommandKind = "dump"      // goroutine stacks to the log
	CommandReopen   CommandKind = "reopen"    // reopen the log file (HUP)
)

// Command is sent to a worker.
type Command struct {
	ID    uint64        `json:"id"`
	Kind  CommandKind   `json:"kind"`
	Grace time.Duration `json:"grace,omitempty"` // stop: the time for all of it; calls are cancelled 5 s before its end
	Leave bool          `json:"leave,omitempty"` // stop: remove the members from their groups
	// Stay: once it has stopped, the process reports it (a frame with status.Exited) and
	// waits for CommandExit. Meanwhile the supervisor removes the members of all workers
	// with one request, or a successor takes over the member; if the supervisor is gone,
	// the worker leaves by itself.
	Stay       bool        `json:"stay,omitempty"`
	Partitions []Partition `json:"partitions,omitempty"`
	SkipBatch  bool        `json:"skip_batch,omitempty"` // resume: skip the batch that cannot be decoded
	Suspects   []Suspect   `json:"suspects,omitempty"`
	Call       *Call       `json:"call,omitempty"` // cancel: which one
	Reason     string      `json:"reason,omitempty"`
	Value      string      `json:"value,omitempty"`
}

// Reply answers a Command or a Leave.
type Reply struct {
	ID    uint64          `json:"id"`
	Error string          `json:"error,omitempty"`
	Data  json.RawMessage `json:"data,omitempty"`
}

// Frame is a worker's heartbeat: one a second, and one at each change of state. Its
// envelope takes at most MaxFrame bytes (Detail is cut).
type Frame struct {
	State  status.State `json:"s"`
	Detail string       `json:"d,omitempty"`
	Live   bool         `json:"l"`
}

// Metrics are all that consumer code has registered, as package appmetrics encodes them.
type Metrics struct {
	Encoded []byte `json:"encoded"`
}

// ExitReason says why a worker exits by itself.
type ExitReason struct {
	Reason    string `json:"reason"` // one line
	Permanent bool   `json:"permanent,omitempty"`
}

// Leave asks for members of a consumer to be removed from their groups.
type Leave struct {
	Consumer Consumer        `json:"consumer"`
	Members  []status.Member `json:"members"`
	// Within bounds the whole; members that are left by then are reported.
	Within time.Duration `json:"within"`
}

// Envelope is a message as it is sent.
type Envelope struct {
	Kind Kind            `json:"k"`
	Body json.RawMessage `json:"b"`
}

// Decode reads the body into v.
func (e Envelope) Decode(v any) error {
	if err := json.Unmarshal(e.Body, v); err != nil {
		return fmt.Errorf("%s message: %w", e.Kind, err)
	}
	return nil
}

// Conn reads and writes messages. One goroutine may read while others write.
type Conn struct {
	r  *bufio.Reader
	mu sync.Mutex // writes are whole
	w  io.Writer
}

// NewConn wraps a stream. It does not own it.
func NewConn(rw io.ReadWriter) *Conn {
	return &Conn{r: bufio.NewReader(rw), w: rw}
}

// Read returns the next message; io.EOF when the other side is gone.
func (c *Conn) Read() (Envelope, error) {
	var head [4]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		if err == io.ErrUnexpectedEOF {
			err = io.EOF // also in the middle of a message
		}
		return Envelope{}, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > MaxMessage {
		return Envelope{}, fmt.Errorf("message of %d bytes, more than %d: this is not the protocol between supervisor and workers", n, MaxMessage)
	}
	buf := make([]byte, n)
	if _, err := io.ReadFull(c.r, buf); err != nil {
		if err == io.ErrUnexpectedEOF {
			err = io.EOF
		}
		return Envelope{}, err
	}
	var e Envelope
	if err := json.Unmarshal(buf, &e); err != nil {
		return Envelope{}, fmt.Errorf("message: %w", err)
	}
	return e, nil
}

// Write sends one message.
func (c *Conn) Write(kind Kind, body any) error {
	buf, err := encode(kind, body)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err = c.w.Write(buf)
	return err
}

// WriteFrame sends a frame, cut to MaxFrame bytes.
func (c *Conn) WriteFrame(f Frame) error {
	buf, err := EncodeFrame(f)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err = c.w.Write(buf)
	return err
}

func encode(kind Kind, body any) ([]byte, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("%s message: %w", kind, err)
	}
	msg, err := json.Marshal(Envelope{Kind: kind, Body: raw})
	if err != nil {
		return nil, fmt.Errorf("%s message: %w", kind, err)
	}
	if len(msg) > MaxMessage {
		return nil, fmt.Errorf("%s message of %d bytes, more than %d", kind, len(msg), MaxMessage)
	}
	buf := make([]byte, 4, 4+len(msg))
	binary.BigEndian.PutUint32(buf, uint32(len(msg)))
	return append(buf, msg...), nil
}

// EncodeFrame returns a frame as it is sent, with Detail cut so that it takes at most
// MaxFrame bytes.
func EncodeFrame(f Frame) ([]byte, error) {
	buf, err := encode(KindFrame, f)
	for err == nil && len(buf) > MaxFrame && f.Detail != "" {
		cut := []rune(f.Detail)
		f.Detail = string(cut[:max(0, len(cut)-1-(len(buf)-MaxFrame)/6)])
		buf, err = encode(KindFrame, f)
	}
	return buf, err
}
