package producer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

func newTxnProducer(t testing.TB, addrs []string, id string) *producer.TxnProducer {
	t.Helper()
	p, err := producer.NewTxnProducer(t.Context(), settings(addrs...), producer.TxnOptions{Logger: testLog(t), ID: id})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = p.Close(ctx) // tests that look at its error call it themselves
	})
	return p
}

// begin opens a transaction with values in it, to partition 0, and, when offset
// is not negative, that offset of partition 0 of "in".
func begin(t testing.TB, p *producer.TxnProducer, topic, group string, offset int64, values ...string) {
	t.Helper()
	if err := p.Begin(testContext(t)); err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		if err := p.Send(testContext(t), producer.Message{Topic: topic, Partition: partition(0), Value: []byte(v)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if offset >= 0 {
		if err := p.SendOffsets(group, kafka.NoMember, map[kafka.TopicPartition]kafka.Commit{{Topic: topic, Partition: 0}: {Offset: offset, Metadata: "m"}}); err != nil {
			t.Fatal(err)
		}
	}
}

func commit(t testing.TB, p *producer.TxnProducer) {
	t.Helper()
	if err := p.Commit(testContext(t)); err != nil {
		t.Fatal(err)
	}
}

func abort(t testing.TB, p *producer.TxnProducer) {
	t.Helper()
	if err := p.Abort(testContext(t)); err != nil {
		t.Fatal(err)
	}
}

// txnKind returns the kind of a *TxnError, 0 for anything else.
func txnKind(err error) producer.TxnErrorKind {
	if e, ok := errors.AsType[*producer.TxnError](err); ok {
		return e.Kind
	}
	return 0
}

func committed(t testing.TB, addrs []string, topic string) []string {
	t.Helper()
	return contents(t, addrs, topic, sarama.ReadCommitted)[0]
}

func TestTxnCommitAndAbort(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(2), b.Group()
	p := newTxnProducer(t, b.Addrs(), b.Group())
	begin(t, p, topic, group, 1, "a", "b")
	commit(t, p)
	begin(t, p, topic, group, 2, "lost")
	abort(t, p)
	begin(t, p, topic, group, 3, "c")
	commit(t, p)
	begin(t, p, topic, group, 4) // offsets alone
	commit(t, p)
	begin(t, p, topic, group, -1) // nothing
	commit(t, p)
	begin(t, p, topic, group, -1)
	abort(t, p)
	begin(t, p, topic, group, -1, "d") // no offsets
	commit(t, p)
	if got := committed(t, b.Addrs(), topic); !slices.Equal(got, []string{"a", "b", "c", "d"}) {
		t.Errorf("readers see %v", got)
	}
	if got := b.Committed(group, topic, 0); got != 4 {
		t.Errorf("committed offset %d, want 4", got)
	}
	if err := p.Close(testContext(t)); err != nil {
		t.Error(err)
	}
}

func TestTxnManyPartitions(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic := b.Topic(20)
	p := newTxnProducer(t, b.Addrs(), b.Group())
	for n := range 3 {
		begin(t, p, topic, "", -1)
		for i := range 500 {
			err := p.Send(testContext(t), producer.Message{Topic: topic, Partition: partition(int32(i % 20)), Value: fmt.Appendf(nil, "%d.%d", n, i)}, nil)
			if err != nil {
				t.Fatal(err)
			}
		}
		commit(t, p)
	}
	for part, got := range contents(t, b.Addrs(), topic, sarama.ReadCommitted) {
		var want []string
		for n := range 3 {
			for i := int(part); i < 500; i += 20 {
				want = append(want, fmt.Sprintf("%d.%d", n, i))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("partition %d: %s", part, difference(got, want))
		}
	}
}

// The next owner of a transactional id aborts the open transaction of the previous one, whose
// further requests are refused.
func TestTxnFencesPreviousOwner(t *testing.T) {
	b := testbroker.New(t)
	topic, group, id := b.Topic(1), b.Group(), b.Group()
	zombie := newTxnProducer(t, b.Addrs(), id)
	begin(t, zombie, topic, group, 1, "first")
	commit(t, zombie)
	begin(t, zombie, topic, group, 2, "of the zombie")
	successor := newTxnProducer(t, b.Addrs(), id)
	begin(t, successor, topic, group, 3, "of the successor")
	if err := zombie.Commit(testContext(t)); txnKind(err) != producer.TxnFenced {
		t.Fatalf("the zombie's commit: %v", err)
	}
	abort(t, zombie) // must not touch the successor's
	commit(t, successor)
	if got := committed(t, b.Addrs(), topic); !slices.Equal(got, []string{"first", "of the successor"}) {
		t.Errorf("readers see %v", got)
	}
	if got := b.Committed(group, topic, 0); got != 3 {
		t.Errorf("committed offset %d, want 3", got)
	}
	// It may take the id back.
	begin(t, zombie, topic, group, 4, "back again")
	commit(t, zombie)
	begin(t, successor, topic, group, -1, "too late")
	if err := successor.Commit(testContext(t)); txnKind(err) != producer.TxnFenced {
		t.Errorf("the successor's commit: %v", err)
	}
	abort(t, successor)
	if got := committed(t, b.Addrs(), topic); !slices.Equal(got, []string{"first", "of the successor", "back again"}) {
		t.Errorf("readers see %v", got)
	}
}

// A dead process leaves a transaction open at the brokers; its successor under
// the same id ends it at Begin.
func TestTxnAbortsTheTransactionOfADeadProcess(t *testing.T) {
	b := testbroker.New(t)
	topic, id := b.Topic(1), b.Group()
	dead, err := producer.NewTxnProducer(t.Context(), settings(b.Addrs()...), producer.TxnOptions{Logger: silent(), ID: id, BufferBytes: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if err := dead.Begin(testContext(t)); err != nil {
		t.Fatal(err)
	}
	stored := make(chan struct{}, 10)
	for range 10 { // more than there is room for: they go to the broker before Commit
		err := dead.Send(testContext(t), producer.Message{Topic: topic, Value: []byte("of the dead")},
			func(int32, int64, error) { stored <- struct{}{} })
		if err != nil {
			t.Fatal(err)
		}
	}
	<-stored
	p := newTxnProducer(t, b.Addrs(), id)
	start := time.Now()
	begin(t, p, topic, "", -1, "alive")
	commit(t, p)
	if got := committed(t, b.Addrs(), topic); !slices.Equal(got, []string{"alive"}) {
		t.Errorf("readers see %v", got)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("readers waited %v for the dead one's transaction", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := dead.Close(ctx); err != nil {
		t.Errorf("the dead one's Close: %v", err)
	}
}

// A member that is out of its group gets no offsets committed (KIP-447).
func TestTxnRefusesAStaleMember(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	p := newTxnProducer(t, b.Addrs(), b.Group())
	begin(t, p, topic, group, -1, "stale")
	stale := kafka.Member{Generation: 5, MemberID: "gone"}
	if err := p.SendOffsets(group, stale, map[kafka.TopicPartition]kafka.Commit{{Topic: topic, Partition: 0}: {Offset: 9}}); err != nil {
		t.Fatal(err)
	}
	err := p.Commit(testContext(t))
	if txnKind(err) != producer.TxnAbortable {
		t.Fatalf("Commit returned %v", err)
	}
	abort(t, p)
	begin(t, p, topic, group, 1, "fresh")
	commit(t, p)
	if got := committed(t, b.Addrs(), topic); !slices.Equal(got, []string{"fresh"}) {
		t.Errorf("readers see %v", got)
	}
	if got := b.Committed(group, topic, 0); got != 1 {
		t.Errorf("committed offset %d, want 1", got)
	}
}

func TestTxnUsage(t *testing.T) {
	p := newTxnProducer(t, []string{"127.0.0.1:1"}, "id")
	if err := p.Commit(testContext(t)); err == nil {
		t.Error("Commit without Begin returned nil")
	}
	if err := p.Abort(testContext(t)); err != nil {
		t.Errorf("Abort without Begin: %v", err)
	}
	if err := p.Send(testContext(t), producer.Message{Topic: "out"}, nil); err == nil {
		t.Error("Send without Begin returned nil")
	}
	if err := p.SendOffsets("g", kafka.NoMember, nil); err == nil {
		t.Error("SendOffsets without Begin returned nil")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := p.Begin(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Begin without a broker: %v", err)
	}
	if _, err := producer.NewTxnProducer(t.Context(), settings("127.0.0.1:1"), producer.TxnOptions{Logger: silent()}); err == nil {
		t.Error("no id is no error")
	}
}

// topLevel holds the requests whose answer has one error for all.
var topLevel = map[kmsg.Key]bool{kmsg.InitProducerID: true, kmsg.AddOffsetsToTxn: true, kmsg.EndTxn: true}

// What fails in a transaction: the requests of the coordinators and those that
// produce. Errors that pass are not noticed.
func TestTxnRetries(t *testing.T) {
	for _, tc := range []struct {
		key kmsg.Key
		err *kerr.Error
	}{
		{kmsg.InitProducerID, kerr.CoordinatorLoadInProgress},
		{kmsg.InitProducerID, kerr.NotCoordinator},
		{kmsg.AddPartitionsToTxn, kerr.ConcurrentTransactions},
		{kmsg.AddPartitionsToTxn, kerr.NotCoordinator},
		{kmsg.AddOffsetsToTxn, kerr.CoordinatorNotAvailable},
		{kmsg.TxnOffsetCommit, kerr.NotCoordinator},
		{kmsg.TxnOffsetCommit, kerr.CoordinatorLoadInProgress},
		{kmsg.EndTxn, kerr.CoordinatorNotAvailable},
		{kmsg.EndTxn, kerr.ConcurrentTransactions},
		{kmsg.Produce, kerr.NotLeaderForPartition},
		{kmsg.Produce, kerr.NotEnoughReplicasAfterAppend},
	} {
		t.Run(fmt.Sprintf("%s %s", tc.key.Name(), tc.err.Message), func(t *testing.T) {
			t.Parallel()
			c := fakeCluster(t, kfake.SeedTopics(1, "out"))
			c.Fault(kfake.Fault{Keys: []kmsg.Key{tc.key}, TopLevel: topLevel[tc.key], Err: tc.err, Count: 2})
			p := newTxnProducer(t, c.ListenAddrs(), "id")
			begin(t, p, "out", "group", 1, "a")
			commit(t, p)
			begin(t, p, "out", "group", 2, "b")
			commit(t, p)
			if got := committed(t, c.ListenAddrs(), "out"); !slices.Equal(got, []string{"a", "b"}) {
				t.Errorf("readers see %v", got)
			}
		})
	}
}

// Errors that end a transaction: it is aborted, and the same work goes through
// in the next one.
func TestTxnFails(t *testing.T) {
	for _, tc := range []struct {
		key     kmsg.Key
		err     *kerr.Error
		kind    producer.TxnErrorKind
		refused bool
	}{
		{kmsg.Produce, kerr.OutOfOrderSequenceNumber, producer.TxnAbortable, false},
		{kmsg.Produce, kerr.UnknownProducerID, producer.TxnAbortable, false},
		{kmsg.Produce, kerr.MessageTooLarge, producer.TxnAbortable, true},
		{kmsg.Produce, kerr.TopicAuthorizationFailed, producer.TxnAbortable, true},
		{kmsg.Produce, kerr.InvalidTxnState, producer.TxnAbortable, false},
		{kmsg.Produce, kerr.InvalidProducerEpoch, producer.TxnFenced, false},
		{kmsg.Produce, kerr.ProducerFenced, producer.TxnFenced, false},
		{kmsg.AddPartitionsToTxn, kerr.TopicAuthorizationFailed, producer.TxnAbortable, true},
		{kmsg.AddPartitionsToTxn, kerr.ProducerFenced, producer.TxnFenced, false},
		{kmsg.AddPartitionsToTxn, kerr.TransactionalIDAuthorizationFailed, producer.TxnFatal, false},
		{kmsg.AddOffsetsToTxn, kerr.ProducerFenced, producer.TxnFenced, false},
		{kmsg.AddOffsetsToTxn, kerr.GroupAuthorizationFailed, producer.TxnFatal, false},
		{kmsg.TxnOffsetCommit, kerr.IllegalGeneration, producer.TxnAbortable, false},
		{kmsg.TxnOffsetCommit, kerr.FencedInstanceID, producer.TxnAbortable, false},
		{kmsg.EndTxn, kerr.ProducerFenced, producer.TxnFenced, false},
		{kmsg.EndTxn, kerr.InvalidTxnState, producer.TxnAbortable, false},
	} {
		t.Run(fmt.Sprintf("%s %s", tc.key.Name(), tc.err.Message), func(t *testing.T) {
			t.Parallel()
			c := fakeCluster(t, kfake.SeedTopics(1, "out"))
			p := newTxnProducer(t, c.ListenAddrs(), "id")
			begin(t, p, "out", "group", 1, "a")
			commit(t, p)
			fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{tc.key}, TopLevel: topLevel[tc.key], Err: tc.err, Count: -1})
			begin(t, p, "out", "group", 2, "b")
			err := p.Commit(testContext(t))
			e, ok := errors.AsType[*producer.TxnError](err)
			if !ok || e.Kind != tc.kind || e.Refused() != tc.refused || !errors.Is(err, sarama.KError(tc.err.Code)) {
				t.Fatalf("Commit returned %v", err)
			}
			if err := p.Send(testContext(t), producer.Message{Topic: "out"}, nil); err == nil {
				t.Error("Send into a failed transaction returned nil")
			}
			if n := fault.Hits(); tc.key == kmsg.Produce && n != 1 {
				t.Errorf("sent %d times before it failed", n)
			}
			fault.Remove()
			abort(t, p)
			begin(t, p, "out", "group", 2, "b")
			commit(t, p)
			begin(t, p, "out", "group", 3, "c")
			commit(t, p)
			if got := committed(t, c.ListenAddrs(), "out"); !slices.Equal(got, []string{"a", "b", "c"}) {
				t.Errorf("readers see %v", got)
			}
		})
	}
}

// The end of ctx during the commit leaves open whether it happened.
func TestTxnCommitCutShort(t *testing.T) {
	c := fakeCluster(t, kfake.SeedTopics(1, "out"))
	p := newTxnProducer(t, c.ListenAddrs(), "id")
	begin(t, p, "out", "group", 1, "a")
	fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, TopLevel: true, Err: kerr.CoordinatorNotAvailable, Count: -1})
	defer fault.Remove() // so that Close can abort
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := p.Commit(ctx); txnKind(err) != producer.TxnUnknown || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Commit returned %v", err)
	}
}

func TestTxnLeavesNothingBehind(t *testing.T) {
	c := fakeCluster(t, kfake.SeedTopics(1, "out"))
	before := goleak.IgnoreCurrent()
	p, err := producer.NewTxnProducer(t.Context(), settings(c.ListenAddrs()...), producer.TxnOptions{Logger: silent(), ID: "id"})
	if err != nil {
		t.Fatal(err)
	}
	begin(t, p, "out", "group", 1, "a")
	commit(t, p)
	begin(t, p, "out", "group", 2, "b")
	if err := p.Close(testContext(t)); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t, before, goleak.IgnoreAnyFunction("github.com/twmb/franz-go/pkg/kfake.(*clientConn).read"))
}

func TestTransactionalIDs(t *testing.T) {
	part := producer.TransactionalIDForPartition("billing", kafka.TopicPartition{Topic: "invoices", Partition: 3})
	if part != "billing/invoices/3" {
		t.Errorf("for a partition: %s", part)
	}
	if worker := producer.TransactionalIDForWorker("billing", "racecar-a1b2-Billing-0"); worker != "billing/racecar-a1b2-Billing-0" {
		t.Errorf("for a worker: %s", worker)
	}
}

// A broker that goes down may answer a commit with an error that says nothing: it is
// asked again, which does no harm, and what is not known then is not called aborted.
func TestTxnUnexpectedAnswerToACommit(t *testing.T) {
	for _, test := range []struct {
		name  string
		code  *kerr.Error
		times int
		want  producer.TxnErrorKind
	}{
		{"once", kerr.UnknownServerError, 1, 0},
		{"always", kerr.UnknownServerError, 1000, producer.TxnUnknown},
		{"another", kerr.InvalidRequest, 1, producer.TxnUnknown},
		{"not committed for sure", kerr.InvalidTxnState, 1, producer.TxnAbortable},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := fakeCluster(t, kfake.SeedTopics(1, "out"))
			asked := 0
			c.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				if !req.(*kmsg.EndTxnRequest).Commit || asked == test.times {
					return nil, nil, false
				}
				asked++
				resp := req.ResponseKind().(*kmsg.EndTxnResponse)
				resp.ErrorCode = test.code.Code
				return resp, nil, true
			})
			conf := settings(c.ListenAddrs()...)
			conf.Producer = []string{"retry.backoff.ms=1", "retry.backoff.max.ms=1"}
			p, err := producer.NewTxnProducer(t.Context(), conf, producer.TxnOptions{Logger: testLog(t), ID: "id"})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close(testContext(t)) //nolint:errcheck // its error is no matter here
			begin(t, p, "out", "group", 1, "a")
			if err := p.Commit(testContext(t)); txnKind(err) != test.want || test.want == 0 && err != nil {
				t.Errorf("got %v", err)
			}
			if test.want == 0 {
				if got := committed(t, c.ListenAddrs(), "out"); !slices.Equal(got, []string{"a"}) {
					t.Errorf("readers see %v", got)
				}
			}
		})
	}
}

// When the answer to a commit is lost and its repetition is refused, the commit may have
// happened: somebody who came after it has taken the id.
func TestTxnCommitRefusedAfterALostAnswer(t *testing.T) {
	c := fakeCluster(t, kfake.SeedTopics(1, "out"))
	asked := 0
	c.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if asked++; asked == 1 {
			return nil, errors.New("the connection is cut"), true
		}
		resp := req.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = kerr.ProducerFenced.Code
		return resp, nil, true
	})
	p := newTxnProducer(t, c.ListenAddrs(), "id")
	begin(t, p, "out", "group", 1, "a")
	if err := p.Commit(testContext(t)); txnKind(err) != producer.TxnUnknown || !errors.Is(err, sarama.ErrProducerFenced) {
		t.Errorf("Commit returned %v", err)
	}
}

// A topic that is gone is noticed when the coordinator does not know its partitions: its
// messages would else wait for their time to be up, transaction after transaction.
func TestTxnRefreshesATopicThatTheCoordinatorDoesNotKnow(t *testing.T) {
	c := fakeCluster(t, kfake.SeedTopics(1, "out"))
	p := newTxnProducer(t, c.ListenAddrs(), "id")
	begin(t, p, "out", "group", 1, "a")
	commit(t, p)
	fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.AddPartitionsToTxn}, Err: kerr.UnknownTopicOrPartition, Count: -1})
	asked := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Observe: true, Count: -1})
	begin(t, p, "out", "group", 2, "b")
	ended, ctx := make(chan error, 1), testContext(t)
	go func() { ended <- p.Commit(ctx) }()
	if err := asked.Wait(testContext(t), 1); err != nil {
		t.Errorf("the topic is not asked for: %v", err)
	}
	fault.Remove()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A batch that is too large for its topic is split in a transaction as outside of one,
// and a record that is refused takes no other with it.
func TestTxnSplitsABatch(t *testing.T) {
	c := fakeCluster(t, kfake.SeedTopics(1, "out"))
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.MessageTooLarge, Count: -1, When: func(r kmsg.Request) bool {
		return len(r.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records) > 50_000
	}})
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidRecord, Count: -1, When: func(r kmsg.Request) bool {
		return bytes.Contains(r.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records, []byte("bad"))
	}})
	p := newTxnProducer(t, c.ListenAddrs(), "id")
	values := make([]string, 100)
	for i := range values {
		values[i] = fmt.Sprintf("%03d", i) + strings.Repeat("x", 2000)
	}
	begin(t, p, "out", "", -1, values...)
	commit(t, p)

	begin(t, p, "out", "", -1)
	var mu sync.Mutex
	var refused []int
	for i := range 20 {
		value := "good"
		if i == 13 {
			value = "bad"
		}
		err := p.Send(testContext(t), producer.Message{Topic: "out", Partition: partition(0), Value: []byte(value)}, func(_ int32, _ int64, err error) {
			mu.Lock()
			defer mu.Unlock()
			if e, ok := errors.AsType[*producer.DeliveryError](err); ok && e.Refused() {
				refused = append(refused, i)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	err := p.Commit(testContext(t))
	if e, ok := errors.AsType[*producer.TxnError](err); !ok || e.Kind != producer.TxnAbortable || !e.Refused() {
		t.Errorf("commit: %v", err)
	}
	if err := p.Abort(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(refused, []int{13}) {
		t.Errorf("refused: %v, want 13 alone", refused)
	}
	if got := contents(t, c.ListenAddrs(), "out", sarama.ReadCommitted)[0]; !slices.Equal(got, values) {
		t.Errorf("%d messages are committed, want %d: %.100s", len(got), len(values), difference(got, values))
	}
}
