package fleet

import (
	"log/slog"
	"slices"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

// desired is the state that a slot is taken to.
type desired int

const (
	pending            desired = iota // no process yet: a rollout that adds the slot comes to it later
	running                           // a process of the target release
	removed                           // none, because there are too many: the slot goes
	stoppedPermanently                // none, because it failed permanently, until a rollout comes to it
	stopped                           // none, because everything stops
)

// stopReason is why a process has to stop.
type stopReason string

const (
	stopShutdown stopReason = "stop"                // of everything
	stopScale    stopReason = "scale"               // the slot goes
	stopFailed   stopReason = "stopped permanently" // the consumer goes
	stopRollout  stopReason = "restart"             // another release
	stopMemory   stopReason = "memory"              // above worker_memory_limit
	stopStandby  stopReason = "not needed any more" // no rollout needs it
)

// slot is the position of a worker: `UserBanConsumer[2]`. Processes come and go in it:
// one that is active and, in a rollout, one that stands by to follow it, and then one
// that has stopped and stays until its successor has taken over its members. Should the
// supervisor be killed in between, it removes them by itself.
type slot struct {
	consumer  *consumer
	index     int
	desired   desired
	target    *release // what it is taken to
	lastGood  *release // what it ran last and well, or begins with
	active    *proc    // nil: no process
	standby   *proc
	lingering *proc // has stopped and stays

	since     time.Time // when active became nil
	restartAt time.Time // a backoff ends; zero: there is none
	crashes   crashes
	restarts  int
	lastExit  string
	lastLines string // of stderr
	// orphanedMembers are the members of processes that are gone, which nobody has taken
	// over or removed yet.
	orphanedMembers []status.Member
	// base is what processes that are gone have done.
	base status.Work
	// replacedAt is when it was last replaced for its memory.
	replacedAt time.Time
}

func (s *slot) name() string { return status.Name(s.consumer.name, s.index) }

// proc is one process in a slot.
type proc struct {
	id           ProcID
	slot         *slot
	release      *release
	pid          int
	spawned      time.Time
	assigned     time.Time // when the handshake was sent that gave it the slot, or has it stand by
	booted       time.Time // its first frame
	lastSeen     time.Time // its last sign of life, or when we began to wait for one
	frame        wire.Frame
	since        time.Time // of frame.State
	members      []status.Member
	membersKnown bool // its members are known, so those of its predecessors are dealt with
	exitReason   *wire.ExitReason
	report       *status.Report
	work         status.Work       // as last counted
	inHand       []scoreboard.Call // as last observed
	rss          int64             // as last observed

	stopping    stopReason    // empty: it has to run
	leavesGroup bool          // its stop command says so
	stays       bool          // it was told to stay once it has stopped: see wire.Command
	finished    bool          // and does
	exiting     bool          // and was told to exit
	stayUntil   time.Time     // it is told then, whatever its successor does
	grace       time.Duration // for that, from the command on
	killAt      time.Time     // when it is over
	escalation  *escalation
	killed      string // why we ended it without waiting
	quit        bool   // it was made to write its stacks to stderr
}

func (p *proc) name() string { return p.slot.name() }

// grow adds a slot.
func (f *Fleet) grow(c *consumer, d desired) *slot {
	s := &slot{consumer: c, index: len(c.slots), desired: d, since: f.now}
	f.setRelease(&s.target, c.release)
	f.setRelease(&s.lastGood, c.release)
	c.slots = append(c.slots, s)
	return s
}

// settle takes a slot one step from what is to what is desired.
func (f *Fleet) settle(s *slot) {
	if s.standby != nil && (s.desired != running || s.standby.release != s.target) {
		f.stop(s.standby, stopStandby, false)
	}
	p := s.active
	switch {
	case p == nil:
		f.ensureActive(s)
	case s.desired != running:
		f.stopUndesired(p)
	case p.release == s.target:
	case p.release != s.lastGood: // it did not come to run, and has nothing in hand
		if p.stopping == "" {
			f.stop(p, stopRollout, p.release.dynamic())
			p.killAt = f.now.Add(afterQuit)
		}
	case s.standby == nil:
		s.standby = f.spawn(s)
	case p.stopping == "" && s.standby.stopping == "" && s.standby.frame.State == status.Standby:
		// A dynamic member leaves, so that the group does not wait for it; the others
		// are taken over.
		f.stop(p, stopRollout, p.release.dynamic())
	}
}

// ensureActive gives a slot without a process one, if it has to have one.
func (f *Fleet) ensureActive(s *slot) {
	switch {
	case s.desired != running:
	case s.standby != nil && s.standby.stopping == "":
		p := s.standby
		s.active, s.standby = p, nil
		p.assigned, p.lastSeen, p.since = f.now, f.now, f.now
		p.frame.State = status.Starting
		f.do(Handshake{p.id, f.handshake(p)})
	case !f.now.Before(s.restartAt):
		s.restartAt = time.Time{}
		s.active = f.spawn(s)
	}
}

// spawn makes a process of the target release. If the slot has an active one it stands
// by.
func (f *Fleet) spawn(s *slot) *proc {
	f.lastProc++
	p := &proc{id: f.lastProc, slot: s, spawned: f.now, assigned: f.now, lastSeen: f.now, since: f.now}
	f.setRelease(&p.release, s.target)
	p.frame.State = status.Starting
	f.procs[p.id] = p
	f.do(Spawn{p.id, s.name(), p.release.image, f.handshake(p)})
	return p
}

// stopUndesired stops the active process of a slot that has to have none.
func (f *Fleet) stopUndesired(p *proc) {
	switch p.slot.desired {
	case removed, pending:
		f.stop(p, stopScale, true)
	case stoppedPermanently:
		f.stop(p, stopFailed, true)
	default:
		// Members of membership run are removed together at the end, so that the group
		// rebalances once. Dynamic members leave by themselves.
		f.stop(p, stopShutdown, p.slot.lastGood.dynamic())
	}
}

// stop asks a process to stop gracefully.
func (f *Fleet) stop(p *proc, reason stopReason, leave bool) {
	if p.stopping == reason {
		return
	}
	grace := p.release.config().ShutdownTimeout
	if f.shutdown != nil {
		grace = f.shutdown.grace
	}
	if st := p.frame.State; st == status.Starting || st == status.Standby { // it has nothing in hand
		grace = min(grace, startingGrace)
	}
	if p.stopping != "" { // it knows; but it may have less time now
		p.stopping = reason
		if by := f.now.Add(grace); by.Before(p.killAt) {
			p.grace, p.killAt = grace, by
		}
		return
	}
	p.stopping = reason
	p.leavesGroup = leave
	p.grace, p.killAt = grace, f.now.Add(grace)
	p.stays = f.hasToStay(p)
	f.command(p, wire.Command{Kind: wire.CommandStop, Grace: grace, Leave: leave, Stay: p.stays})
	f.progress(p.slot, string(status.Stopping), string(reason))
}

// hasToStay reports whether a process has to stay once it has stopped: until its members
// are removed with all others, or its successor has taken them over.
func (f *Fleet) hasToStay(p *proc) bool {
	s := p.slot
	switch {
	case p.leavesGroup || s.standby == p:
		return false
	case p.stopping == stopShutdown:
		return f.removesMembers(s.consumer)
	}
	return p.stopping == stopRollout && p.membersKnown && s.lingering == nil && p.release.config().Membership == config.MembershipRun
}

// stoppedAndStays takes note that a process has stopped and stays. Unless everything stops, its
// successor may have the slot.
func (f *Fleet) stoppedAndStays(p *proc) {
	p.finished = true
	f.logStopped(p)
	if f.shutdown != nil {
		return
	}
	s := p.slot
	s.orphanedMembers = append(s.orphanedMembers, p.members...)
	p.members, p.stayUntil = nil, f.now.Add(stayWithin)
	s.active, s.lingering, s.since = nil, p, f.now
	f.countRestart(p)
}

// exitLingering ends processes that stay, once their members are taken over or removed.
func (f *Fleet) exitLingering() {
	for s := range f.slots() {
		if p := s.lingering; p != nil && f.shutdown == nil && (len(s.orphanedMembers) == 0 || !f.now.Before(p.stayUntil)) {
			f.exit(p)
		}
	}
}

// exit ends a process that stays.
func (f *Fleet) exit(p *proc) {
	if !p.exiting {
		p.exiting = true
		f.command(p, wire.Command{Kind: wire.CommandExit})
		p.grace, p.killAt = exitWithin, f.now.Add(exitWithin)
	}
}

// command sends a command that nobody waits for.
func (f *Fleet) command(p *proc, cmd wire.Command) { f.do(Command{p.id, cmd, 0}) }

func (e Spawned) apply(f *Fleet) {
	p := f.procs[e.Proc]
	if p == nil {
		return
	}
	p.pid = e.PID
	f.log(slog.LevelInfo, "worker started", p.slot, map[string]any{"pid": e.PID})
	f.do(WorkerEvent{Kind: WorkerStarted, Consumer: p.slot.consumer.name, Index: p.slot.index, PID: e.PID})
}

func (e SpawnFailed) apply(f *Fleet) {
	p := f.procs[e.Proc]
	if p == nil {
		return
	}
	s := p.slot
	f.forget(p)
	defer f.setRelease(&p.release, nil)
	text := "not started: " + e.Err.Error()
	if s.active != nil {
		f.failRollout(s, s.name()+": start: "+e.Err.Error())
		return
	}
	s.lastExit = text
	f.log(slog.LevelError, "worker could not be started", s, map[string]any{"error": e.Err.Error()})
	if f.isRolledOut(p) {
		f.failRollout(s, s.name()+" was "+text)
		return
	}
	f.crashed(p, crash{reason: "spawn", text: text, uncounted: e.Temporary})
}

// forget removes a process that has ended. Its release is still held.
func (f *Fleet) forget(p *proc) {
	delete(f.procs, p.id)
	switch s := p.slot; p {
	case s.active:
		s.active, s.since = nil, f.now
	case s.standby:
		s.standby = nil
	default:
		s.lingering = nil
	}
}

// prune removes slots that have no process any more, from the top.
func (f *Fleet) prune() {
	for _, c := range f.consumers {
		for n := len(c.slots); n > 0; n-- {
			s := c.slots[n-1]
			if s.desired != removed || s.active != nil || s.standby != nil || s.lingering != nil {
				break
			}
			c.base.Add(s.done())
			c.restarts += s.restarts
			f.setRelease(&s.target, nil)
			f.setRelease(&s.lastGood, nil)
			c.slots = c.slots[:n-1]
		}
		if len(c.slots) == 0 { // a rollout was to add it
			f.setRelease(&c.release, nil)
		}
	}
	f.consumers = slices.DeleteFunc(f.consumers, func(c *consumer) bool { return len(c.slots) == 0 })
}

// removeMembers removes the members of slots that nobody follows.
func (f *Fleet) removeMembers() {
	for _, c := range f.consumers {
		byRelease := map[*release][]status.Member{}
		var order []*release
		for _, s := range c.slots {
			if s.active != nil || len(s.orphanedMembers) == 0 || s.desired != removed && s.desired != stoppedPermanently {
				continue
			}
			if byRelease[s.lastGood] == nil {
				order = append(order, s.lastGood)
			}
			byRelease[s.lastGood] = append(byRelease[s.lastGood], s.orphanedMembers...)
			s.orphanedMembers = nil
		}
		for _, rel := range order {
			f.do(RemoveMembers{Consumer: rel.consumer, Image: rel.image, Members: byRelease[rel], Within: removeWithin})
		}
	}
}

// handshake is what a process is told first.
func (f *Fleet) handshake(p *proc) wire.Handshake {
	s := p.slot
	h := wire.Handshake{
		Versions:     wire.Supported(),
		Consumer:     p.release.consumer,
		Index:        s.index,
		Predecessors: s.orphanedMembers,
		Suspects:     s.consumer.suspects.list(),
		Paused:       s.consumer.paused,
		Quiet:        s.consumer.quiet,
		LogLevel:     f.logLevel,
		StartedAt:    f.started,
		Standby:      s.active != nil && s.active != p,
		// A release that has not run here yet is refused for what a known one waits for.
		WasReady: s.consumer.wasReady && p.release == s.lastGood,
	}
	switch cfg := p.release.config(); cfg.Membership {
	case config.MembershipDynamic:
	case config.MembershipHost:
		h.Nonce = cfg.StaticID
		if h.Nonce == "" {
			h.Nonce = f.host
		}
	default:
		h.Nonce = f.nonce
	}
	return h
}
