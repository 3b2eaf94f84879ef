package producer

import (
	"fmt"
	"io"
	"math"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

var epoch0 = time.Unix(1_000_000, 0)

// queued returns a partition with n messages, so many in a batch, each a second later
// due than the one before, the first at 0.
func queued(n, inBatch int) *partitionQueue {
	q := &partitionQueue{topic: "out", producer: producerID{id: 1, epoch: 3, valid: true}, sequence: 10,
		limits: &limits{bytes: 1000, messages: inBatch, pool: &buffers{}}}
	for i := range n {
		m := &Message{Value: fmt.Append(nil, i)}
		q.push(entry{deadline: time.Duration(i) * time.Second}, int64(i), m, recordSize(m))
	}
	return q
}

// numbers are those of messages, counted from the first that was queued.
func numbers(entries []entry) string {
	all := []int{}
	for _, e := range entries {
		all = append(all, int(e.deadline/time.Second))
	}
	return fmt.Sprint(all)
}

// left are the numbers of what is in a partition's queue, the batch that was taken included.
func left(q *partitionQueue) string {
	var all []entry
	for _, b := range append([]*batch{q.batch}, q.queue...) {
		if b != nil {
			all = append(all, b.entries...)
		}
	}
	return numbers(all)
}

// counted describes what is wrong with a partition's counts; empty: nothing is.
func counted(q *partitionQueue) string {
	bytes, count := 0, 0
	for _, b := range q.queue {
		bytes, count = bytes+b.bytes(), count+len(b.entries)
	}
	if bytes != q.bytes || count != q.count {
		return fmt.Sprintf("%d messages of %d bytes are counted, %d of %d are there", q.count, q.bytes, count, bytes)
	}
	return ""
}

func TestPartitionTakesBatches(t *testing.T) {
	for _, tc := range []struct {
		name   string
		limits limits
		limit  int
		want   string
	}{
		{"all", limits{bytes: 1000}, 0, "[0 1 2 3 4]"},
		{"by bytes", limits{bytes: 62}, 0, "[0 1 2 3]"}, // they take less than they may
		{"one that is larger", limits{bytes: 5}, 0, "[0]"},
		{"by number", limits{bytes: 1000, messages: 3}, 0, "[0 1 2]"},
		{"by limit", limits{bytes: 1000, messages: 3}, 2, "[0 1]"},
	} {
		q := queued(0, 0)
		tc.limits.pool = q.limits.pool
		q.limits, q.limit = &tc.limits, tc.limit
		for i := range 5 {
			m := &Message{Value: []byte("0")}
			q.push(entry{deadline: time.Duration(i) * time.Second}, 0, m, recordSize(m))
		}
		b := q.take()
		if got := numbers(b.entries); got != tc.want {
			t.Errorf("%s: took %s, want %s", tc.name, got, tc.want)
		}
		if wrong := counted(q); wrong != "" || left(q) != "[0 1 2 3 4]" {
			t.Errorf("%s: %s, left %s", tc.name, wrong, left(q))
		}
		if again := q.take(); again != b {
			t.Errorf("%s: the batch that failed is not the one that is sent again", tc.name)
		}
	}
}

func TestPartitionSequence(t *testing.T) {
	q := queued(5, 2)
	q.take()
	if got := numbers(q.done()); got != "[0 1]" || q.sequence != 12 || q.producer.epoch != 3 {
		t.Errorf("after done: %s, sequence %d, epoch %d", got, q.sequence, q.producer.epoch)
	}
	q.take()
	if got := numbers(q.giveUp(DeliveryRefused, nil).entries); got != "[2 3]" || q.sequence != 12 || q.producer.epoch != 3 {
		t.Errorf("given up: %s, sequence %d, epoch %d", got, q.sequence, q.producer.epoch)
	}
	q.take().maybeStored = true
	if got := numbers(q.giveUp(DeliveryRefused, nil).entries); got != "[4]" || q.sequence != 0 || q.producer.epoch != 4 {
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
	q := queued(8, 0)
	q.take()
	for _, want := range []string{"[0 1 2 3]", "[0 1]", "[0]"} {
		q.split()
		if b := q.take(); numbers(b.entries) != want || q.sequence != 10 || q.producer.epoch != 3 {
			t.Fatalf("half is %s, want %s; sequence %d, epoch %d", numbers(b.entries), want, q.sequence, q.producer.epoch)
		}
	}
	q.giveUp(DeliveryRefused, nil)
	for _, want := range []string{"[1]", "[2 3]", "[4 5 6 7]"} { // the size grows again, and nothing is lost or moved
		if b := q.take(); numbers(b.entries) != want {
			t.Fatalf("then %s, want %s", numbers(b.entries), want)
		}
		q.done()
	}
}

func TestPartitionExpires(t *testing.T) {
	for _, tc := range []struct {
		name             string
		prepare          func(*partitionQueue)
		now              int // seconds
		expired, left    string
		maybeStored      int
		sequence, epochs int
	}{
		{"nothing is due", func(*partitionQueue) {}, -1, "[]", "[0 1 2 3]", 0, 10, 3},
		{"to the moment", func(*partitionQueue) {}, 1, "[0 1]", "[2 3]", 0, 10, 3},
		{"in flight", func(q *partitionQueue) { q.take(); q.inFlight = true }, 9, "[]", "[0 1 2 3]", 0, 10, 3},
		{"a batch that never reached a broker", func(q *partitionQueue) { q.take() }, 0, "[0]", "[1 2 3]", 0, 10, 3},
		{"a batch that may be stored", func(q *partitionQueue) { q.take().maybeStored = true }, 0, "[0]", "[1 2 3]", 1, 0, 4},
		{"more than such a batch", func(q *partitionQueue) { q.take().maybeStored = true }, 2, "[0 1 2]", "[3]", 2, 0, 4},
	} {
		q := queued(4, 2)
		tc.prepare(q)
		expired, maybe := q.expire(time.Duration(tc.now) * time.Second)
		if numbers(expired) != tc.expired || left(q) != tc.left || maybe != tc.maybeStored ||
			int(q.sequence) != tc.sequence || int(q.producer.epoch) != tc.epochs {
			t.Errorf("%s: expired %s, left %s, %d maybe stored, sequence %d, epoch %d; want %+v",
				tc.name, numbers(expired), left(q), maybe, q.sequence, q.producer.epoch, tc)
		}
		if wrong := counted(q); wrong != "" {
			t.Errorf("%s: %s", tc.name, wrong)
		}
	}
}

func TestPartitionEpochRunsOut(t *testing.T) {
	q := queued(1, 0)
	q.producer.epoch = math.MaxInt16
	q.bumpEpoch()
	if q.producer.valid || q.sequence != 0 {
		t.Errorf("after the last epoch: %+v, sequence %d", q.producer, q.sequence)
	}
}

func TestPartitionTakeAll(t *testing.T) {
	q := queued(4, 2)
	q.take().maybeStored = true
	entries, maybe := q.takeAll()
	if numbers(entries) != "[0 1 2 3]" || maybe != 2 || !q.empty() || counted(q) != "" {
		t.Errorf("took %s, %d maybe stored, %s", numbers(entries), maybe, counted(q))
	}
}

// Messages that remain when a failed batch is removed have not failed themselves: they have
// all allowed attempts, and do not report the error of the batch.
func TestPartitionResetsFailuresOfRemovedMessages(t *testing.T) {
	for _, tc := range []struct {
		name   string
		remove func(*partitionQueue)
		want   int
	}{
		{"a part of the batch", func(q *partitionQueue) { q.expire(0) }, 3},
		{"the batch", func(q *partitionQueue) { q.expire(time.Second) }, 0},
		{"all", func(q *partitionQueue) { q.takeAll() }, 0},
	} {
		q := queued(4, 2)
		q.take()
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
func TestPartitionDoesNotReuseASequenceNumber(t *testing.T) {
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
		for name, giveUp := range map[string]func(*partitionQueue){
			"out of time":  func(q *partitionQueue) { p.applyAnswer(q, -1, tc.err, epoch0); q.expire(0) },
			"out of tries": func(q *partitionQueue) { p.retries = 0; p.applyAnswer(q, -1, tc.err, epoch0) },
		} {
			p.retries = -1
			q := queued(1, 0)
			q.take()
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
