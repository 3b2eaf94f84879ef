package supervisor

import (
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

// tick is how often each worker is looked at.
const tick = time.Second

const (
	// joinGrace is what joining may take beyond max_poll_interval: the broker
	// waits that long for the other members, and then answers.
	joinGrace = 30 * time.Second
	// afterCancel and afterQuit are the rungs of the ladder: how long a call may
	// go on when its ctx was cancelled, and a process after SIGQUIT.
	afterCancel = 2 * time.Second
	afterQuit   = 3 * time.Second
	// leastSilence is what no worker_timeout goes below: frames come once a second,
	// and may be late.
	leastSilence = 3 * time.Second
	// memoryEvery is how often memory is asked for where there is a limit.
	memoryEvery = 5 * time.Second
	// memoryPause is the least time between two replacements of one slot for its
	// memory: a limit that lies below what an idle worker takes must not become a
	// restart loop.
	memoryPause = time.Minute
)

// The kinds of ladders; each is a restart's reason in the counts.
const (
	stuck         = "stuck"
	joinStuck     = "join-stuck"
	frozen        = "frozen"
	frozenStopped = "frozen-stopped"
	bootTimeout   = "boot-timeout"
	overdue       = "overdue" // an ordered stop that took too long
)

// ladder is the way from a reason to SIGKILL.
type ladder struct {
	kind string
	text string     // one line
	call *wire.Call // stuck: the one that does not come back
	// next rung, due at at.
	rungs []rung
	at    time.Time
}

// rung is one step, and how long to wait after it for the next one.
type rung struct {
	command wire.CommandKind // tell the worker
	sig     syscall.Signal   // or send this
	then    time.Duration
}

var (
	cancelRung = rung{command: wire.CommandCancel, then: afterCancel / 2}
	// dumpRung lets the worker write its stacks itself. SIGQUIT does it too, and of
	// a worker that hears nothing any more, but cannot show the goroutine of an
	// endless loop, which is the one that matters ("running on other thread").
	dumpRung = rung{command: wire.CommandDump, then: afterCancel / 2}
	quitRung = rung{sig: syscall.SIGQUIT, then: afterQuit}
	killRung = rung{sig: syscall.SIGKILL, then: time.Hour}
)

// put sets p on a ladder, unless it is on one.
func (r *registry) put(p *proc, kind, text string, rungs ...rung) {
	r.putCall(p, nil, kind, text, rungs...)
}

// putCall is put because of a call.
func (r *registry) putCall(p *proc, call *wire.Call, kind, text string, rungs ...rung) {
	if p.ladder != nil {
		return
	}
	p.ladder = &ladder{kind: kind, text: text, call: call, rungs: rungs, at: r.now}
	r.log(logrus.WarnLevel, "worker is to end", p.slot, logrus.Fields{"pid": p.pid, "reason": text})
	r.progress(p.slot, kind, text)
	r.climb(p)
}

// climb takes the rungs that are due.
func (r *registry) climb(p *proc) {
	for p.ladder != nil && len(p.ladder.rungs) > 0 && !r.now.Before(p.ladder.at) {
		l := p.ladder
		step := l.rungs[0]
		l.rungs = l.rungs[1:]
		l.at = r.now.Add(step.then)
		if step.command != "" {
			r.command(p, wire.Command{Kind: step.command, Call: l.call, Reason: l.text})
			continue
		}
		p.killed = l.text
		p.quit = p.quit || step.sig == syscall.SIGQUIT
		r.do(doSignal{p, step.sig})
	}
}

// sight is what was seen of a process from outside.
type sight struct {
	inHand  []scoreboard.Call
	heard   time.Time // when its socket last had something for us
	unread  bool      // and still has
	stopped func() bool
	rss     int64 // 0: not asked
}

// seen judges a process by what can be seen of it.
func (r *registry) seen(now time.Time, p *proc, s sight) {
	r.now = now
	p.inHand = s.inHand
	if s.rss > 0 {
		p.rss = s.rss
	}
	if s.heard.After(p.heard) {
		p.heard = s.heard
	}
	cfg := p.rel.config()
	if !s.unread {
		silent := now.Sub(p.heard)
		switch {
		case p.booted.IsZero():
			if waited := now.Sub(p.greeted); waited >= cfg.WorkerBootTimeout {
				r.put(p, bootTimeout, fmt.Sprintf("no sign of life within worker_boot_timeout (%v) after its start", cfg.WorkerBootTimeout), quitRung, killRung)
			}
		case p.frame.State == status.Starting && p.stopping == "" && now.Sub(p.since) >= cfg.WorkerBootTimeout:
			r.put(p, bootTimeout, fmt.Sprintf("the constructor has not returned within worker_boot_timeout (%v)", cfg.WorkerBootTimeout), dumpRung, quitRung, killRung)
		case silent < max(cfg.WorkerTimeout, leastSilence):
		case s.stopped():
			r.put(p, frozenStopped, fmt.Sprintf("frozen: stopped by a signal, no sign of life for %v", silent.Round(time.Second)), killRung)
		default:
			r.put(p, frozen, fmt.Sprintf("frozen: no sign of life for %v (worker_timeout %v)", silent.Round(time.Second), cfg.WorkerTimeout), quitRung, killRung)
		}
	}
	if limit := p.rel.joinLimit(); p.frame.State == status.Joining && now.Sub(p.since) > limit && p.stopping == "" {
		r.put(p, joinStuck, fmt.Sprintf("joining the group for more than max_poll_interval + %v (%v)", joinGrace, limit), quitRung, killRung)
	}
	r.judgeCalls(p, cfg.MaxPollInterval)
	r.judgeMemory(p, cfg.WorkerMemoryLimit)
}

// judgeCalls finds handlers that do not come back.
func (r *registry) judgeCalls(p *proc, limit time.Duration) {
	if l := p.ladder; l != nil && l.call != nil && p.killed == "" && !slices.ContainsFunc(p.inHand, func(c scoreboard.Call) bool {
		return c.Since > limit && *l.call == nameOf(p, c)
	}) {
		p.ladder = nil // cancelling was enough; another call has a ladder of its own
		r.log(logrus.InfoLevel, "handler came back after its ctx was cancelled", p.slot, nil)
	}
	var longest scoreboard.Call
	for _, c := range p.inHand {
		if c.Since > longest.Since {
			longest = c
		}
	}
	if longest.Since <= limit || p.ladder != nil {
		return
	}
	call := nameOf(p, longest)
	r.putCall(p, &call, stuck, fmt.Sprintf("handler stuck: %s/%d offset %d in hand for more than max_poll_interval (%v)",
		longest.Topic, longest.Partition, longest.FirstOffset, limit), cancelRung, dumpRung, quitRung, killRung)
}

func nameOf(p *proc, c scoreboard.Call) wire.Call {
	return wire.Call{Consumer: p.slot.consumer.name, Topic: c.Topic, Partition: c.Partition, FirstOffset: c.FirstOffset}
}

// judgeMemory replaces a worker above its limit, one at a time.
func (r *registry) judgeMemory(p *proc, limit int64) {
	s := p.slot
	if limit <= 0 || p.rss <= limit || p.stopping != "" || r.roll != nil || r.ending != nil {
		return
	}
	if !s.drainedAt.IsZero() && r.now.Sub(s.drainedAt) < memoryPause {
		return
	}
	if r.draining != nil && r.draining != s && r.draining.comingBack() {
		return // its turn comes
	}
	r.draining = s
	s.drainedAt = r.now
	text := fmt.Sprintf("memory: %d MiB, more than worker_memory_limit (%d MiB)", p.rss>>20, limit>>20)
	s.lastExit = text
	r.log(logrus.WarnLevel, "worker is replaced", s, logrus.Fields{"reason": text})
	r.progress(s, string(stopMemory), text)
	r.stopProc(p, stopMemory, false)
}

// comingBack says that the slot's process is going or its successor is not up.
func (s *slot) comingBack() bool {
	if s.cur == nil {
		return s.wanted
	}
	switch s.cur.frame.State {
	case status.Starting, status.Joining:
		return true
	}
	return s.cur.stopping != ""
}
