package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/access"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
)

// maxListed is how many partitions a log line lists. Another member that leads the group
// can assign a quarter of a million that are not there.
const maxListed = 1000

// listed is claims as a log line has them: their number, where they are too many.
func listed(claims map[string][]int32) any {
	n := 0
	for _, partitions := range claims {
		n += len(partitions)
	}
	if n > maxListed {
		return n
	}
	return claims
}

// Setup implements sarama.ConsumerGroupHandler: a session has begun.
func (m *membership) Setup(s sarama.ConsumerGroupSession) error {
	m.session.Store(&session{s})
	m.generation.Store(s.GenerationID())
	m.w.stats.Add(scoreboard.Joins, 1)
	m.trouble.over()
	m.log.WithField("member", s.MemberID()).WithField("generation", s.GenerationID()).
		WithField("partitions", listed(s.Claims())).Info("joined the group")
	m.w.emit(event.JoinGroup{
		Consumer: m.w.reg.Name(), Group: m.w.group, MemberID: s.MemberID(), Generation: s.GenerationID(), Duration: time.Since(m.joining),
	})
	opening := map[tp]bool{}
	var leaderless []string
	for topic, partitions := range s.Claims() {
		for _, n := range partitions {
			if k := (tp{topic, n}); m.client.PartitionNotReadable(topic, n) {
				leaderless = append(leaderless, k.String())
			} else {
				opening[k] = true
			}
		}
	}
	if len(leaderless) > 0 {
		// sarama begins such a claim only when there is a leader, however long that takes:
		// the others do not wait for it.
		m.log.WithField("partitions", leaderless[:min(len(leaderless), maxListed)]).WithField("count", len(leaderless)).
			Warn("partitions have no leader: they are consumed once they have one")
	}
	m.mu.Lock()
	m.opening = opening
	m.takeFresh(s.Claims())
	m.mu.Unlock()
	m.ready()
	poke(m.commits.kick) // what the broker refused of an old generation
	m.w.placesChanged()
	return nil
}

// takeFresh notes which claims of a new session are partitions of topics that were made
// anew since the last one, or before and did not get to their first commit. Called with mu
// held.
func (m *membership) takeFresh(claims map[string][]int32) {
	before := m.fresh
	m.fresh = map[tp]int64{}
	for topic, partitions := range claims {
		stood, anew := m.anew[topic]
		for _, n := range partitions {
			k := tp{topic, n}
			at, known := stood[n]
			switch old, was := before[k]; {
			case anew && known:
				m.fresh[k] = at
			case was:
				m.fresh[k] = old
			case anew:
				m.fresh[k] = -1
			}
		}
	}
	clear(m.anew)
}

// isFresh reports whether k begins at its beginning whatever is committed, and where we
// stood in the topic that had its name before; negative: nowhere.
func (m *membership) isFresh(k tp) (stood int64, fresh bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	stood, fresh = m.fresh[k]
	return stood, fresh
}

// ready notes that claims are open, or not to be waited for: when none is left of
// those that the session began with, the membership runs.
func (m *membership) ready(claims ...tp) {
	m.mu.Lock()
	for _, k := range claims {
		delete(m.opening, k)
	}
	running := len(m.opening) == 0
	m.mu.Unlock()
	if running {
		m.setState(status.Running, "")
	}
}

// Cleanup implements sarama.ConsumerGroupHandler: all claims of the session have
// ended. The hook is told of those that were not revoked one by one.
func (m *membership) Cleanup(s sarama.ConsumerGroupSession) error {
	cause := context.Cause(s.Context())
	m.cause = cause
	m.mu.Lock()
	ended := m.ended
	m.ended = map[bool][]tp{}
	for k := range m.told { // claims that sarama could not begin
		ended[lostBy(cause)] = append(ended[lostBy(cause)], k)
	}
	clear(m.told)
	m.mu.Unlock()
	m.log.WithField("cause", causeText(cause)).Info("left the session")
	m.tellRevoked(ended)
	return nil
}

// tellRevoked says what was given up, by whether it was lost: to subscribers, and
// to the hook of the worker's one instance.
func (m *membership) tellRevoked(ended map[bool][]tp) {
	for _, lost := range []bool{false, true} {
		if len(ended[lost]) == 0 {
			continue
		}
		a := racecar.Assignment{Partitions: byTopic(ended[lost]), Lost: lost}
		m.w.emit(event.PartitionsRevoked{Consumer: m.w.reg.Name(), Group: m.w.group, Partitions: a.Partitions, Lost: lost})
		if m.w.serial != nil {
			m.w.serial.revoked(a)
		}
	}
}

// onAssignment is called at each assignment, before sarama acts upon it and with
// sarama's locks held: what is to go is told so, nothing more.
func (m *membership) onAssignment(a *sarama.ConsumerGroupMemberAssignment, generation int32) {
	now := map[tp]bool{}
	for topic, partitions := range a.Topics {
		for _, n := range partitions {
			now[tp{topic, n}] = true
		}
	}
	m.w.stats.Add(scoreboard.Rebalances, 1)
	m.generation.Store(generation)
	var going []*partition
	added := &assignment{partitions: map[string][]int32{}}
	m.mu.Lock()
	for k, p := range m.parts {
		if !now[k] {
			going = append(going, p)
		}
	}
	var unbegun []tp
	if !m.sessionEnded() { // cooperative: sarama does not begin what is taken away before it could
		for k := range m.opening {
			if !now[k] {
				unbegun = append(unbegun, k)
			}
		}
	}
	maps.DeleteFunc(m.assigned, func(k tp, _ *assignment) bool { return !now[k] })
	var never []tp // the hook was told of them, but they were not begun: nobody forgets them
	for k := range m.told {
		if !now[k] && m.parts[k] == nil {
			never = append(never, k)
			delete(m.told, k)
		}
	}
	m.latest = slices.Collect(maps.Keys(now))
	for k := range now {
		if m.parts[k] == nil && !m.told[k] {
			added.partitions[k.topic] = append(added.partitions[k.topic], k.partition)
			m.assigned[k] = added
		}
	}
	if m.seen != nil {
		m.counts = m.seen // the leader has seen at least these
	}
	if len(going) > 0 {
		r := &revocation{left: len(going)}
		for _, p := range going {
			p.revocation = r
		}
	}
	m.mu.Unlock()
	for _, p := range going {
		p.leave()
	}
	if len(unbegun) > 0 {
		m.ready(unbegun...)
	}
	go func() { // not under sarama's locks
		m.w.emit(event.Rebalance{Consumer: m.w.reg.Name(), Group: m.w.group, Generation: generation})
		m.tellRevoked(map[bool][]tp{false: never})
		m.w.placesChanged()
	}()
}

// revocation is a set of partitions that are revoked together while the session
// goes on; guarded by membership.mu.
type revocation struct {
	left  int
	ended map[bool][]tp // by lost
}

// ConsumeClaim implements sarama.ConsumerGroupHandler. It returns when the claim
// has ended and is finished with: sarama ends the whole session when it returns
// earlier, and hands the partition on when it returns.
func (m *membership) ConsumeClaim(s sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	defer func() {
		// sarama recovers from nothing: a bug of ours must not take the process
		// down without a word.
		if r := recover(); r != nil {
			m.w.crash(fmt.Errorf("internal error: %v\n%s", r, debug.Stack()))
		}
	}()
	k := tp{c.Topic(), c.Partition()}
	p := newPartition(m, k)
	m.w.turns.pumped(p) // sarama keeps a pause over a reassignment: it is told again
	m.mu.Lock()
	m.parts[k] = p
	m.mu.Unlock()
	// The end of the session, however it comes, is the end of the claim.
	stop := context.AfterFunc(s.Context(), func() { m.sessionOver(p, s.Context()) })
	defer stop()

	pumping := make(chan struct{})
	go func() {
		defer close(pumping)
		newPump(m.w.turns, p, c).run()
	}()
	if m.open(p, c) {
		select {
		case <-pumping: // the claim was closed: revoked, or out of range
		case <-p.leaving:
		}
	} else if s.Context().Err() == nil {
		// Revoked before it was open, as others joined: it is not waited for, or the
		// membership would be called joining for ever, and its worker replaced for that.
		m.ready(p.tp)
	}
	m.finish(p)
	<-pumping
	if s.Context().Err() != nil && len(m.claims()) == 0 {
		m.client.Drop() // the session only waits for fetches that nobody wants
	}
	if !p.lost() && s.Context().Err() == nil {
		// A cooperative revocation was learned of before sarama closed the claim:
		// returning earlier would look like a handler that gave up.
		for range c.Messages() {
		}
	}
	m.w.turns.released(p)
	return nil
}

// sessionOver tells p that its session ended.
func (m *membership) sessionOver(p *partition, ctx context.Context) {
	cause := context.Cause(ctx)
	if lostBy(cause) {
		p.lose(cause)
	} else {
		p.leave()
	}
}

// lostBy reports whether a session that ended by cause means that the partitions
// may belong to others already.
func lostBy(cause error) bool {
	for _, e := range []error{sarama.ErrUnknownMemberId, sarama.ErrIllegalGeneration, sarama.ErrFencedInstancedId, sarama.ErrRebalanceTimedOut} {
		if errors.Is(cause, e) {
			return true
		}
	}
	return false
}

func causeText(err error) string {
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return "stopping"
	default:
		return err.Error()
	}
}

// open makes p ready to be served: where it begins, how often its first message
// has failed, its instance, the hooks. False when the claim ended meanwhile.
func (m *membership) open(p *partition, c sarama.ConsumerGroupClaim) bool {
	spare := m.w.takeSpare()
	txn, ok := m.takeTransactions(p, spare)
	defer func() {
		if p.inst == nil {
			m.w.dropSpare(spare)
		}
	}()
	if !ok {
		return false
	}
	defer func() {
		if p.inst == nil && spare == nil {
			m.discard(txn)
		}
	}()
	committed, ok := m.fetchCommitted(p)
	if !ok {
		return false
	}
	start := c.InitialOffset()
	if start < 0 {
		start = m.starts.of(p.tp)
	}
	attempts, starts := parseMetadata(committed.Metadata, start)
	starts = m.withoutOwn(p.tp, committed.Metadata, starts)
	p.begin(start, attempts)
	p.startedAfter(starts, len(m.w.opts.Handshake.Predecessors) > 0)
	if starts > 0 {
		m.w.partLog(p).WithField("offset", start).WithField("times", starts).
			Warn("workers that began at this position did not end gracefully")
	}
	before := committed.Offset
	if before >= 0 {
		p.confirm(before, committed.Metadata)
	} else if stood, fresh := m.isFresh(p.tp); fresh {
		before = stood
	}
	if before >= 0 && before != start {
		m.gap(p, before, start)
	}
	if p.inst = m.w.serial; p.inst == nil {
		inst, ok := m.instanceFor(p, spare, txn)
		if !ok {
			return false
		}
		p.inst = inst
	}
	p.opened.Store(true)
	m.tellAssigned(p)
	// The first position is committed before the first message is handed out:
	// a crash then does not begin elsewhere (at another end of the log, or
	// behind what was processed), and is counted.
	if !m.commitFirst(p, committed.Offset == start) {
		return false
	}
	m.mu.Lock()
	delete(m.fresh, p.tp) // what is committed is of this topic
	m.mu.Unlock()
	if p.isLeaving() {
		return false
	}
	m.w.serve(p)
	m.ready(p.tp)
	return true
}

// commitFirst commits the position that p begins with, trying until the claim ends.
// While the group refuses it for good, p is not waited for. known: the position is
// committed already, and what is refused is only the count that goes with it.
func (m *membership) commitFirst(p *partition, known bool) bool {
	ctx := p.untilLeaving()
	for n := 1; ; n++ {
		err := m.commits.flush(ctx, p)
		if _, refused := errors.AsType[*refusedError](err); !refused || known {
			return err == nil || refused
		}
		m.ready(p.tp)
		if !sleep(ctx, backoff(n)) {
			return false
		}
	}
}

// fetchCommitted reads the group's offset of p, trying until the claim ends.
func (m *membership) fetchCommitted(p *partition) (kafka.Commit, bool) {
	ctx := p.untilLeaving()
	key := kafka.TopicPartition{Topic: p.topic, Partition: p.partition}
	for n := 1; ; n++ {
		got, err := m.offsets.Fetch(ctx, []kafka.TopicPartition{key})
		if err == nil {
			return got[key], true
		}
		if ctx.Err() != nil {
			return kafka.Commit{}, false
		}
		if reason, _, permanent := access.Permanent(err); permanent {
			m.w.fatal(errors.New(reason))
			return kafka.Commit{}, false
		}
		m.trouble.say(err, "reading the committed offset")
		if !sleep(ctx, backoff(n)) {
			return kafka.Commit{}, false
		}
	}
}

// gap reports that messages between two offsets are not there (any more).
func (m *membership) gap(p *partition, committed, start int64) {
	m.w.stats.Add(scoreboard.OffsetGaps, 1)
	m.w.partLog(p).WithField("committed", committed).WithField("start", start).WithField("missing", start-committed).
		Error("the committed offset is out of range: messages were deleted before they were processed, or the topic is another one")
	m.w.emit(event.OffsetGap{Consumer: m.w.reg.Name(), Group: m.w.group, Topic: p.topic, Partition: p.partition, Committed: committed, Start: start})
	m.w.problem(p.tp, committed, fmt.Errorf("committed offset %d is out of range, going on at %d", committed, start))
}

// tellAssigned calls the hook: of the worker's one instance once for all that
// came together, of a partition's own with that partition.
func (m *membership) tellAssigned(p *partition) {
	m.mu.Lock()
	a := m.assigned[p.tp]
	m.mu.Unlock()
	if a != nil && !p.isLeaving() {
		a.once.Do(func() {
			partitions := map[string][]int32{}
			m.mu.Lock()
			for topic, all := range a.partitions {
				for _, n := range all {
					// Some may have been taken away again before they were open.
					if k := (tp{topic, n}); m.assigned[k] == a {
						partitions[topic] = append(partitions[topic], n)
						m.told[k] = true
					}
				}
				slices.Sort(partitions[topic])
			}
			m.mu.Unlock()
			if len(partitions) == 0 {
				return // all of them, just now
			}
			m.w.emit(event.PartitionsAssigned{Consumer: m.w.reg.Name(), Group: m.w.group, Partitions: partitions})
			if m.w.serial != nil {
				m.w.serial.assigned(racecar.Assignment{Partitions: partitions})
			}
		})
	}
	if m.w.serial == nil {
		p.inst.assigned(racecar.Assignment{Partitions: byTopic([]tp{p.tp})})
	}
}

// finish ends p: the call in hand, its output, the commit, the hooks, in this
// order, each bounded by the time we have.
func (m *membership) finish(p *partition) {
	p.leave()
	t := m.w.turns
	ctx, cancel := context.WithDeadline(m.w.time, m.w.deadline(p))
	defer cancel()
	t.retire(p)
	m.awaitCall(p)
	if p.inst != nil {
		p.endGracefully()
		m.awaitOutput(ctx, p)
		err := m.commits.flush(ctx, p)
		if _, refused := errors.AsType[*refusedError](err); err != nil && !refused && !errors.Is(err, errLost) {
			offset, _ := p.commitPoint()
			m.w.partLog(p).WithError(err).WithField("offset", offset).Error("the last position could not be committed: messages will be processed again")
		}
	}
	p.ctx.Load().cancel(errEnded)
	t.remove(p)
	m.forget(p)
	if p.inst != nil && m.w.serial == nil {
		p.inst.revoked(racecar.Assignment{Partitions: byTopic([]tp{p.tp}), Lost: p.lost()})
		p.inst.tearDown(ctx)
	}
}

// errEnded is the cause of a ctx that is used after its partition was given up.
var errEnded = errors.New("the partition was given up")

// awaitCall waits for the call in hand. Near the deadline it is cancelled; one
// that goes on nevertheless is the supervisor's to end.
func (m *membership) awaitCall(p *partition) {
	cancelAt := time.NewTimer(time.Until(m.w.deadline(p)) - cancelMargin)
	defer cancelAt.Stop()
	stopping, orphaned := m.w.stopping, m.w.orphaned.Done()
	for {
		select {
		case <-p.idle:
			return
		case <-stopping: // there may be less time than we thought
			cancelAt.Reset(time.Until(m.w.deadline(p)) - cancelMargin)
			stopping = nil
		case <-orphaned: // again less
			cancelAt.Reset(time.Until(m.w.deadline(p)) - cancelMargin)
			orphaned = nil
		case <-cancelAt.C:
			p.ctx.Load().cancel(errTimeUp)
		}
	}
}

// cancelMargin is how long before a deadline calls are cancelled.
const cancelMargin = 5 * time.Second

// errTimeUp is the cause of a ctx cancelled shortly before the partition or the
// worker must be gone.
var errTimeUp = errors.New("time is up: the partition or the worker has to go")

// awaitOutput waits until what p produced is delivered, or has failed; a
// partition that is lost waits for nothing.
func (m *membership) awaitOutput(ctx context.Context, p *partition) {
	for {
		p.awaiting.Store(true)
		_, flying := p.acks.state()
		letters := m.w.turns.lettersOf(p)
		if letters != nil && !letters.under(m.w.turns) {
			m.w.lettersEnded(p)
			continue
		}
		if p.lost() || flying == 0 && letters == nil {
			return
		}
		p.hurry()
		select {
		case <-p.settled:
		case <-p.gone:
		case <-ctx.Done():
			return
		}
	}
}

// hurry has what p has produced sent without waiting for more.
func (p *partition) hurry() {
	if t := p.inst.txn; t != nil {
		t.hurry(p)
	} else if t, err := p.m.w.transport(); err == nil {
		t.Hurry()
	}
}

// forget takes p off the list and calls the hook with the last of those that were
// revoked together.
func (m *membership) forget(p *partition) {
	counted := p.outlived()
	m.mu.Lock()
	if m.parts[p.tp] == p {
		delete(m.parts, p.tp)
	}
	if p.opened.Load() {
		m.stood[p.tp], m.outlived[p.tp] = p.acks.processed.Load(), counted
	}
	defer poke(m.forgotten)
	delete(m.assigned, p.tp)
	r, told := p.revocation, m.told[p.tp]
	delete(m.told, p.tp)
	if r == nil {
		if told {
			m.ended[p.lost()] = append(m.ended[p.lost()], p.tp)
		}
		m.mu.Unlock()
		return
	}
	if r.ended == nil {
		r.ended = map[bool][]tp{}
	}
	if told {
		r.ended[p.lost()] = append(r.ended[p.lost()], p.tp)
	}
	r.left--
	last := r.left == 0
	m.mu.Unlock()
	if last {
		m.tellRevoked(r.ended)
	}
}

func byTopic(ks []tp) map[string][]int32 {
	m := map[string][]int32{}
	for _, k := range ks {
		m[k.topic] = append(m[k.topic], k.partition)
	}
	return m
}
