package worker

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// refuseOffsets answers a request to add offsets to a transaction with code.
func refuseOffsets(req kmsg.Request, code int16) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
	for _, topic := range req.(*kmsg.TxnOffsetCommitRequest).Topics {
		rt := kmsg.TxnOffsetCommitResponseTopic{Topic: topic.Topic}
		for _, p := range topic.Partitions {
			rt.Partitions = append(rt.Partitions, kmsg.TxnOffsetCommitResponseTopicPartition{Partition: p.Partition, ErrorCode: code})
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// Offsets are refused in the midst of a rebalance: as long as the partitions are
// ours the transaction is made again as it is, and nothing is processed again. When
// another has the transactional id its messages are. Either way each is visible once.
func TestOffsetsRefusedInATransaction(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err       *kerr.Error
		processed bool // again
	}{
		{kerr.IllegalGeneration, false}, {kerr.UnknownMemberID, false}, {kerr.FencedInstanceID, false}, {kerr.RebalanceInProgress, false},
		{kerr.ProducerFenced, true}, {kerr.InvalidProducerEpoch, true},
	} {
		t.Run(test.err.Message, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			from, to, group := b.Topic(2), b.Topic(2), b.Group()
			for p := range int32(2) {
				b.Produce(from, p, values(300)...)
			}
			asked := watchRequests(b, kmsg.TxnOffsetCommit, func(n int, req kmsg.Request) kmsg.Response {
				if n > 3 {
					return nil
				}
				return refuseOffsets(req, test.err.Code)
			})
			rec := newRecorder()
			reg := registration(t, transactional(from), copying(to, rec))
			s := start(t, reg, txnConfig(b, group))
			s.await("the end", func() bool { return b.Committed(group, from, 0) == 300 && b.Committed(group, from, 1) == 300 })
			if code := s.stop(); code != wire.ExitOK {
				t.Errorf("exit code %d", code)
			}
			for p := range int32(2) {
				wantCopies(t, readCommitted(t, b, to, p), 300)
			}
			if n := asked.count(); n <= 3 {
				t.Errorf("only %d transactions: nothing was tried", n)
			}
			if again := rec.n > 600; again != test.processed {
				t.Errorf("%d calls for 600 messages", rec.n)
			}
		})
	}
}

// copying processes messages by copying them with their offset.
func copying(to string, rec *recorder) func(racecar.Runtime) (*processor, error) {
	return func(rt racecar.Runtime) (*processor, error) {
		return &processor{process: func(ctx context.Context, m *racecar.Message) error {
			rec.add(m)
			return rt.Producer.Produce(ctx, copyOf(to, m))
		}}, nil
	}
}

// A member that is out of its group while its transaction is under way gets nothing
// committed, however often it tries: the new owners process its messages. This is
// what the group coordinator refuses by itself, at the old generation.
func TestTransactionOfAMemberThatIsOut(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	from, to, group := b.Topic(2), b.Topic(2), b.Group()
	for p := range int32(2) {
		b.Produce(from, p, values(200)...)
	}
	// The first transaction waits until its member is out.
	out, held := make(chan struct{}), make(chan struct{})
	var first atomic.Bool
	release := sync.OnceFunc(func() { close(out) })
	t.Cleanup(release)
	c := b.Embedded()
	c.ControlKey(int16(kmsg.TxnOffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if first.CompareAndSwap(false, true) {
			close(held)
			c.SleepControl(func() { <-out })
		}
		return nil, nil, false
	})
	rec := newRecorder()
	reg := registration(t, transactional(from), copying(to, rec))
	cfg := txnConfig(b, group)
	cfg.Membership = config.MembershipDynamic
	one := start(t, reg, cfg)
	var places []status.Member
	one.await("a place", func() bool {
		places = slices.Clone(one.members)
		return len(places) == 1 && places[0].MemberID != ""
	})
	select {
	case <-held:
	case <-time.After(patient):
		t.Fatal("no transaction began")
	}
	two := start(t, reg, cfg, withIndex(1), withNonce("n1"))
	if err := RemoveMembers(context.Background(), wire.Leave{Consumer: wire.Consumer{Config: cfg}, Members: places, Within: patient}); err != nil {
		t.Fatal(err)
	}
	release()
	one.await("the end", func() bool { return b.Committed(group, from, 0) == 200 && b.Committed(group, from, 1) == 200 })
	for _, s := range []*supervisor{one, two} {
		if code := s.stop(); code != wire.ExitOK {
			t.Errorf("exit code %d", code)
		}
	}
	for p := range int32(2) {
		wantCopies(t, readCommitted(t, b, to, p), 200)
	}
	if rec.n <= 400 {
		t.Errorf("%d calls for 400 messages: nothing was tested", rec.n)
	}
}

// Dead letters that are excluded from their transaction, because their partition's share
// of the one before was aborted, are not reported: the transaction is committed without
// them, for the other partitions.
func TestExcludedDeadLettersAreNotReported(t *testing.T) {
	cfg := config.Default()
	cfg.TransactionInterval = time.Hour
	log := logrus.New()
	log.SetOutput(t.Output())
	w := &worker{cfg: cfg, reg: one(t, "t", nil), log: logrus.NewEntry(log), scheduler: newScheduler(1, false, newLimits(&cfg)), stats: &scoreboard.Counters{}}
	txn := &transactions{w: w, ctx: t.Context(), settled: make(chan struct{}), running: true} // the test commits
	w.bareInstance(txn)
	p, other := &partition{}, &partition{}
	p.acks.notify, other.acks.notify = func() {}, func() {}
	at := func(offset int64) span { return span{first: offset, next: offset + 1, n: 1} }
	reported := func() uint64 { return w.stats.Work().Counters[status.CountDeadLetters] }
	dead := func(offset int64) {
		r := &deadLetter{message: &racecar.Message{Offset: offset}}
		txn.joinDeadLetters(p, &deadLetters{w: w, p: p, call: at(offset), records: []*deadLetter{r}}, []*outMessage{{deadLetter: r}})
	}

	txn.add(p, at(0), nil)
	txn.seal()
	p.acks.processed.Store(1)
	txn.add(other, at(0), nil)
	dead(1)
	txn.aborted(txn.sealed[0], errLost)
	if txn.committed(txn.sealed[0]); reported() != 0 {
		t.Error("reported a dead letter that is not written")
	}
	if failure, flying := p.acks.state(); failure == nil || flying != 0 || other.acks.outstanding.Load() != 0 {
		t.Errorf("of its partition: %v, %d in flight; of the other: %d", failure, flying, other.acks.outstanding.Load())
	}

	txn.outputFailed(p, nil, span{})
	p.acks.restart()
	dead(0)
	if txn.committed(txn.sealed[0]); reported() != 1 {
		t.Errorf("reported a dead letter %d times", reported())
	}
}
