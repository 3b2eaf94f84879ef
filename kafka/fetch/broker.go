package fetch

import (
	"slices"
	"time"
)

// broker is a broker that leads partitions, or has replicas that we fetch from. A broker
// answers the requests of a connection in order, and delays its answer while there are no
// messages. So each broker has two connections for partitions that have more messages, whose
// requests overlap, and one that waits. Guarded by Fetcher.mu.
type broker struct {
	f          *Fetcher
	id         int32
	addr       string
	partitions []*Partition // in the order in which requests name them
	hot, poll  *loop
	second     *loop // sends hot requests while those of hot are on their way
	err        error // why nothing comes from it; nil: all is well
	gone       bool  // it is not part of the cluster any more: its loops end
}

// never is when a hot connection begins a session.
var never = time.Unix(1<<40, 0)

// loop is a goroutine with a connection, which sends one request after the other. All but
// awake is guarded by Fetcher.mu or belongs to the goroutine.
type loop struct {
	f       *Fetcher
	b       *broker
	waits   bool // of the connection that waits for messages
	second  bool // it is broker.second
	running bool
	idle    bool          // it waits for awake
	busy    bool          // a request is under way
	until   time.Time     // when the broker answers it at the latest
	short   int64         // bytes of the budget that it waits for
	awake   chan struct{} // capacity 1

	conn     *conn // of the goroutine
	addr     string
	failures int
	session  session // none on a hot connection
}

func newBroker(f *Fetcher, id int32) *broker {
	b := &broker{f: f, id: id}
	b.hot = &loop{f: f, b: b, awake: make(chan struct{}, 1)}
	b.poll = &loop{f: f, b: b, waits: true, awake: make(chan struct{}, 1)}
	b.second = &loop{f: f, b: b, second: true, awake: make(chan struct{}, 1)}
	b.hot.session.resumeAt, b.second.session.resumeAt = never, never
	return b
}

// wake has the loop look for something to do. f.mu is held.
func (l *loop) wake() {
	if !l.running && !l.f.closed && !l.b.gone {
		l.running = true
		l.f.wg.Go(l.run)
	}
	if l.idle {
		l.idle = false
		poke(l.awake)
	}
}

// wakeOthers wakes the loops that may request what l has had in its request. f.mu is held.
func (l *loop) wakeOthers() {
	for _, o := range []*loop{l.b.hot, l.b.poll} {
		if o != l {
			o.wake()
		}
	}
}

// setLeader makes the leader's connections fetch the partition. f.mu is held.
func (p *Partition) setLeader(now leader) {
	if now.epoch < p.leaderEpoch && p.topicID == p.f.topics[p.topic].id {
		return // from a broker whose metadata is older than ours
	}
	newer := p.leaderEpoch >= 0 && now.epoch > p.leaderEpoch
	if now.broker != p.leader || newer {
		p.epoch++
		p.inFlight = false
		p.replica = noBroker
	}
	p.leader, p.leaderEpoch = now.broker, now.epoch
	if newer && p.lastEpoch >= 0 && p.ask == askNothing && p.start != nil {
		p.ask = askEpoch // the log of the new leader may end before (KIP-320)
	}
	p.attach()
}

// attach adds the partition to the broker that it is fetched from. f.mu is held.
func (p *Partition) attach() {
	b := p.f.brokers[p.replica]
	if b == nil {
		p.replica, b = noBroker, p.f.brokers[p.leader]
	}
	if p.closed || b == p.broker {
		p.wake()
		return
	}
	p.detach()
	if b != nil {
		p.broker = b
		b.partitions = append(b.partitions, p)
		p.wake()
		b.hot.wake() // p may need its watermarks although nothing of it is wanted
	}
}

// detach takes the partition from its broker. f.mu is held.
func (p *Partition) detach() {
	if p.broker == nil {
		return
	}
	i := slices.Index(p.broker.partitions, p)
	p.broker.partitions = slices.Delete(p.broker.partitions, i, i+1)
	p.broker = nil
	p.epoch++
	p.inFlight = false
}

// dropReplica goes back to the leader. f.mu is held.
func (p *Partition) dropReplica() {
	if p.replica != noBroker {
		p.replica = noBroker
		p.attach()
	}
}

// run sends requests until the fetcher is closed.
func (l *loop) run() {
	defer func() { l.conn.close() }()
	for l.f.ctx.Err() == nil {
		l.f.mu.Lock()
		if l.b.gone && len(l.b.partitions) == 0 {
			l.f.mu.Unlock()
			return
		}
		req, wait := l.next(time.Now())
		l.idle = req == nil
		unused := len(l.b.partitions) == 0
		l.f.mu.Unlock()
		if req == nil {
			if wait == 0 && unused {
				l.disconnect()
			}
			l.sleep(wait)
			continue
		}
		late := time.AfterFunc(l.f.maxWait()+slowAnswer, func() { poke(l.f.refresh) })
		err := l.connect()
		throttle := time.Duration(0)
		if err == nil {
			throttle, err = req.send(l)
		}
		late.Stop()
		l.done(req, err)
		if throttle > 0 {
			l.pause(throttle)
		}
	}
}

// slowAnswer is the wait for an answer after which metadata is requested: a frozen broker keeps
// its connections, while its partitions get other leaders.
const slowAnswer = 4 * time.Second

// sleep waits until there may be something to do; wait 0: until the loop is woken.
func (l *loop) sleep(wait time.Duration) {
	var due <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-l.awake:
	case <-due:
	case <-l.f.ctx.Done():
	}
}

// pause waits, even if there is something to do.
func (l *loop) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-l.f.ctx.Done():
	}
}

// connect connects unless the loop has a connection to the broker's address.
func (l *loop) connect() error {
	l.f.mu.Lock()
	addr := l.b.addr
	l.f.mu.Unlock()
	if l.conn != nil && l.addr == addr {
		return nil
	}
	l.disconnect()
	c, err := l.f.dial(addr, l.f.opts.Access.SocketTimeout())
	if count := l.f.opts.Count; count != nil && err == nil {
		c.count = func(sent int) func(int) { return count(l.b.id, sent) }
	}
	l.conn, l.addr = c, addr
	return err
}

func (l *loop) disconnect() {
	l.conn.close()
	l.conn = nil
	l.session.reset()
}

// done handles the result of a request. After an error it closes the connection and pauses,
// except if the broker closed an idle connection: then the next request follows at once.
func (l *loop) done(req request, err error) {
	now := time.Now()
	l.f.mu.Lock()
	changed := req.finish(l, err, now)
	l.busy = false
	stale := err != nil && l.conn != nil && l.conn.used && isClosed(err)
	wait := time.Duration(0)
	switch {
	case err == nil:
		l.failures = 0
		if l.b.err != nil {
			l.b.err = nil
			changed = l.b.all()
		}
	case stale || l.f.closed:
	case l.second:
		l.failures++
		wait = doubled(l.f.opts.Backoff, l.failures) // the others find out whether the broker is down
	default:
		l.failures++
		wait = doubled(l.f.opts.Backoff, l.failures)
		if l.b.err == nil {
			changed = l.b.all()
			l.f.log.WithField("broker", l.b.addr).WithError(err).Warn("a broker cannot be fetched from")
		}
		l.b.err = err
		for _, p := range l.b.all() {
			p.dropReplica() // the leader may be there
		}
		l.f.needMetadata()
	}
	l.f.mu.Unlock()
	for _, p := range changed {
		p.changed()
	}
	if err != nil {
		l.disconnect()
		l.pause(wait)
	}
}

// all returns a copy of the broker's partitions. f.mu is held.
func (b *broker) all() []*Partition { return slices.Clone(b.partitions) }

// request is one that a loop sends.
type request interface {
	// send sends it and reads the answer. It returns how long the broker wants to get no
	// other request.
	send(*loop) (throttle time.Duration, err error)
	// finish releases the memory that was reserved, and returns the partitions that
	// changed. f.mu is held.
	finish(l *loop, err error, now time.Time) []*Partition
}

// next chooses the loop's next request; nil: none, for the returned time (0: until the loop
// is woken). f.mu is held.
func (l *loop) next(now time.Time) (request, time.Duration) {
	if l.f.closed {
		return nil, 0
	}
	if !l.waits && !l.second {
		if q := l.offsets(now); q != nil {
			return q, 0
		}
	}
	l.short = 0
	if r := l.fetch(now); r != nil {
		l.busy = true
		if !l.waits && !l.second {
			l.b.second.wake()
		}
		return r, 0
	}
	if l.second {
		return nil, 0
	}
	return nil, l.due(now)
}

// retryShort is the pause before a loop that lacks memory checks again whether there is some.
const retryShort = time.Second

// due returns the time until a partition that failed may be requested again. f.mu is held.
func (l *loop) due(now time.Time) time.Duration {
	var wait time.Duration
	sooner := func(at time.Time) {
		if d := at.Sub(now); d > 0 && (wait == 0 || d < wait) {
			wait = d
		}
	}
	if l.short > 0 {
		sooner(now.Add(retryShort))
	}
	for _, p := range l.b.partitions {
		sooner(p.retryAt)
		if due, ok := p.marksDue(); ok && !l.waits {
			sooner(due)
		}
	}
	return wait
}
