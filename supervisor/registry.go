package supervisor

import (
	"fmt"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/process"
)

// registry is all that the supervisor knows and decides. Its methods take one
// event and the time at which it happened, and append what is to be done to
// effects. It makes no system call and keeps no clock.
type registry struct {
	now       time.Time // of the event in hand
	consumers []*consumer
	effects   []effect

	nonce string         // of this supervisor run, for membership run
	host  string         // for membership host without static_id
	draw  func() float64 // uniform in [0,1), for jitter

	started     time.Time
	ready       bool   // see checkReady
	logLevel    string // when changed while running
	ending      *ending
	roll        *roll
	draining    *slot // last replaced for its memory
	restartsBy  map[string]uint64
	releases    int // how many there have been
	lastCommand uint64
}

// release is what a slot runs: an image, and the consumer as that image's Specs
// and the configuration describe it.
type release struct {
	number   int // 1: that of the start; another one is the next roll's to something else
	image    process.Image
	consumer wire.Consumer
}

// same says that a release is what a plan found: an image and a consumer.
func (r *release) same(image process.Image, c wire.Consumer) bool {
	return r.image.Same(image) && r.consumer.Digest == c.Digest
}

func (r *release) config() *config.Config { return &r.consumer.Config }

// consumer is one consumer with its slots.
type consumer struct {
	name     string
	rel      *release         // what new slots run
	slots    []*slot          // by index
	fatal    string           // why it was given up; empty: it was not
	wasReady bool             // one of its workers has been up
	quiet    bool             // by an operator
	paused   []wire.Partition // by an operator
	suspects suspects
	// base and restarts are those of slots that were scaled away.
	base     status.Work
	restarts int
}

// retired keeps what counts of a slot that goes.
func (c *consumer) retired(s *slot) {
	c.base.Add(s.done())
	c.restarts += s.restarts
}

// slot is a worker's place: `UserBanConsumer[2]`. Processes come and go in it.
type slot struct {
	consumer *consumer
	index    int
	rel      *release // what it runs or ran last and well
	wanted   bool     // false: it is to have no process any more
	cur      *proc    // nil: no process
	next     *proc    // in a roll: stands by

	idle      status.State // with cur == nil: Backoff, Fatal or Exited
	since     time.Time    // of idle
	restartAt time.Time    // with Backoff
	record    crashes
	restarts  int

	lastExit   string
	lastStderr string
	// left are the places of processes that are gone, which nobody has taken over
	// or removed yet.
	left []status.Member
	// base is what processes that are gone have done.
	base status.Work
	// drainedAt is when it was last replaced for its memory.
	drainedAt time.Time
}

func (s *slot) name() string { return status.Name(s.consumer.name, s.index) }

// stopReason is why a process is to end.
type stopReason string

const (
	stopWhole  stopReason = "stop"                // of everything
	stopScale  stopReason = "scale"               // the slot goes
	stopFatal  stopReason = "given up"            // the consumer goes
	stopRoll   stopReason = "restart"             // a new release
	stopMemory stopReason = "memory"              // above worker_memory_limit
	stopSpare  stopReason = "not needed any more" // it stands by for no roll
)

// proc is one process in a slot.
type proc struct {
	slot    *slot
	rel     *release
	pid     int
	spawned time.Time
	greeted time.Time // when the handshake was sent that gave it the slot, or has it stand by
	booted  time.Time // its first frame
	heard   time.Time // its last sign of life, or when we began to wait for one
	frame   wire.Frame
	since   time.Time // of frame.State
	places  []status.Member
	told    bool // its places are known, so what its predecessors left is dealt with
	last    *wire.ExitReason
	report  *status.Report
	work    status.Work       // when last looked at
	inHand  []scoreboard.Call // when last looked at
	rss     int64             // when last looked at

	stopping stopReason    // empty: it is to run
	leaves   bool          // it was told to leave its group
	stays    bool          // it was told to stay once it has stopped: see wire.Command
	finished bool          // and does
	grace    time.Duration // for that, from the order on
	killAt   time.Time     // when it is over
	ladder   *ladder
	killed   string // why we made it end, when we did not wait for it
	quit     bool   // it was made to write its stacks to stderr
}

func (p *proc) name() string { return p.slot.name() }

// effect is something for the loop to do.
type effect any

// The effects.
type (
	doSpawn   struct{ proc *proc } // and send the handshake
	doGreet   struct{ proc *proc } // again: the slot is its
	doCommand struct {
		proc *proc
		cmd  wire.Command
	}
	doSignal struct {
		proc *proc
		sig  syscall.Signal
	}
	// doLeave removes places of dead workers with a one-shot process.
	doLeave struct {
		consumer wire.Consumer
		image    process.Image
		places   []status.Member
		within   time.Duration
		final    bool // at the end of a whole stop: leaveDone is awaited
	}
	// doPrepareLeave says that a final doLeave of that consumer is to come.
	doPrepareLeave struct {
		consumer wire.Consumer
		image    process.Image
	}
	doLog struct {
		level  logrus.Level
		msg    string
		fields logrus.Fields
	}
	doProgress Progress
	doEvent    Event
	doReady    struct{}
	doStopping struct{} // a whole stop begins
	doEnd      struct {
		code int
		err  error
	}
	// doRollEnd ends a roll; err is nil when all went well.
	doRollEnd struct{ err error }
)

func newRegistry(now time.Time, plan wire.Plan, image process.Image, nonce, host string, draw func() float64) *registry {
	r := &registry{nonce: nonce, host: host, draw: draw, started: now, restartsBy: map[string]uint64{}, releases: 1}
	for _, wc := range plan.Consumers {
		r.consumers = append(r.consumers, newConsumer(now, &release{number: 1, image: image, consumer: wc}))
	}
	return r
}

// newConsumer has empty slots.
func newConsumer(now time.Time, rel *release) *consumer {
	c := &consumer{name: rel.consumer.Name, rel: rel}
	for range max(1, rel.config().ParallelWorkers) {
		c.grow(now)
	}
	return c
}

// grow adds a slot.
func (c *consumer) grow(now time.Time) *slot {
	s := &slot{
		consumer: c, index: len(c.slots), rel: c.rel, wanted: true,
		idle: status.Starting, since: now,
	}
	c.slots = append(c.slots, s)
	return s
}

// begin starts all.
func (r *registry) begin(now time.Time) {
	r.now = now
	for s := range r.slots() {
		r.start(s, s.rel)
	}
}

// slots yields all slots of all consumers.
func (r *registry) slots() func(func(*slot) bool) {
	return func(yield func(*slot) bool) {
		for _, c := range r.consumers {
			for _, s := range c.slots {
				if !yield(s) {
					return
				}
			}
		}
	}
}

// procs yields all processes, also those that stand by.
func (r *registry) procs() func(func(*proc) bool) {
	return func(yield func(*proc) bool) {
		for s := range r.slots() {
			if s.cur != nil && !yield(s.cur) {
				return
			}
			if s.next != nil && !yield(s.next) {
				return
			}
		}
	}
}

func (r *registry) consumer(name string) *consumer {
	for _, c := range r.consumers {
		if c.name == name {
			return c
		}
	}
	return nil
}

func (r *registry) do(e effect) { r.effects = append(r.effects, e) }

// take returns the effects since the last call.
func (r *registry) take() []effect {
	e := r.effects
	r.effects = nil
	return e
}

func (r *registry) log(level logrus.Level, msg string, s *slot, fields logrus.Fields) {
	if fields == nil {
		fields = logrus.Fields{}
	}
	if s != nil {
		fields["worker"] = s.name()
		if s.cur != nil && s.cur.pid != 0 && fields["pid"] == nil {
			fields["pid"] = s.cur.pid
		}
	}
	r.do(doLog{level, msg, fields})
}

func (r *registry) progress(s *slot, step, detail string) {
	p := doProgress{At: r.now, Step: step, Detail: detail}
	if s != nil {
		p.Worker = s.name()
	}
	r.do(p)
}

// start gives an empty slot a process of rel.
func (r *registry) start(s *slot, rel *release) *proc {
	p := r.newProc(s, rel)
	s.cur = p
	s.idle, s.restartAt = status.Starting, time.Time{} // one that was given up is not any more
	r.do(doSpawn{p})
	return p
}

func (r *registry) newProc(s *slot, rel *release) *proc {
	p := &proc{slot: s, rel: rel, spawned: r.now, greeted: r.now, heard: r.now, since: r.now}
	p.frame.State = status.Starting
	return p
}

// spawnFailed says that no process could be started for p.
func (r *registry) spawnFailed(now time.Time, p *proc, err error, temporary bool) {
	r.now = now
	s := p.slot
	if s.next == p {
		s.next = nil
		r.rollFailed(s, fmt.Sprintf("start: %v", err))
		return
	}
	if s.cur != p {
		return
	}
	s.cur = nil
	s.lastExit = fmt.Sprintf("not started: %v", err)
	r.log(logrus.ErrorLevel, "worker could not be started", s, logrus.Fields{"error": err.Error()})
	if ro := r.roll; ro != nil && ro.cur == s && p.rel == ro.targets[s.consumer] {
		r.rollBack(s, s.name()+" was "+s.lastExit)
		return
	}
	r.crashed(s, p, crash{reason: "spawn", text: s.lastExit, blameless: temporary})
}

// dynamic says that the members of the group have no instance ids.
func (r *release) dynamic() bool { return r.config().Membership == config.MembershipDynamic }

// joinLimit is how long joining may take.
func (r *release) joinLimit() time.Duration { return r.config().MaxPollInterval + joinGrace }

// spawnedAs notes the pid of a process that was started.
func (r *registry) spawnedAs(now time.Time, p *proc, pid int) {
	r.now = now
	p.pid = pid
	r.log(logrus.InfoLevel, "worker started", p.slot, logrus.Fields{"pid": pid})
	r.do(doEvent{Kind: WorkerStarted, Consumer: p.slot.consumer.name, Index: p.slot.index, PID: pid})
}

// imagesInUse are those that any release refers to from which something runs or may
// be started.
func (r *registry) imagesInUse() map[process.Image]bool {
	used := map[process.Image]bool{}
	for _, c := range r.consumers {
		used[c.rel.image] = true
	}
	for s := range r.slots() {
		used[s.rel.image] = true
	}
	for p := range r.procs() {
		used[p.rel.image] = true
	}
	if ro := r.roll; ro != nil {
		for _, rel := range ro.targets {
			used[rel.image] = true
		}
		if ro.was != nil {
			used[ro.was.image] = true
		}
	}
	return used
}

// command makes an order to p.
func (r *registry) command(p *proc, cmd wire.Command) wire.Command {
	r.lastCommand++
	cmd.ID = r.lastCommand
	r.do(doCommand{p, cmd})
	return cmd
}
