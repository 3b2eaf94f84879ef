package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/kafka/access"
	"github.com/racecar-go/racecar/kafka/fetch"
	"github.com/racecar-go/racecar/racecar"
)

// loneWorker is a worker with one membership, of which nothing runs.
func loneWorker(t *testing.T) (*worker, *membership) {
	t.Helper()
	reg := one(t, "t", func(context.Context, *racecar.Message) error { return nil })
	cfg := testConfig(nil, "group")
	cfg.Brokers = []string{"127.0.0.1:1"} // nobody is there
	w, err := newWorker(inlineOptions(t, reg, cfg))
	if err != nil {
		t.Fatal(err)
	}
	w.sender = newSender(nil)
	m := w.memberships[0]
	m.commits = newCommits(m, nil, time.Second)
	return w, m
}

// fakeSession is one of sarama's that nobody began.
type fakeSession struct {
	sarama.ConsumerGroupSession
	ctx    context.Context
	claims map[string][]int32
}

func (s *fakeSession) Claims() map[string][]int32 { return s.claims }
func (s *fakeSession) MemberID() string           { return "member" }
func (s *fakeSession) GenerationID() int32        { return 1 }
func (s *fakeSession) Context() context.Context   { return s.ctx }

// A rejoin and a stop may wait for the same claims.
func TestTwoWaitForTheLastClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, m := loneWorker(t)
		p := m.claim(topicPartition{"t", 0})
		over := make(chan struct{}, 2)
		for range cap(over) {
			go func() { m.releaseClaims(t.Context()); over <- struct{}{} }()
		}
		synctest.Wait() // both wait
		m.forget(p)
		synctest.Wait()
		if n := len(over); n != cap(over) {
			t.Errorf("%d of %d know that the last claim is finished with", n, cap(over))
		}
	})
}

// A stop reaches all memberships at once, however long the first one takes.
func TestAllMembershipsHearOfAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := loneWorker(t)
		other := newMembership(w, 1, m.subs)
		w.memberships = append(w.memberships, other)
		p, q := m.claim(topicPartition{"t", 0}), other.claim(topicPartition{"u", 0})
		over := make(chan struct{})
		go func() { defer close(over); w.stopWithin(time.Minute, 0); w.releaseClaims(t.Context()) }()
		synctest.Wait()
		if !p.isLeaving() || !q.isLeaving() {
			t.Errorf("leaving: the first one's claim %v, the second one's %v", p.isLeaving(), q.isLeaving())
		}
		q.markLeaving()
		other.forget(q)
		m.forget(p)
		<-over
	})
}

// A partition that cannot be fetched, since it has no leader, is not waited for: its worker
// would be called joining until it were replaced for that, again and again.
func TestRunningWithoutALeaderOfOnePartition(t *testing.T) {
	_, m := loneWorker(t)
	s := &fakeSession{ctx: t.Context(), claims: map[string][]int32{"t": {0, 1}}}
	if err := m.Setup(s); err != nil {
		t.Fatal(err)
	}
	p := m.claim(topicPartition{"t", 1})
	m.w.scheduler.opened(p, &fakeSource{err: sarama.ErrLeaderNotAvailable})
	m.fetched(p)
	if state, _ := m.stateNow(); state == status.Running {
		t.Error("running, although t/0 is not open")
	}
	m.ready(topicPartition{"t", 0})
	if state, _ := m.stateNow(); state != status.Running {
		t.Errorf("%s, although only t/1 is not open, which has no leader", state)
	}
}

// A worker does not wait for a partition that is revoked before sarama has begun it.
func TestRunningWithoutAPartitionThatWasNotBegun(t *testing.T) {
	for name, before := range map[string]bool{"before the other one is open": true, "after it": false} {
		t.Run(name, func(t *testing.T) {
			_, m := loneWorker(t)
			s := &fakeSession{ctx: t.Context(), claims: map[string][]int32{"t": {0, 1}}}
			if err := m.Setup(s); err != nil {
				t.Fatal(err)
			}
			revoke := func() { m.onAssignment(&sarama.ConsumerGroupMemberAssignment{Topics: map[string][]int32{"t": {0}}}, 2) }
			if before {
				revoke()
			}
			m.ready(topicPartition{"t", 0})
			if state, _ := m.stateNow(); (state == status.Running) != before {
				t.Errorf("%s with t/0 open", state)
			}
			if !before {
				revoke()
			}
			if state, _ := m.stateNow(); state != status.Running {
				t.Errorf("%s, although what is ours is open", state)
			}
		})
	}
}

// Pausing and resuming reach a partition that is just about to be served.
func TestResumedWhileItIsOpened(t *testing.T) {
	w, m := loneWorker(t)
	which := []wire.Partition{{Topic: "t", Partition: 0}}
	w.setPaused(which, true)
	p := m.claim(topicPartition{"t", 0})
	p.inst = w.bareInstance(nil)
	served, resumed := make(chan struct{}), make(chan struct{})
	w.scheduler.mu.Lock()
	go func() { defer close(served); w.serve(p) }()
	waitFor(t, "the look at what is paused", func() bool {
		if w.mu.TryLock() {
			w.mu.Unlock()
			return false
		}
		return true
	})
	go func() { defer close(resumed); w.setPaused(which, false) }()
	w.scheduler.mu.Unlock()
	<-served
	<-resumed
	w.scheduler.mu.Lock()
	defer w.scheduler.mu.Unlock()
	if p.holds.has(holdOperator) {
		t.Error("paused, although it was resumed")
	}
}

// A partition's share of a transaction is not committed once the partition was revoked: in
// a later generation it is another member's.
func TestTransactionOfARevokedPartition(t *testing.T) {
	w, m := loneWorker(t)
	m.session.Store(&session{&fakeSession{ctx: t.Context()}})
	p := m.claim(topicPartition{"t", 0})
	x := w.newTransactions("id")
	w.bareInstance(x)
	producer, err := x.producer()
	if err != nil {
		t.Fatal(err)
	}
	defer x.close(t.Context()) //nolint:errcheck // nothing is under way
	x.cancel()                 // so that an attempt comes no further than to its beginning
	tr := &transaction{shares: map[*partition]*share{p: {next: 1}}}
	if err := x.attempt(producer, tr); err == nil || errors.Is(err, errLost) {
		t.Errorf("while it is ours: %v", err)
	}
	m.forget(p)
	if err := x.attempt(producer, tr); !errors.Is(err, errLost) {
		t.Errorf("after it was revoked: %v", err)
	}
}

// A hook that does not come back ends the worker as a stuck call does.
func TestStuckHookEndsTheWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := loneWorker(t)
		i := &instance{w: w}
		i.hook("OnPartitionsAssigned", func() error { return nil })
		release := make(chan struct{})
		go i.hook("OnPartitionsRevoked", func() error { <-release; return nil })
		<-time.After(w.cfg.MaxPollInterval - time.Second)
		if len(w.shutdownRequests) != 0 {
			t.Error("ended before its time")
		}
		<-time.After(time.Second)
		synctest.Wait()
		select {
		case e := <-w.shutdownRequests:
			if want := "OnPartitionsRevoked takes longer than max_poll_interval (1m0s)"; e.code != wire.ExitCrash || e.err.Error() != want {
				t.Errorf("ends with %d, %v", e.code, e.err)
			}
		default:
			t.Error("goes on")
		}
		close(release)
		synctest.Wait()
	})
}

// Teardown is the last that an instance is called for, whatever was on its way to it.
func TestTeardownIsTheLastHook(t *testing.T) {
	w, _ := loneWorker(t)
	var got []string
	i := w.bareInstance(nil)
	i.value = &processor{
		revoked:  func(racecar.Assignment) { got = append(got, "revoked") },
		teardown: func() { got = append(got, "teardown") },
	}
	i.revoked(racecar.Assignment{Partitions: map[string][]int32{"t": {0}}})
	i.tearDown(t.Context())
	i.hook("OnStatistics", func() error { got = append(got, "statistics"); return nil })
	if want := []string{"revoked", "teardown"}; !slices.Equal(got, want) {
		t.Errorf("called %q, want %q", got, want)
	}
}

// A partition that must wait for a transaction in which it has no message, only how
// often one failed, waits for it, and does not ask all the time.
func TestWaitsForATransactionWithoutMessages(t *testing.T) {
	w, m := loneWorker(t)
	p := m.claim(topicPartition{"t", 0})
	p.begin(0, 0)
	p.inst = w.bareInstance(w.newTransactions("id"))
	e := &executor{w: w, t: w.scheduler}
	o := p.acks.hold()
	p.awaitsAll = true
	e.settle(p, runResult{})
	if !p.awaiting.Load() {
		t.Error("it does not wait")
	}
	o.done(nil)
	if p.awaiting.Load() {
		t.Error("it waits for ever")
	}
}

// A partition whose log jumps while its output is not acknowledged does not poll.
func TestJumpWaitsForOutput(t *testing.T) {
	w, m := loneWorker(t)
	w.access = func() (*access.Access, error) { return nil, errors.New("there is no broker") }
	p := m.claim(topicPartition{"t", 0})
	p.begin(0, 0)
	p.inst = w.bareInstance(nil)
	c, _ := testCursor()
	p.cursor = *c
	p.cursor.moved = &fetch.Moved{From: 4, To: 9, Reason: fetch.LogStartMoved}
	o := p.acks.hold()
	w.jumped(p)
	(&executor{w: w, t: w.scheduler}).settle(p, runResult{})
	if !p.awaiting.Load() || p.cursor.moved == nil {
		t.Error("it does not wait")
	}
	o.done(nil)
	if p.awaiting.Load() {
		t.Error("it waits for ever")
	}
}

// A partition that stays ours while it is not begun yet is announced once.
func TestHookOfAPartitionThatIsBegunLate(t *testing.T) {
	w, m := loneWorker(t)
	m.session.Store(&session{&fakeSession{ctx: t.Context()}})
	var got []string
	w.serial = &instance{w: w, value: &processor{assigned: func(a racecar.Assignment) { got = append(got, fmt.Sprint(a.Partitions["t"])) }}}
	both := &sarama.ConsumerGroupMemberAssignment{Topics: map[string][]int32{"t": {0, 1}}}
	m.onAssignment(both, 1)
	m.reportAssigned(m.claim(topicPartition{"t", 0}))
	m.onAssignment(both, 2)
	m.reportAssigned(m.claim(topicPartition{"t", 1}))
	if want := []string{"[0 1]"}; !slices.Equal(got, want) {
		t.Errorf("announced %q, want %q", got, want)
	}
}

// A partition may be revoked between the moment in which sarama begins it and the one in which
// we know it: sarama waits for its end, and the group for sarama.
func TestPartitionThatIsRevokedWhileItIsBegun(t *testing.T) {
	_, m := loneWorker(t)
	m.session.Store(&session{&fakeSession{ctx: t.Context()}})
	for generation, partitions := range [][]int32{{0, 1}, {0}} {
		m.onAssignment(&sarama.ConsumerGroupMemberAssignment{Topics: map[string][]int32{"t": partitions}}, int32(generation+1))
	}
	if p, q := m.claim(topicPartition{"t", 0}), m.claim(topicPartition{"t", 1}); p.isLeaving() || !q.isLeaving() {
		t.Errorf("leaving: the one that is ours %v, the other %v", p.isLeaving(), q.isLeaving())
	}
}

// The hook receives assignments and revocations in pairs also where a partition is revoked
// before it is open, or before sarama has begun it.
func TestHookOfAPartitionThatIsTakenAwayAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		begun, announced bool // t/1 was begun; it was announced to the hook before it is revoked
		want             []string
	}{
		"not begun":                {false, false, []string{"assigned [0]"}},
		"begun":                    {true, false, []string{"assigned [0]"}},
		"not begun, but announced": {false, true, []string{"assigned [0 1]", "revoked [1]"}},
		"begun, and announced":     {true, true, []string{"assigned [0 1]", "revoked [1]"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, m := loneWorker(t)
				m.session.Store(&session{&fakeSession{ctx: t.Context()}})
				var got []string
				note := func(what string) func(racecar.Assignment) {
					return func(a racecar.Assignment) { got = append(got, fmt.Sprint(what, " ", a.Partitions["t"])) }
				}
				w.serial = &instance{w: w, value: &processor{assigned: note("assigned"), revoked: note("revoked")}}
				assign := func(generation int32, partitions ...int32) {
					m.onAssignment(&sarama.ConsumerGroupMemberAssignment{Topics: map[string][]int32{"t": partitions}}, generation)
					synctest.Wait()
				}
				assign(1, 0, 1)
				p := m.claim(topicPartition{"t", 0})
				var q *partition
				if c.begun {
					q = m.claim(topicPartition{"t", 1})
				}
				if c.announced {
					m.reportAssigned(p)
				}
				assign(2, 0)
				if q != nil {
					m.forget(q)
				}
				if !c.announced {
					m.reportAssigned(p)
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("announced %q, want %q", got, c.want)
				}
				m.forget(p)
				if err := m.Cleanup(&fakeSession{ctx: t.Context()}); err != nil {
					t.Fatal(err)
				}
				if want := append(c.want, "revoked [0]"); !slices.Equal(got, want) {
					t.Errorf("announced %q, want %q", got, want)
				}
			})
		})
	}
}

// transactionalClaim gives m a partition with transactions of its own.
func (m *membership) transactionalClaim(k topicPartition) *partition {
	p := m.claim(k)
	p.begin(5, 0)
	p.inst = m.w.bareInstance(m.w.newTransactions("id"))
	p.opened.Store(true)
	return p
}

// Once messages may begin, a plain commit is made only for who waits for it and begins
// none: it could arrive after the first transaction and set the group back.
func TestPlainCommitsOfTransactionalPartitions(t *testing.T) {
	_, m := loneWorker(t)
	p := m.transactionalClaim(topicPartition{"t", 0})
	for _, c := range []struct{ served, waited, shared, due bool }{
		{due: true},
		{served: true},
		{served: true, waited: true, due: true},
		{served: true, waited: true, shared: true},
	} {
		p.firstCommitted.Store(c.served)
		if p.shared.Store(nil); c.shared {
			p.shared.Store(p.inst.txn)
		}
		if _, due := m.commits.due(p, c.waited); due != c.due {
			t.Errorf("%+v: due %v", c, due)
		}
	}
}

// A partition rests once it is served, and not before: its first position is committed
// by who opens it.
func TestPartitionRestsOnceServed(t *testing.T) {
	w, m := loneWorker(t)
	p := m.transactionalClaim(topicPartition{"t", 0})
	for _, served := range []bool{false, true} {
		p.firstCommitted.Store(served)
		if idle, _ := w.scheduler.isIdle(p); idle != served {
			t.Errorf("served %v: idle %v", served, idle)
		}
	}
}
