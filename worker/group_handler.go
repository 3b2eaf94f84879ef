package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime/debug"
	"slices"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/access"
	"github.com/racecar-go/racecar/kafka/fetch"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
)

// This file is sarama's ConsumerGroupHandler and the life of a claim: open, position, commit, finish.

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
	m.failures.clear()
	m.log.WithField("member", s.MemberID()).WithField("generation", s.GenerationID()).
		WithField("partitions", listed(s.Claims())).Info("joined the group")
	m.w.emit(event.JoinGroup{
		Consumer: m.w.reg.Name(), Group: m.w.group, MemberID: s.MemberID(), Generation: s.GenerationID(), Duration: time.Since(m.joining),
	})
	m.joining = time.Time{}
	m.mu.Lock()
	m.opening = setOf(s.Claims())
	m.mu.Unlock()
	m.ready()
	poke(m.commits.kick) // what the broker refused of an old generation
	m.w.membersChanged()
	return nil
}

// ready notes that claims are open, or not to be waited for: when none is left of
// those that the session began with, the membership runs.
func (m *membership) ready(claims ...topicPartition) {
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
// ended. Those that were not revoked one by one are reported to the hook.
func (m *membership) Cleanup(s sarama.ConsumerGroupSession) error {
	cause := context.Cause(s.Context())
	m.cause = cause
	m.mu.Lock()
	ended := m.ended
	m.ended = map[bool][]topicPartition{}
	for k := range m.announced { // claims that sarama could not begin
		ended[lostBy(cause)] = append(ended[lostBy(cause)], k)
	}
	clear(m.announced)
	m.mu.Unlock()
	m.log.WithField("cause", causeText(cause)).Info("left the session")
	m.reportRevoked(ended)
	return nil
}

// reportRevoked reports the revoked partitions, by whether they were lost, to observers
// and to the hook of the worker's one instance.
func (m *membership) reportRevoked(ended map[bool][]topicPartition) {
	for _, lost := range []bool{false, true} {
		if len(ended[lost]) == 0 {
			continue
		}
		a := racecar.Assignment{Partitions: byTopic(ended[lost]), Lost: lost}
		m.w.emit(event.PartitionsRevoked{Consumer: m.w.reg.Name(), Group: m.w.group, Partitions: a.Partitions, Lost: lost})
		m.w.revoked(a)
	}
}

// onAssignment is called at each assignment, before sarama acts upon it and with
// sarama's locks held: it only marks revoked partitions as leaving.
func (m *membership) onAssignment(a *sarama.ConsumerGroupMemberAssignment, generation int32) {
	now := setOf(a.Topics)
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
	var unbegun []topicPartition
	if !m.sessionEnded() { // cooperative: sarama does not begin what is taken away before it could
		for k := range m.opening {
			if !now[k] {
				unbegun = append(unbegun, k)
			}
		}
	}
	maps.DeleteFunc(m.assigned, func(k topicPartition, _ *assignment) bool { return !now[k] })
	var never []topicPartition // announced to the hook, but not begun: nobody forgets them
	for k := range m.announced {
		if !now[k] && m.parts[k] == nil {
			never = append(never, k)
			delete(m.announced, k)
		}
	}
	m.latest = now
	for k := range now {
		if m.parts[k] == nil && !m.announced[k] {
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
		p.markLeaving()
	}
	if len(unbegun) > 0 {
		m.ready(unbegun...)
	}
	go func() { // not under sarama's locks
		m.w.emit(event.Rebalance{Consumer: m.w.reg.Name(), Group: m.w.group, Generation: generation})
		m.reportRevoked(map[bool][]topicPartition{false: never})
		m.w.membersChanged()
	}()
}

// revocation is a set of partitions that are revoked together while the session
// goes on; guarded by membership.mu.
type revocation struct {
	left  int
	ended map[bool][]topicPartition // by lost
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
	if m.subscriptionOf(c.Topic()) < 0 {
		m.refuse(c)
		return nil
	}
	p := m.claim(topicPartition{c.Topic(), c.Partition()})
	// The end of the session, however it comes, is the end of the claim.
	stop := context.AfterFunc(s.Context(), func() { m.sessionOver(p, s.Context()) })
	defer stop()
	if m.open(p) {
		<-p.markedLeaving
	} else if s.Context().Err() == nil {
		// Revoked before it was open, as others joined: it is not waited for, or the
		// membership would be called joining for ever, and its worker replaced for that.
		m.ready(p.topicPartition)
	}
	m.finish(p)
	if !p.lost() && s.Context().Err() == nil {
		// A cooperative revocation was learned of before sarama closed the claim:
		// sarama would take an earlier return for a handler that stopped.
		for range c.Messages() {
		}
	}
	return nil
}

// claim notes a partition that sarama has begun. One that was revoked just before that, so that
// onAssignment did not find it, is leaving at once: sarama waits for its end.
func (m *membership) claim(k topicPartition) *partition {
	p := newPartition(m, k)
	m.w.scheduler.claimed(p)
	m.mu.Lock()
	m.parts[k] = p
	revoked := m.latest != nil && !m.latest[k]
	m.mu.Unlock()
	if revoked {
		p.markLeaving()
	}
	return p
}

// refuse waits for the end of a claim of a topic that nobody here subscribes to. The leader
// may be any member that may read the group.
func (m *membership) refuse(c sarama.ConsumerGroupClaim) {
	m.log.WithField("topic", c.Topic()).WithField("partition", c.Partition()).Warn("assigned a partition of a topic without a subscription: it is not consumed")
	m.ready(topicPartition{c.Topic(), c.Partition()})
	for range c.Messages() { //nolint:revive // it is closed at the end of the claim
	}
}

// sessionOver marks p as lost or leaving because its session ended.
func (m *membership) sessionOver(p *partition, ctx context.Context) {
	cause := context.Cause(ctx)
	if lostBy(cause) {
		p.lose(cause)
	} else {
		p.markLeaving()
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
func (m *membership) open(p *partition) bool {
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
	if !ok || !m.position(p, committed) {
		return false
	}
	if p.inst = m.w.serial; p.inst == nil {
		inst, ok := m.instanceFor(p, spare, txn)
		if !ok {
			return false
		}
		p.inst = inst
	}
	p.opened.Store(true)
	m.reportAssigned(p)
	// The first position is committed before the first message is handed out:
	// a crash then does not begin elsewhere (at another end of the log, or
	// behind what was processed), and is counted.
	if !m.commitFirst(p, committed.Offset == p.acks.processed.Load()) || p.isLeaving() {
		return false
	}
	m.w.serve(p)
	m.ready(p.topicPartition)
	return true
}

// position finds out where p begins, waiting for its leader until the claim ends.
func (m *membership) position(p *partition, committed kafka.Commit) bool {
	own, isOwn := m.ownClaim(p.topicPartition, committed)
	known := fetch.Position{Offset: committed.Offset, LeaderEpoch: committed.Epoch.Leader()}
	if isOwn {
		known.TopicID = own.topicID
	}
	s := m.fetcher.Add(p.topic, p.partition, known, m.starts.from(p.topicPartition), fetch.PartitionOptions{MaxBytes: m.maxBytes}, func() { m.fetched(p) })
	m.w.scheduler.opened(p, s)
	m.fetched(p) // what came before it could be reported
	start, err := s.Start(p.untilLeaving())
	if err != nil {
		return false
	}
	p.topicID = start.TopicID
	p.epoch.Store(int32(kafka.KnownLeaderEpoch(start.LeaderEpoch)))
	p.cursor.from, p.cursor.floor = start.Offset, start.Offset
	found := m.readMetadata(p, committed, start)
	attempts, starts := found.Attempts(start.Offset), found.Starts
	if isOwn { // it has killed nothing, though it may have been lost and could not take its count back
		starts = min(starts, own.found)
	}
	p.begin(start.Offset, attempts)
	p.startedAfter(starts, len(m.w.opts.Handshake.Predecessors) > 0)
	if m.w.inLanes() {
		p.runInLanes(start.Offset, found)
	}
	if starts > 0 {
		m.w.partLog(p).WithField("offset", start.Offset).WithField("times", starts).
			Warn("workers that began at this position did not end gracefully")
	}
	before := committed.Offset
	if before >= 0 {
		p.confirm(before, committed.Metadata)
	} else if isOwn && own.topicID != start.TopicID { // its offset went with the topic
		before = own.position
	}
	if before >= 0 && before != start.Offset {
		m.gap(p, before, start.Offset)
	}
	return true
}

// fetched is called when p's source may have something new, or has a problem.
func (m *membership) fetched(p *partition) {
	m.w.scheduler.available(p)
	s := p.source.Load()
	if s == nil {
		return
	}
	err := (*s).Err()
	if err == nil {
		p.fetchError.Store(nil)
		return
	}
	if k, ok := errors.AsType[*kerr.Error](err); ok {
		err = sarama.KError(k.Code)
	}
	text := err.Error()
	if old := p.fetchError.Swap(&text); old != nil && *old == text {
		return
	}
	m.ready(p.topicPartition) // the membership runs without it
	if reason, _, permanent := access.Permanent(err); permanent {
		m.w.fatal(errors.New(reason))
		return
	}
	if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
		poke(m.unknown)
	}
	m.failures.log(fmt.Errorf("%s: %w", p.topicPartition, err), "fetching")
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
		m.ready(p.topicPartition)
		if !sleep(ctx, backoff(n)) {
			return false
		}
	}
}

// fetchCommitted reads the group's offset of p, trying until the claim ends. It is read
// for all partitions at once that were assigned together, unless each of them has
// transactions of its own, which have to be ended before.
func (m *membership) fetchCommitted(p *partition) (kafka.Commit, bool) {
	key := kafka.TopicPartition{Topic: p.topic, Partition: p.partition}
	m.mu.Lock()
	a := m.assigned[p.topicPartition]
	m.mu.Unlock()
	if a != nil && (m.w.serial != nil || !m.w.transactional()) {
		a.read.Do(func() { a.committed, _ = m.readCommitted(p.untilLeaving(), a.keys()) })
		if c, ok := a.committed[key]; ok {
			return c, true
		}
	}
	got, ok := m.readCommitted(p.untilLeaving(), []kafka.TopicPartition{key})
	return got[key], ok
}

func (m *membership) readCommitted(ctx context.Context, keys []kafka.TopicPartition) (map[kafka.TopicPartition]kafka.Commit, bool) {
	for n := 1; ; n++ {
		got, err := m.offsets.Fetch(ctx, keys)
		if err == nil {
			return got, true
		}
		if ctx.Err() != nil {
			return nil, false
		}
		if reason, _, permanent := access.Permanent(err); permanent {
			m.w.fatal(errors.New(reason))
			return nil, false
		}
		m.failures.log(err, "reading committed offsets")
		if !sleep(ctx, backoff(n)) {
			return nil, false
		}
	}
}

// keys are the partitions of a.
func (a *assignment) keys() []kafka.TopicPartition {
	var keys []kafka.TopicPartition
	for topic, partitions := range a.partitions {
		for _, n := range partitions {
			keys = append(keys, kafka.TopicPartition{Topic: topic, Partition: n})
		}
	}
	return keys
}

// gap reports that messages between two offsets are not there (any more).
func (m *membership) gap(p *partition, committed, start int64) {
	m.w.stats.Add(scoreboard.OffsetGaps, 1)
	m.w.partLog(p).WithField("committed", committed).WithField("start", start).WithField("missing", start-committed).
		Error("the committed offset is out of range: messages were deleted before they were processed, or the topic is another one")
	m.w.emit(event.OffsetGap{Consumer: m.w.reg.Name(), Group: m.w.group, Topic: p.topic, Partition: p.partition, Committed: committed, Start: start})
	m.w.problem(p.topicPartition, committed, fmt.Errorf("committed offset %d is out of range, going on at %d", committed, start))
}

// reportAssigned calls the hook: of the worker's one instance once for all that
// came together, of a partition's own with that partition.
func (m *membership) reportAssigned(p *partition) {
	m.mu.Lock()
	a := m.assigned[p.topicPartition]
	m.mu.Unlock()
	if a != nil && !p.isLeaving() {
		a.once.Do(func() {
			partitions := map[string][]int32{}
			m.mu.Lock()
			for topic, all := range a.partitions {
				for _, n := range all {
					// Some may have been taken away again before they were open.
					if k := (topicPartition{topic, n}); m.assigned[k] == a {
						partitions[topic] = append(partitions[topic], n)
						m.announced[k] = true
					}
				}
				slices.Sort(partitions[topic])
			}
			m.mu.Unlock()
			if len(partitions) == 0 {
				return // all of them, just now
			}
			m.w.emit(event.PartitionsAssigned{Consumer: m.w.reg.Name(), Group: m.w.group, Partitions: partitions})
			m.w.assigned(racecar.Assignment{Partitions: partitions})
		})
	}
	if m.w.serial == nil {
		p.inst.assigned(racecar.Assignment{Partitions: byTopic([]topicPartition{p.topicPartition})})
	}
}

// finish ends p: the call in hand, its output, the commit, the hooks, in this
// order, each bounded by the time we have.
func (m *membership) finish(p *partition) {
	p.markLeaving()
	t := m.w.scheduler
	ctx, cancel := context.WithDeadline(m.w.time, m.w.deadline(p))
	defer cancel()
	t.retire(p)
	m.awaitCall(p)
	m.w.outagesChanged() // its probe is another partition's
	if p.inst != nil {
		if p.cursor.corrupt != nil && p.skipBatch {
			m.w.leaveCorrupt(p)
		}
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
		p.inst.revoked(racecar.Assignment{Partitions: byTopic([]topicPartition{p.topicPartition}), Lost: p.lost()})
		p.inst.tearDown(ctx)
	}
}

// errEnded is the cause of a ctx that is used after its partition was released.
var errEnded = errors.New("the partition was released")

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
	if p.lanes != nil {
		p.lanes.awaitSettled(ctx)
		return
	}
	m.awaitDeadLetters(ctx, p)
	for {
		p.awaiting.Store(true)
		_, flying := p.acks.state()
		records := m.w.scheduler.deadLettersOf(p)
		if records != nil && !records.under(m.w.scheduler) {
			m.w.deadLettersEnded(p)
			continue
		}
		if p.lost() || flying == 0 && records == nil {
			return
		}
		p.inst.delivery.sendOutput(p)
		select {
		case <-p.settled:
		case <-p.gone:
		case <-ctx.Done():
			return
		}
	}
}

// awaitDeadLetters sends dead letters whose messages have to be fetched again first. If
// that takes longer, the next owner of p calls the messages once more.
func (m *membership) awaitDeadLetters(ctx context.Context, p *partition) {
	ctx, cancel := context.WithTimeout(ctx, refetchTime)
	defer cancel()
	for p.undisposed != nil && !p.lost() {
		if p.undisposed.begin(); p.undisposed != nil && !sleep(ctx, 10*time.Millisecond) {
			return
		}
	}
}

// refetchTime is how long the end of a partition waits for messages to be fetched again.
const refetchTime = 2 * time.Second

// forget takes p off the list and calls the hook with the last of those that were
// revoked together.
func (m *membership) forget(p *partition) {
	counted := p.outlived()
	m.mu.Lock()
	if m.parts[p.topicPartition] == p {
		delete(m.parts, p.topicPartition)
	}
	if p.opened.Load() {
		m.outlived[p.topicPartition] = counted
	}
	defer poke(m.forgotten)
	delete(m.assigned, p.topicPartition)
	r, announced := p.revocation, m.announced[p.topicPartition]
	delete(m.announced, p.topicPartition)
	if r == nil {
		if announced {
			m.ended[p.lost()] = append(m.ended[p.lost()], p.topicPartition)
		}
		m.mu.Unlock()
		return
	}
	if r.ended == nil {
		r.ended = map[bool][]topicPartition{}
	}
	if announced {
		r.ended[p.lost()] = append(r.ended[p.lost()], p.topicPartition)
	}
	r.left--
	last := r.left == 0
	m.mu.Unlock()
	if last {
		m.reportRevoked(r.ended)
	}
}

func setOf(topics map[string][]int32) map[topicPartition]bool {
	set := map[topicPartition]bool{}
	for topic, partitions := range topics {
		for _, n := range partitions {
			set[topicPartition{topic, n}] = true
		}
	}
	return set
}

func byTopic(ks []topicPartition) map[string][]int32 {
	m := map[string][]int32{}
	for _, k := range ks {
		m[k.topic] = append(m[k.topic], k.partition)
	}
	return m
}

// jumped follows the log of p to where it goes on: what lies between is gone, or the topic
// is another one. What was processed before is committed first. The executor owns p.
func (w *worker) jumped(p *partition) {
	if p.acks.outstanding.Load() != 0 {
		p.inst.delivery.sendOutput(p)
		p.awaitsAll = true
		return
	}
	moved := *p.cursor.moved
	p.cursor.jump()
	if d := p.undisposed; d != nil {
		p.inst.producer.gone(len(d.out))
		p.undisposed = nil
	}
	p.m.gap(p, moved.From, moved.To)
	p.mu.Lock()
	p.topicID = moved.TopicID
	p.epoch.Store(0)
	if moved.Reason == fetch.LogStartMoved {
		p.setFinished(p.finished.Between(moved.To, math.MaxInt64))
	} else { // other messages may be there now
		p.setFinished(nil)
	}
	p.mu.Unlock()
	p.setPosition(noPosition, moved.To)
	p.inst.delivery.commitAsync(p)
}
