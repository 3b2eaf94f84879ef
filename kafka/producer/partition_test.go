package producer

import (
	"fmt"
	"io"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

var epoch0 = time.Unix(1_000_000, 0)

// queued returns a partition with n messages of 100 bytes, each a second later
// due than the one before, the first at epoch0.
func queued(n int) *outPartition {
	q := &outPartition{topic: "out", producer: producerID{id: 1, epoch: 3, valid: true}, sequence: 10}
	for i := range n {
		q.push(&outMessage{Message: Message{Value: fmt.Append(nil, i)}, size: 100, deadline: epoch0.Add(time.Duration(i) * time.Second)})
	}
	return q
}

func values(msgs []*outMessage) string {
	var s []string
	for _, o := range msgs {
		s = append(s, string(o.Value))
	}
	return fmt.Sprint(s)
}

func TestPartitionTakesBatches(t *testing.T) {
	for _, tc := range []struct {
		name                  string
		maxBytes, maxMessages int
		limit                 int
		want                  string
	}{
		{"all", 1000, 0, 0, "[0 1 2 3 4]"},
		{"by bytes", 250, 0, 0, "[0 1]"},
		{"one that is larger", 50, 0, 0, "[0]"},
		{"by number", 1000, 3, 0, "[0 1 2]"},
		{"by limit", 1000, 3, 2, "[0 1]"},
	} {
		q := queued(5)
		q.limit = tc.limit
		b := q.take(tc.maxBytes, tc.maxMessages)
		if got := values(b.msgs); got != tc.want {
			t.Errorf("%s: took %s, want %s", tc.name, got, tc.want)
		}
		if q.bytes+b.bytes != 500 || q.bytes != 100*len(q.queue) {
			t.Errorf("%s: %d bytes queued, %d taken", tc.name, q.bytes, b.bytes)
		}
		if again := q.take(tc.maxBytes, tc.maxMessages); again != b {
			t.Errorf("%s: the batch that failed is not the one that is sent again", tc.name)
		}
	}
}

func TestPartitionSequence(t *testing.T) {
	q := queued(5)
	q.take(200, 0)
	if got := values(q.done()); got != "[0 1]" || q.sequence != 12 || q.producer.epoch != 3 {
		t.Errorf("after done: %s, sequence %d, epoch %d", got, q.sequence, q.producer.epoch)
	}
	q.take(200, 0)
	if got := values(q.giveUp(DeliveryRefused, nil).msgs); got != "[2 3]" || q.sequence != 12 || q.producer.epoch != 3 {
		t.Errorf("given up: %s, sequence %d, epoch %d", got, q.sequence, q.producer.epoch)
	}
	q.take(200, 0).maybeStored = true
	if got := values(q.giveUp(DeliveryRefused, nil).msgs); got != "[4]" || q.sequence != 0 || q.producer.epoch != 4 {
		t.Errorf("given up though it may be stored: %s, sequence %d, epoch %d", got, q.sequence, q.producer.epoch)
	}
	if got := addSequence(math.MaxInt32-1, 3); got != 1 {
		t.Errorf("sequence after the largest: %d, want 1", got)
	}
	if got := addSequence(math.MaxInt32-1, 1); got != math.MaxInt32 {
		t.Errorf("the largest sequence: %d", got)
	}
}

func TestPartitionSplitsARefusedBatch(t *testing.T) {
	q := queued(8)
	q.take(1000, 0)
	q.split()
	if b := q.take(1000, 0); values(b.msgs) != "[0 1 2 3]" || q.sequence != 10 || q.producer.epoch != 3 {
		t.Fatalf("half is %s, sequence %d, epoch %d", values(b.msgs), q.sequence, q.producer.epoch)
	}
	q.split()
	q.take(1000, 0)
	q.split()
	if b := q.take(1000, 0); values(b.msgs) != "[0]" {
		t.Fatalf("a half of two is %s", values(b.msgs))
	}
	q.giveUp(DeliveryRefused, nil)
	if b := q.take(1000, 0); values(b.msgs) != "[1]" {
		t.Fatalf("after the bad one: %s", values(b.msgs))
	}
	q.done()
	if b := q.take(1000, 0); values(b.msgs) != "[2 3]" {
		t.Fatalf("the size does not grow again: %s", values(b.msgs))
	}
	q.done()
	if b := q.take(1000, 0); values(b.msgs) != "[4 5 6 7]" {
		t.Fatalf("nothing is lost or moved: %s", values(b.msgs))
	}
}

func TestPartitionExpires(t *testing.T) {
	at := func(seconds int) time.Time { return epoch0.Add(time.Duration(seconds) * time.Second) }
	for _, tc := range []struct {
		name             string
		prepare          func(*outPartition)
		now              time.Time
		expired, left    string
		maybeStored      int
		sequence, epochs int
	}{
		{"nothing is due", func(*outPartition) {}, at(-1), "[]", "[0 1 2 3]", 0, 10, 3},
		{"to the moment", func(*outPartition) {}, at(1), "[0 1]", "[2 3]", 0, 10, 3},
		{"in flight", func(q *outPartition) { q.take(200, 0); q.inFlight = true }, at(9), "[]", "[0 1 2 3]", 0, 10, 3},
		{"a batch that never reached a broker", func(q *outPartition) { q.take(200, 0) }, at(0), "[0]", "[1 2 3]", 0, 10, 3},
		{"a batch that may be stored", func(q *outPartition) { q.take(200, 0).maybeStored = true }, at(0), "[0]", "[1 2 3]", 1, 0, 4},
		{"more than such a batch", func(q *outPartition) { q.take(200, 0).maybeStored = true }, at(2), "[0 1 2]", "[3]", 2, 0, 4},
	} {
		q := queued(4)
		tc.prepare(q)
		expired, maybe := q.expire(tc.now)
		left := slices.Clone(q.queue)
		if q.batch != nil {
			left = append(slices.Clone(q.batch.msgs), left...)
		}
		if values(expired) != tc.expired || values(left) != tc.left || maybe != tc.maybeStored ||
			int(q.sequence) != tc.sequence || int(q.producer.epoch) != tc.epochs {
			t.Errorf("%s: expired %s, left %s, %d maybe stored, sequence %d, epoch %d; want %+v",
				tc.name, values(expired), values(left), maybe, q.sequence, q.producer.epoch, tc)
		}
		if bytes := 100 * len(q.queue); q.bytes != bytes {
			t.Errorf("%s: counts %d bytes for %d", tc.name, q.bytes, bytes)
		}
	}
}

func TestPartitionEpochRunsOut(t *testing.T) {
	q := queued(1)
	q.producer.epoch = math.MaxInt16
	q.bumpEpoch()
	if q.producer.valid || q.sequence != 0 {
		t.Errorf("after the last epoch: %+v, sequence %d", q.producer, q.sequence)
	}
}

func TestPartitionTakeAll(t *testing.T) {
	q := queued(4)
	q.take(200, 0).maybeStored = true
	msgs, maybe := q.takeAll()
	if values(msgs) != "[0 1 2 3]" || maybe != 2 || !q.empty() || q.bytes != 0 {
		t.Errorf("took %s, %d maybe stored, %d bytes left", values(msgs), maybe, q.bytes)
	}
}

// What is left when a batch that failed is gone has not failed itself: it has all the
// tries that are allowed, and the reason of the others is none of its own.
func TestPartitionForgetsTheFailuresOfWhatIsGone(t *testing.T) {
	for _, tc := range []struct {
		name   string
		remove func(*outPartition)
		want   int
	}{
		{"a part of the batch", func(q *outPartition) { q.expire(epoch0) }, 3},
		{"the batch", func(q *outPartition) { q.expire(epoch0.Add(time.Second)) }, 0},
		{"all", func(q *outPartition) { q.takeAll() }, 0},
	} {
		q := queued(4)
		q.take(200, 0)
		q.attempts, q.lastErr, q.retryAt = 3, sarama.ErrNotEnoughReplicas, epoch0.Add(time.Hour)
		tc.remove(q)
		forgotten := q.lastErr == nil && q.retryAt.IsZero()
		if q.attempts != tc.want || forgotten != (tc.want == 0) {
			t.Errorf("%s is gone: %d attempts, %v, again at %v", tc.name, q.attempts, q.lastErr, q.retryAt)
		}
	}
}

// A leader that loses its partition may have handed a batch on that it did not
// acknowledge. When the batch is given up its sequence number is used up: the next one
// under it would be taken for a repetition, and called stored although it is not.
func TestPartitionDoesNotUseANumberTwice(t *testing.T) {
	for _, tc := range []struct {
		err    error
		epoch  int16
		stored bool // maybe
	}{
		{sarama.ErrNotLeaderForPartition, 4, true},
		{sarama.ErrKafkaStorageError, 4, true},
		{sarama.ErrNetworkException, 4, true},
		{sarama.ErrRequestTimedOut, 4, true},
		{sarama.ErrUnknown, 4, true},
		{sarama.KError(9999), 4, true},
		{io.EOF, 4, true},
		{sarama.ErrNotEnoughReplicas, 3, false},
		{sarama.ErrUnknownTopicOrPartition, 3, false},
		{sarama.ErrNotConnected, 3, false},
	} {
		p, err := New(t.Context(), settings("127.0.0.1:1"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		for name, giveUp := range map[string]func(*outPartition){
			"out of time":  func(q *outPartition) { p.settle(q, -1, tc.err, epoch0); q.expire(epoch0) },
			"out of tries": func(q *outPartition) { p.retries = 0; p.settle(q, -1, tc.err, epoch0) },
		} {
			p.retries = -1
			q := queued(1)
			q.take(100, 0)
			giveUp(q)
			if used := q.sequence == 0; !q.empty() || q.producer.epoch != tc.epoch || used != tc.stored {
				t.Errorf("%s after %v: epoch %d, sequence %d, empty: %t", name, tc.err, q.producer.epoch, q.sequence, q.empty())
			}
		}
	}
}

func TestProducerBackoff(t *testing.T) {
	p, err := New(t.Context(), settings("127.0.0.1:1"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for failures, want := range map[int]time.Duration{1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 4: 800 * time.Millisecond, 5: time.Second, 1000: time.Second} {
		for range 100 {
			if got := p.backoff(failures); got < want*8/10 || got > want*12/10 {
				t.Fatalf("backoff(%d) = %v, want %v ± 20 %%", failures, got, want)
			}
		}
	}
}
