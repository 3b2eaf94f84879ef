package fleet

import (
	"log/slog"
	"syscall"
	"time"

	"github.com/racecar-go/racecar/internal/wire"
)

const (
	// afterCancel and afterQuit are how long a call may go on after its ctx was
	// cancelled, and a process after SIGQUIT.
	afterCancel = 2 * time.Second
	afterQuit   = 3 * time.Second
)

// escalationKind is also a restart's reason in the counts.
type escalationKind string

const (
	stuck         escalationKind = "stuck"
	joinStuck     escalationKind = "join-stuck"
	frozen        escalationKind = "frozen"
	frozenStopped escalationKind = "frozen-stopped"
	bootTimeout   escalationKind = "boot-timeout"
	protocol      escalationKind = "protocol"
	overdue       escalationKind = "overdue" // a stop that took too long
)

// escalation is the way from a reason to SIGKILL.
type escalation struct {
	kind  escalationKind
	text  string     // one line
	call  *wire.Call // stuck: the one that does not return
	steps []escalationStep
	due   time.Time // of the next step
}

// escalationStep is a command or a signal, and how long to wait after it.
type escalationStep struct {
	command wire.CommandKind
	signal  syscall.Signal
	wait    time.Duration
}

var (
	cancelStep = escalationStep{command: wire.CommandCancel, wait: afterCancel / 2}
	// dumpStep lets the worker write its stacks itself. SIGQUIT does it too, and of a
	// worker that reads nothing any more, but cannot show the goroutine of an endless
	// loop, which is the one that matters ("running on other thread").
	dumpStep = escalationStep{command: wire.CommandDump, wait: afterCancel / 2}
	quitStep = escalationStep{signal: syscall.SIGQUIT, wait: afterQuit}
	killStep = escalationStep{signal: syscall.SIGKILL, wait: time.Hour}
)

// beginEscalation begins an escalation, unless there is one. call may be nil.
func (f *Fleet) beginEscalation(p *proc, call *wire.Call, kind escalationKind, text string, steps ...escalationStep) {
	if p.escalation != nil {
		return
	}
	p.escalation = &escalation{kind: kind, text: text, call: call, steps: steps, due: f.now}
	f.log(slog.LevelWarn, "ending a worker", p.slot, map[string]any{"pid": p.pid, "reason": text})
	f.progress(p.slot, string(kind), text)
	f.escalate(p)
}

// escalate takes the steps that are due.
func (f *Fleet) escalate(p *proc) {
	for x := p.escalation; x != nil && len(x.steps) > 0 && !f.now.Before(x.due); {
		next := x.steps[0]
		x.steps = x.steps[1:]
		x.due = f.now.Add(next.wait)
		if next.command != "" {
			f.command(p, wire.Command{Kind: next.command, Call: x.call, Reason: x.text})
			continue
		}
		p.killed = x.text
		p.quit = p.quit || next.signal == syscall.SIGQUIT
		f.do(Signal{p.id, next.signal})
	}
}
