package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/racecar/event"
)

// This file is the commit loop of a membership.

// offsets is how a group's offsets are read and written: a *kafka.Offsets.
type offsets interface {
	Fetch(ctx context.Context, partitions []kafka.TopicPartition) (map[kafka.TopicPartition]kafka.Commit, error)
	Commit(ctx context.Context, m kafka.Member, commits map[kafka.TopicPartition]kafka.Commit) (failed map[kafka.TopicPartition]error, err error)
	Close()
}

// commitTimeout bounds one attempt at committing.
const commitTimeout = 10 * time.Second

// commits is the commit loop of one membership: the only one that commits for it.
// Whoever wants something committed says so (kick) or waits for it (flush).
type commits struct {
	m        *membership
	offsets  offsets
	every    time.Duration
	failures failureLog

	kick chan struct{} // capacity 1: somebody waits, or wants it soon
	quit chan struct{}
	done chan struct{}

	mu      sync.Mutex
	waiting []*commitWait

	notBefore time.Time // of commitAfterFailure
	later     bool      // one is to come by itself

	held    map[*partition]heldBack // the loop's own
	refused map[*partition]refusal  // the loop's own
	away    bool                    // nobody answers; the loop's own
}

// heldBack is a position that waits for output made between calls.
type heldBack struct {
	commit       kafka.Commit
	unattributed []int64 // by instance
}

// refusal is a commit that no repetition gets through.
type refusal struct {
	commit kafka.Commit
	err    error
	until  time.Time // not repeated before then
}

// refusedEvery is how often a commit is retried that the group refuses permanently:
// somebody may have granted the right, or recreated the topic.
const refusedEvery = time.Minute

// refusedError ends the wait for a commit that the group refuses permanently.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return "the commit is refused: " + e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// commitWait is somebody who waits for one partition.
type commitWait struct {
	ctx  context.Context // of who waits
	p    *partition
	done chan error // capacity 1
}

func newCommits(m *membership, o offsets, every time.Duration) *commits {
	return &commits{
		m: m, offsets: o, every: every,
		failures: failureLog{entry: m.log}, kick: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
		held: make(map[*partition]heldBack), refused: make(map[*partition]refusal),
	}
}

// run commits until stop.
func (c *commits) run() {
	defer close(c.done)
	tick := time.NewTicker(max(c.every, 100*time.Millisecond))
	defer tick.Stop()
	var again <-chan time.Time
	failures := 0
	for {
		select {
		case <-tick.C:
		case <-c.kick:
		case <-again:
		case <-c.quit:
			return
		}
		again = nil
		ok, waiting := c.round()
		switch {
		case !ok:
			pause := min(100*time.Millisecond<<min(failures, 6), c.every)
			if waiting { // for the new generation, as a rule, which sarama has in a moment
				pause = min(firstPause<<min(failures, 10), longestPause)
			}
			again = time.After(pause)
			failures++
		case waiting:
			again = time.After(outputPause)
			failures = 0
		default:
			failures = 0
		}
	}
}

const (
	// firstPause and longestPause are between two tries while somebody waits for them;
	// it doubles.
	firstPause   = 5 * time.Millisecond
	longestPause = time.Second
	// outputPause is how often a commit that waits for output made between calls is
	// looked at.
	outputPause = 20 * time.Millisecond
)

// stop ends the loop; nothing is committed any more.
func (c *commits) stop() {
	close(c.quit)
	<-c.done
}

// commitAfterFailure is commitAsync, at most once a second: many keys may fail at once.
func (c *commits) commitAfterFailure(p *partition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := p.m.w.scheduler.clock.now()
	switch wait := c.notBefore.Sub(now); {
	case wait <= 0:
		c.notBefore = now.Add(time.Second)
		poke(c.kick)
	case !c.later:
		c.later = true
		p.m.w.scheduler.clock.after(wait, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.later, c.notBefore = false, p.m.w.scheduler.clock.now().Add(time.Second)
			poke(c.kick)
		})
	}
}

// flush commits the position of p and returns once the broker has confirmed it;
// an error when ctx ends first, when p is not ours any more (errLost), or when the
// group refuses it for good (a *refusedError).
func (c *commits) flush(ctx context.Context, p *partition) error {
	for {
		if t := p.shared.Load(); t != nil {
			return t.flushPosition(ctx, p)
		}
		offset, metadata := p.commitPoint()
		if p.confirmed(offset, metadata) {
			return nil
		}
		if p.lost() {
			return errLost
		}
		w := &commitWait{ctx: ctx, p: p, done: make(chan error, 1)}
		c.mu.Lock()
		c.waiting = append(c.waiting, w)
		c.mu.Unlock()
		poke(c.kick)
		select {
		case err := <-w.done:
			if err != nil {
				return err
			}
			if p.lanes != nil && !p.isLeaving() && !p.lost() {
				return nil // others are being finished meanwhile: what was when we asked is committed
			}
		case <-c.done:
			return errors.New("not committed: the worker has stopped")
		case <-ctx.Done():
			return fmt.Errorf("not committed: %w", context.Cause(ctx))
		}
	}
}

// errLost is the end of a commit for a partition that another member may own.
var errLost = errors.New("not committed: the partition may belong to another member")

// round commits all positions that have moved; not ok when a commit has to be retried.
// Callers that wait for a failed commit continue to wait: otherwise a refused commit
// would be repeated as fast as the broker refuses it.
func (c *commits) round() (ok, anybodyWaits bool) {
	c.mu.Lock()
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	todo := make(map[kafka.TopicPartition]kafka.Commit)
	parts := make(map[kafka.TopicPartition]*partition)
	// In this order: a partition that is ours afterwards was ours in that generation. If it
	// is revoked between the two, a later generation would commit over its next owner.
	member, joined := c.m.member()
	claims := c.m.claims()
	maps.DeleteFunc(c.held, func(p *partition, _ heldBack) bool { return !slices.Contains(claims, p) })
	maps.DeleteFunc(c.refused, func(p *partition, _ refusal) bool { return !slices.Contains(claims, p) })
	waited := map[*partition]bool{}
	for _, w := range waiting {
		waited[w.p] = true
	}
	for _, p := range claims {
		if commit, ok := c.due(p, waited[p]); ok {
			k := kafka.TopicPartition{Topic: p.topic, Partition: p.partition}
			todo[k], parts[k] = commit, p
		}
	}
	ok = true
	if len(todo) > 0 {
		ok = joined && c.commitAll(member, todo, parts)
	}
	left := map[*partition]bool{} // whose commit could not be made
	for _, p := range parts {
		left[p] = true
	}
	for p := range c.held {
		left[p] = true
	}
	for _, w := range waiting {
		if left[w.p] && !w.p.lost() && w.ctx.Err() == nil {
			c.mu.Lock()
			c.waiting = append(c.waiting, w)
			c.mu.Unlock()
			anybodyWaits = true
			continue
		}
		if r, refused := c.refused[w.p]; refused {
			w.done <- &refusedError{r.err}
			continue
		}
		w.done <- nil // it looks for itself
	}
	return ok, anybodyWaits
}

// due returns the next commit for p, false when nothing has moved. waited:
// somebody waits for it.
func (c *commits) due(p *partition, waited bool) (kafka.Commit, bool) {
	// With transactions a commit must not be on its way while p's first transaction
	// begins: it may arrive after it. Who waits for a commit begins nothing meanwhile.
	if p.lost() || !p.opened.Load() || p.shared.Load() != nil || !p.inst.delivery.loopCommits() && p.firstCommitted.Load() && !waited {
		delete(c.held, p)
		return kafka.Commit{}, false
	}
	h, isHeld := c.held[p]
	if !isHeld {
		offset, metadata := p.commitPoint()
		h = heldBack{kafka.Commit{Offset: offset, Metadata: metadata, Epoch: kafka.LeaderEpoch(p.epoch.Load())}, p.unattributed((*acks).made)}
	}
	if p.confirmed(h.commit.Offset, h.commit.Metadata) {
		delete(c.held, p)
		return kafka.Commit{}, false
	}
	if p.lacksUnattributed(h.unattributed) {
		c.held[p] = h // output made between calls comes first
		return kafka.Commit{}, false
	}
	delete(c.held, p)
	if r, ok := c.refused[p]; ok && r.commit == h.commit && c.m.w.scheduler.clock.now().Before(r.until) {
		return kafka.Commit{}, false
	}
	return h.commit, true
}

// maxCommitBytes bounds one request: with about 370 full maps of finished messages in one,
// Kafka refuses all of it.
const maxCommitBytes = 512 << 10

// commitAll makes as many requests as it takes.
func (c *commits) commitAll(member kafka.Member, todo map[kafka.TopicPartition]kafka.Commit, parts map[kafka.TopicPartition]*partition) bool {
	ok, bytes := true, 0
	some := make(map[kafka.TopicPartition]kafka.Commit, len(todo))
	for k, commit := range todo {
		size := len(k.Topic) + len(commit.Metadata) + 64
		if len(some) > 0 && bytes+size > maxCommitBytes {
			ok = c.commit(member, some, parts) && ok
			clear(some)
			bytes = 0
		}
		some[k] = commit
		bytes += size
	}
	return c.commit(member, some, parts) && ok
}

// commit makes one request and sorts the answers; it takes from parts those whose
// commit is confirmed, or refused for good.
func (c *commits) commit(member kafka.Member, todo map[kafka.TopicPartition]kafka.Commit, parts map[kafka.TopicPartition]*partition) bool {
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	failed, err := c.offsets.Commit(ctx, member, todo)
	if err != nil {
		c.failedAll(err, todo)
		return false
	}
	c.failures.clear()
	if c.away {
		c.away = false
		if !c.m.sessionEnded() {
			c.m.ready()
		}
	}
	all := true
	gone := c.m.deleted(failed)
	for k, commit := range todo {
		p := parts[k]
		ferr := failed[k]
		switch {
		case ferr == nil:
			p.confirm(commit.Offset, commit.Metadata)
			delete(parts, k)
			delete(c.refused, p)
			c.m.w.stats.Add(scoreboard.Commits, 1)
		case c.failed(p, commit, ferr, gone[k]):
			delete(parts, k)
		default:
			delete(c.refused, p)
			all = false
		}
	}
	return all
}

func (c *commits) failedAll(err error, todo map[kafka.TopicPartition]kafka.Commit) {
	c.m.w.stats.Add(scoreboard.CommitErrors, uint64(len(todo)))
	for k, commit := range todo {
		c.m.w.emit(event.CommitFailed{Consumer: c.m.w.reg.Name(), Group: c.m.w.group, Topic: k.Topic, Partition: k.Partition, Offset: commit.Offset, Err: err})
	}
	c.failures.log(err, "commit failed, to be retried")
	if _, answered := errors.AsType[sarama.KError](err); !answered {
		// A claim that ends waits for its last commit: without this nobody would see
		// what it waits for.
		c.away = true
		c.m.wait(err)
	}
}

// failed deals with the refusal of one partition's commit; final when repeating it does
// not help. gone: the partition was deleted.
//
// The broker refuses old generations: while the session lives sarama is about to have
// the new one (or to find out that the member is out), and the next round uses it; after
// its end a refusal says that somebody else was given the partition.
func (c *commits) failed(p *partition, commit kafka.Commit, err error, gone bool) (final bool) {
	w := c.m.w
	w.stats.Add(scoreboard.CommitErrors, 1)
	w.emit(event.CommitFailed{Consumer: w.reg.Name(), Group: w.group, Topic: p.topic, Partition: p.partition, Offset: commit.Offset, Err: err})
	switch answer := kafka.ClassifyCommit(err); {
	case answer == kafka.CommitStaleMember:
		if c.m.sessionEnded() {
			w.partLog(p).WithError(err).Warn("commit refused: the partition may belong to another member")
			p.lose(err)
			return false
		}
		w.partLog(p).WithError(err).Debug("commit refused during a rebalance, to be retried")
		return false
	case answer == kafka.CommitRetriable, answer == kafka.CommitUnknownTopic && !gone:
		c.failures.log(fmt.Errorf("%s: %w", p.topicPartition, err), "commit failed, to be retried")
		return false
	case errors.Is(err, sarama.ErrOffsetMetadataTooLarge) && commit.Metadata != "":
		if p.lanes != nil {
			p.lanes.shrink(len(commit.Metadata), err)
		} else {
			c.m.noMetadata(p, err)
		}
		return false
	case answer == kafka.CommitMemberRefused:
		w.endForGood(err)
	}
	if before, again := c.refused[p]; !again || before.err.Error() != err.Error() {
		w.partLog(p).WithError(err).WithField("offset", commit.Offset).
			Error("the group refuses the partition's offset for good: what is processed there is not committed")
		w.problem(p.topicPartition, commit.Offset, err)
	}
	c.refused[p] = refusal{commit, err, c.m.w.scheduler.clock.now().Add(refusedEvery)}
	return true
}

// unattributed returns how much output each instance that p's calls run on has made
// between calls, or how much of it is acknowledged.
func (p *partition) unattributed(count func(*acks) int64) []int64 {
	if p.lanes == nil {
		return []int64{count(&p.inst.producer.unattributed)}
	}
	all := make([]int64, 0, len(p.m.w.instances))
	for _, i := range p.m.w.instances {
		all = append(all, count(&i.producer.unattributed))
	}
	return all
}

// lacksUnattributed reports whether some of that is not acknowledged.
func (p *partition) lacksUnattributed(made []int64) bool {
	for i, acknowledged := range p.unattributed((*acks).position) {
		if acknowledged < made[i] {
			return true
		}
	}
	return false
}
