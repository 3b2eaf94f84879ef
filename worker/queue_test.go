package worker

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// Messages that wait hold their own bytes, not those of the answer they came with; what
// is null stays null, and what is empty empty.
func TestWaitingMessagesOwnTheirBytes(t *testing.T) {
	answer := []byte("key1value1header1value2")
	ms := []*sarama.ConsumerMessage{
		{Key: answer[:4], Value: answer[4:10], Headers: []*sarama.RecordHeader{{Key: answer[10:16], Value: answer[16:17]}}},
		{Key: nil, Value: answer[17:], Headers: []*sarama.RecordHeader{{Key: []byte{}, Value: nil}}},
	}
	own(ms)
	for i := range answer {
		answer[i] = 'x'
	}
	for i, got := range [][]byte{ms[0].Key, ms[0].Value, ms[0].Headers[0].Key, ms[0].Headers[0].Value, ms[1].Value} {
		if want := []string{"key1", "value1", "header", "1", "value2"}[i]; string(got) != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if ms[1].Key != nil || ms[1].Headers[0].Value != nil || ms[1].Headers[0].Key == nil || len(ms[1].Headers[0].Key) > 0 {
		t.Errorf("%+v, %+v", ms[1], ms[1].Headers[0])
	}
}

// What is in work counts as what waits does, until it is done with; and what is kept
// until its output is acknowledged.
func TestBytesInWorkCount(t *testing.T) {
	tu := newTurns(1, false, limits{messages: 100, bytes: 1 << 20})
	p := supplied(tu, tp{"a", 0}, 200)
	p.m.w = &worker{turns: tu}
	p.m.group = &fetcher{paused: map[tp]bool{}}
	tu.pumped(p)
	each := size(&sarama.ConsumerMessage{})
	p.queue.bytes = 200 * each
	tu.bytes = p.queue.bytes
	e := &executor{t: tu}
	is := func(when string, messages, kept int64) {
		t.Helper()
		if tu.bytes != messages*each || tu.kept.Load() != kept*each {
			t.Errorf("%s: %d bytes of %d messages, %d of %d kept", when, tu.bytes, messages, tu.kept.Load(), kept)
		}
	}
	is("queued", 200, 0)
	e.refill(p)
	is("128 in work", 200, 0)
	p.keep(p.cur[:100])
	p.at = len(p.cur)
	e.refill(p)
	is("the rest in work", 172, 100)
	p.unkeep(60)
	p.at = len(p.cur)
	e.rest(p)
	is("all done with, 40 kept", 40, 40)
	tu.remove(p)
	is("given up", 0, 0)
}

// The messages whose output is not acknowledged are bounded in bytes, too.
func TestKeptMessagesAreBounded(t *testing.T) {
	const partitions, messages = 4, 100
	for _, transactional := range []bool{false, true} {
		t.Run(map[bool]string{false: "plain", true: "transactional"}[transactional], func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			b.Embedded() // its answers can be held
			from, to, group := b.Topic(partitions), b.Topic(1), b.Group()
			value := strings.Repeat("x", 100_000)
			for n := range int32(partitions) {
				for range messages / 5 {
					b.Produce(from, n, value, value, value, value, value)
				}
			}
			h := holdProduce(b)
			t.Cleanup(h.letGo)
			go func() {
				for range h.seen { //nolint:revive // it is not to block
				}
			}()
			rec := newRecorder()
			spec := racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: from}}, Transactional: transactional}
			reg := registration(t, spec, func(rt racecar.Runtime) (*processor, error) {
				p := &processor{out: rt.Producer}
				p.process = func(ctx context.Context, m *racecar.Message) error {
					rec.add(m)
					return p.out.Produce(ctx, racecar.ProducerMessage{Topic: to, Key: bytes.Clone(m.Key), Value: []byte("small")})
				}
				return p, nil
			})
			cfg := testConfig(b, group)
			cfg.MaxBytes, cfg.MessageTimeout = 1<<20, 5*time.Minute
			cfg.TransactionInterval, cfg.TransactionMessages = time.Hour, 1<<20
			s := start(t, reg, cfg)
			rec.await(t, 8)
			if n := rec.settled(t); n > 40 { // half of 2 MiB are ten, and each partition goes on by one
				t.Errorf("%d messages of 100 kB were processed and their output is on its way", n)
			}
			h.letGo()
			rec.await(t, partitions*messages)
			s.stop()
		})
	}
}

// settled waits until nothing more comes for a second and returns how many came.
func (r *recorder) settled(t testing.TB) int {
	t.Helper()
	last, since := -1, time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		r.mu.Lock()
		n := r.n
		r.mu.Unlock()
		if n != last {
			last, since = n, time.Now()
		} else if time.Since(since) > time.Second {
			return n
		}
	}
	return last
}
