package worker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
	"github.com/racecar-go/racecar/test/seeds"
)

// one registers a consumer of one topic.
func one(t testing.TB, topic string, process func(context.Context, *racecar.Message) error) *racecar.Registration {
	t.Helper()
	return registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
		return &processor{process: process}, nil
	})
}

func ignore(context.Context, *racecar.Message) error { return nil }

func TestStopWhileIdle(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(6), b.Group()
	cfg := testConfig(b, group)
	cfg.MaxWaitTime = 10 * time.Second // a fetch that the broker holds holds nothing up
	var said *test.Hook
	s := start(t, one(t, topic, ignore), cfg, func(o *Options) { said = test.NewLocal(o.Log) })
	s.running()
	began := time.Now()
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if d := time.Since(began); d > seeds.AtMost(2*time.Second) {
		t.Errorf("took %v", d)
	}
	wantNoMembers(t, b, group)
	for _, e := range said.AllEntries() {
		if e.Level <= logrus.ErrorLevel && e.Message != "reading commands" { // what ends the test
			t.Errorf("an ordered stop logs %q", e.Message)
		}
	}
}

// The message in hand is finished and committed, and nothing is begun.
func TestStopInTheMiddleOfAMessage(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(5)...)
	begun, goOn := make(chan struct{}, 10), make(chan struct{})
	var ctxErr error
	s := start(t, one(t, topic, func(ctx context.Context, m *racecar.Message) error {
		begun <- struct{}{}
		<-racecar.Leaving(ctx)
		<-goOn
		ctxErr = ctx.Err()
		return nil
	}), testConfig(b, group))
	<-begun
	if err := s.conn.Write(wire.KindCommand, wire.Command{Kind: wire.CommandStop, Grace: 20 * time.Second, Leave: true}); err != nil {
		t.Fatal(err)
	}
	s.await("stopping", func() bool { return s.frame.State == status.Stopping })
	close(goOn)
	if code := s.awaitExit(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if len(begun) != 0 || ctxErr != nil {
		t.Errorf("%d more calls, ctx %v", len(begun), ctxErr)
	}
	if c := b.Committed(group, topic, 0); c != 1 {
		t.Errorf("committed %d", c)
	}
	wantNoMembers(t, b, group)
}

// A call that does not end by itself is cancelled 5 s before the grace is over.
func TestStopCancelsALongCall(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(5)...)
	begun := make(chan struct{}, 10)
	s := start(t, one(t, topic, func(ctx context.Context, m *racecar.Message) error {
		begun <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}), testConfig(b, group))
	<-begun
	began := time.Now()
	if err := s.conn.Write(wire.KindCommand, wire.Command{Kind: wire.CommandStop, Grace: 6 * time.Second, Leave: true}); err != nil {
		t.Fatal(err)
	}
	if code := s.awaitExit(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if d := time.Since(began); d < 900*time.Millisecond || d > seeds.AtMost(4*time.Second) {
		t.Errorf("took %v", d)
	}
	if c := b.Committed(group, topic, 0); c != 0 {
		t.Errorf("committed %d", c)
	}
}

// A call that ignores even that is left behind: the process ends with an error.
func TestStopGivesUpOnACallThatNeverEnds(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(5)...)
	begun, never := make(chan struct{}, 10), make(chan struct{})
	t.Cleanup(func() { close(never) })
	s := start(t, one(t, topic, func(context.Context, *racecar.Message) error {
		begun <- struct{}{}
		<-never
		return nil
	}), testConfig(b, group))
	<-begun
	if err := s.conn.Write(wire.KindCommand, wire.Command{Kind: wire.CommandStop, Grace: time.Second, Leave: true}); err != nil {
		t.Fatal(err)
	}
	if code := s.awaitExit(); code != wire.ExitCrash {
		t.Errorf("exit code %d", code)
	}
	if last := s.exitReport(); !strings.Contains(last.Reason, topic+"/0 offset 0") {
		t.Errorf("last words %+v", last)
	}
}

// The batch in hand is finished and committed, and no other one is begun.
func TestStopInTheMiddleOfABatch(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(40)...)
	begun := make(chan int, 10)
	cfg := testConfig(b, group)
	cfg.FetchMessages, cfg.OffsetCommitInterval = 10, time.Hour
	s := start(t, batchRegistration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(ctx context.Context, ms []*racecar.Message) error {
		begun <- len(ms)
		<-racecar.Leaving(ctx)
		return ctx.Err()
	}), cfg)
	n := <-begun
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if len(begun) > 0 {
		t.Error("another batch was begun")
	}
	if c := b.Committed(group, topic, 0); c != int64(n) || n > 10 {
		t.Errorf("committed %d after a batch of %d", c, n)
	}
	wantNoMembers(t, b, group)
}

func TestStopDuringAPause(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(5)...)
	failed := make(chan struct{}, 10)
	cfg := testConfig(b, group)
	cfg.PauseTimeout = time.Hour
	s := start(t, one(t, topic, func(_ context.Context, m *racecar.Message) error {
		if m.Offset < 2 {
			return nil
		}
		failed <- struct{}{}
		return errors.New("bad")
	}), cfg)
	<-failed
	waitFor(t, "backoff", func() bool {
		r := s.status()
		return len(r.Partitions) == 1 && r.Partitions[0].State == status.PartitionBackoff && r.Partitions[0].Retries == 1
	})
	began := time.Now()
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if d := time.Since(began); d > seeds.AtMost(time.Second) {
		t.Errorf("took %v", d)
	}
	if c := b.Committed(group, topic, 0); c != 2 {
		t.Errorf("committed %d", c)
	}
}

// Nobody answers where the brokers should be: the worker waits, says for what,
// and a stop command ends it at once.
func TestStopWithoutBrokers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close() // nobody listens there now
	b := testbroker.New(t)
	cfg := testConfig(b, b.Group())
	cfg.Brokers = []string{addr}
	s := start(t, one(t, "t", ignore), cfg)
	s.await("waiting", func() bool {
		return s.frame.State == status.Waiting && strings.Contains(s.frame.Detail, addr) && s.frame.Live
	})
	began := time.Now()
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if d := time.Since(began); d > seeds.AtMost(2*time.Second) {
		t.Errorf("took %v", d)
	}
}

// The broker goes away while messages are there to be committed.
func TestStopAfterTheBrokerWentAway(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	c := b.Embedded() // first of all: it says why the test is skipped
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(5)...)
	rec := newRecorder()
	cfg := testConfig(b, group)
	cfg.OffsetCommitInterval = time.Hour
	s := start(t, one(t, topic, func(_ context.Context, m *racecar.Message) error { rec.add(m); return nil }), cfg)
	rec.await(t, 5)
	c.Close()
	began := time.Now()
	if err := s.conn.Write(wire.KindCommand, wire.Command{Kind: wire.CommandStop, Grace: 3 * time.Second, Leave: true}); err != nil {
		t.Fatal(err)
	}
	if code := s.awaitExit(); code != wire.ExitCrash {
		t.Errorf("exit code %d, want that of a failure: the position was not committed", code)
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
}

// A join that the coordinator does not answer holds no stop up.
func TestStopDuringAJoin(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	c := b.Embedded()
	joining := make(chan struct{}, 100)
	release := make(chan struct{})
	var once sync.Once
	let := func() { once.Do(func() { close(release) }) }
	t.Cleanup(let)
	c.ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		joining <- struct{}{}
		c.SleepControl(func() { <-release })
		return nil, nil, false
	})
	s := start(t, one(t, topic, ignore), testConfig(b, group))
	<-joining
	s.await("joining", func() bool { return s.frame.State == status.Joining })
	began := time.Now()
	if err := s.conn.Write(wire.KindCommand, wire.Command{Kind: wire.CommandStop, Grace: 20 * time.Second, Leave: true}); err != nil {
		t.Fatal(err)
	}
	if code := s.awaitExit(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
}

// A join that waits for another member, which is busy with a message, holds no stop
// up, and who joined is no member afterwards.
func TestStopWhileOthersHoldTheJoinUp(t *testing.T) {
	t.Parallel()
	for _, membership := range []config.Membership{config.MembershipRun, config.MembershipDynamic} {
		t.Run(string(membership), func(t *testing.T) {
			b := testbroker.New(t)
			topic, group := b.Topic(2), b.Group()
			b.Produce(topic, 0, "a")
			begun, told, goOn := make(chan struct{}, 10), make(chan struct{}, 10), make(chan struct{})
			cfg := testConfig(b, group)
			cfg.Membership = membership
			busy := start(t, one(t, topic, func(ctx context.Context, _ *racecar.Message) error {
				begun <- struct{}{}
				<-racecar.Leaving(ctx)
				told <- struct{}{}
				<-goOn
				return nil
			}), cfg)
			<-begun
			s := start(t, one(t, topic, ignore), cfg, withIndex(1))
			<-told // of the rebalance that s began
			s.await("joining", func() bool {
				// The supervisor knows whom to remove, should it be killed now.
				return s.frame.State == status.Joining && len(s.members) == 1 && (s.members[0].MemberID != "" || s.members[0].InstanceID != "")
			})
			began := time.Now()
			code := s.stop()
			took := time.Since(began)
			close(goOn)
			if code != wire.ExitOK || took > 10*time.Second {
				t.Errorf("exit code %d after %v", code, took)
			}
			t.Logf("ended after %v", took)
			// The group goes on without it, at once.
			began = time.Now()
			waitFor(t, "all partitions", func() bool { return len(busy.status().Partitions) == 2 })
			if d := time.Since(began); d > 10*time.Second {
				t.Errorf("its partition was given back after %v", d)
			}
			if got := membersOf(t, b, group); len(got) != 1 {
				t.Errorf("members %v", got)
			}
			if code := busy.stop(); code != wire.ExitOK {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// The supervisor goes away: the message in hand is finished, the worker leaves.
func TestSupervisorGone(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(3)...)
	begun := make(chan struct{}, 10)
	s := start(t, one(t, topic, func(ctx context.Context, m *racecar.Message) error {
		begun <- struct{}{}
		<-racecar.Leaving(ctx)
		return nil
	}), testConfig(b, group))
	<-begun
	_ = s.raw.Close()
	if code := s.awaitExit(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if c := b.Committed(group, topic, 0); c != 1 {
		t.Errorf("committed %d", c)
	}
	wantNoMembers(t, b, group)
}

// A worker that stops without leaving the group leaves it all the same when the
// supervisor, which was to remove its member, is gone by then; with membership host
// members are kept over a stop.
func TestSupervisorGoneDuringAStop(t *testing.T) {
	for name, c := range map[string]struct {
		membership config.Membership
		stay       bool
		finished   bool // the worker is done by then
		want       int  // members
	}{
		"in a call":           {config.MembershipRun, false, false, 0},
		"in a call, stays":    {config.MembershipRun, true, false, 0},
		"finished, and stays": {config.MembershipRun, true, true, 0},
		"host":                {config.MembershipHost, false, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic, group := b.Topic(1), b.Group()
			b.Produce(topic, 0, values(3)...)
			begun, goOn := make(chan struct{}, 10), make(chan struct{})
			cfg := testConfig(b, group)
			cfg.Membership = c.membership
			s := start(t, one(t, topic, func(context.Context, *racecar.Message) error {
				begun <- struct{}{}
				<-goOn
				return nil
			}), cfg)
			<-begun
			if err := s.conn.Write(wire.KindCommand, wire.Command{Kind: wire.CommandStop, Grace: patient, Stay: c.stay}); err != nil {
				t.Fatal(err)
			}
			s.await("stopping", func() bool { return s.frame.State == status.Stopping })
			if c.finished {
				close(goOn)
				s.await("finished", func() bool { return s.frame.State == status.Exited })
				if n := b.Members(group); n != 1 {
					t.Errorf("%d members while the worker stays", n)
				}
			}
			_ = s.raw.Close()
			if !c.finished {
				close(goOn)
			}
			if code := s.awaitExit(); code != wire.ExitOK {
				t.Errorf("exit code %d", code)
			}
			if n := b.Members(group); n != c.want {
				t.Errorf("%d members, want %d", n, c.want)
			}
			if c := b.Committed(group, topic, 0); c != 1 {
				t.Errorf("committed %d", c)
			}
		})
	}
}

// A worker that stays exits at the exit command, its member still in the group.
func TestWorkerThatStaysExits(t *testing.T) {
	b := testbroker.New(t)
	group := b.Group()
	s := start(t, one(t, b.Topic(1), ignore), testConfig(b, group))
	s.running()
	for _, cmd := range []wire.Command{{Kind: wire.CommandStop, Grace: patient, Stay: true}, {Kind: wire.CommandExit}} {
		if err := s.conn.Write(wire.KindCommand, cmd); err != nil {
			t.Fatal(err)
		}
	}
	if code := s.awaitExit(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if n := b.Members(group); n != 1 {
		t.Errorf("%d members", n)
	}
}

// A call that does not end keeps an orphan neither alive nor in its group, also when a
// longer stop was under way.
func TestSupervisorGoneWhileACallNeverEnds(t *testing.T) {
	for _, stopping := range []bool{false, true} {
		t.Run(fmt.Sprintf("stopping %v", stopping), func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic, group := b.Topic(1), b.Group()
			b.Produce(topic, 0, values(3)...)
			begun, never := make(chan struct{}, 10), make(chan struct{})
			t.Cleanup(func() { close(never) })
			cfg := testConfig(b, group)
			cfg.SessionTimeout = time.Minute
			s := start(t, one(t, topic, func(context.Context, *racecar.Message) error {
				begun <- struct{}{}
				<-never
				return nil
			}), cfg)
			<-begun
			if stopping {
				if err := s.conn.Write(wire.KindCommand, wire.Command{Kind: wire.CommandStop, Grace: time.Minute, Stay: true}); err != nil {
					t.Fatal(err)
				}
				s.await("stopping", func() bool { return s.frame.State == status.Stopping })
			}
			began := time.Now()
			_ = s.raw.Close()
			if code := s.awaitExit(); code != wire.ExitCrash {
				t.Errorf("exit code %d", code)
			}
			if took := time.Since(began); took > seeds.AtMost(orphanGrace) {
				t.Errorf("took %v", took)
			}
			if n := b.Members(group); n != 0 {
				t.Errorf("%d members", n)
			}
		})
	}
}

// A constructor's error is a crash, its Fatal is final.
func TestConstructorFails(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(1)
	b.Produce(topic, 0, "a")
	for name, c := range map[string]struct {
		err  func() error
		code int
		want string
	}{
		"error": {func() error { return errors.New("no database") }, wire.ExitCrash, "no database"},
		"fatal": {func() error { return racecar.Fatal(errors.New("no licence")) }, wire.ExitPermanent, "no licence"},
		"panic": {func() error { panic("oops") }, wire.ExitCrash, "panic: oops"},
	} {
		for _, concurrency := range []int{1, 2} {
			reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
				return nil, c.err()
			})
			cfg := testConfig(b, b.Group())
			cfg.Concurrency = concurrency
			s := start(t, reg, cfg)
			if code := s.awaitExit(); code != c.code {
				t.Errorf("%s: exit code %d", name, code)
			}
			if last := s.exitReport(); !strings.Contains(last.Reason, c.want) || last.Permanent != (c.code == wire.ExitPermanent) {
				t.Errorf("%s: last words %+v", name, last)
			}
		}
	}
}

// An instance whose sibling could not be made is torn down like any other.
func TestTeardownRunsOnceForEachInstance(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(4)
	for p := range int32(4) {
		b.Produce(topic, p, "a")
	}
	var mu sync.Mutex
	made, torn := 0, map[*processor]int{}
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
		mu.Lock()
		defer mu.Unlock()
		if made == 3 {
			return nil, errors.New("three are enough")
		}
		made++
		p := &processor{process: ignore}
		p.teardown = func() { mu.Lock(); defer mu.Unlock(); torn[p]++ }
		return p, nil
	})
	cfg := testConfig(b, b.Group())
	cfg.Concurrency = 4
	s := start(t, reg, cfg)
	s.await("three messages processed", func() bool { return s.processed() == 3 })
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(torn) != made {
		t.Errorf("%d made, %d torn down", made, len(torn))
	}
	for _, n := range torn {
		if n != 1 {
			t.Errorf("torn down %d times", n)
		}
	}
}

// --inline: without a supervisor the end of ctx is the order to stop, and calls
// that take too long are the worker's own to judge.
func TestWithoutASupervisor(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(3)...)
	cfg := testConfig(b, group)
	cfg.MaxPollInterval = 2 * time.Second
	causes := make(chan error, 1)
	done := make(chan struct{})
	reg := one(t, topic, func(ctx context.Context, m *racecar.Message) error {
		if m.Offset == 1 && m.Retries == 0 && len(causes) == 0 {
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return ctx.Err()
		}
		if m.Offset == 2 {
			close(done)
		}
		return nil
	})
	o := inlineOptions(t, reg, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	exit := make(chan int, 1)
	go func() { exit <- Run(ctx, o) }()
	select {
	case <-done:
	case <-time.After(patient):
		t.Fatal("not all was processed")
	}
	if cause := <-causes; !strings.Contains(cause.Error(), "max_poll_interval") {
		t.Errorf("cancelled because of %v", cause)
	}
	cancel()
	if code := <-exit; code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if c := b.Committed(group, topic, 0); c != 3 {
		t.Errorf("committed %d", c)
	}
}

// wantNoMembers fails unless the group is empty.
func wantNoMembers(t testing.TB, b *testbroker.Broker, group string) {
	t.Helper()
	if members := membersOf(t, b, group); len(members) != 0 {
		t.Errorf("still in the group: %v", members)
	}
}

// membersOf returns the instance ids (or member ids) of a group.
func membersOf(t testing.TB, b *testbroker.Broker, group string) []string {
	t.Helper()
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	admin, err := sarama.NewClusterAdmin(b.Addrs(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	groups, err := admin.DescribeConsumerGroups([]string{group})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for id, m := range groups[0].Members {
		if m.GroupInstanceId != nil {
			id = *m.GroupInstanceId
		}
		ids = append(ids, id)
	}
	return ids
}
