package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/test/judge"
)

// stream is a steady flow of messages into the bed's topic, spread evenly over
// its partitions.
type stream struct {
	bed  *bed
	stop chan struct{}
	done chan struct{}
	once sync.Once
	err  error

	mu     sync.Mutex
	sent   map[string]time.Time // when a message was handed to the producer, by its key
	stalls []stall
}

// stall is a time in which the stream itself did not get on: machine or broker
// had no time for it.
type stall struct{ from, to time.Time }

// stalled is what counts as one.
const stalled = 300 * time.Millisecond

// every is how often a stream sends.
const every = 10 * time.Millisecond

// stream produces that many messages a second until end is called.
func (b *bed) stream(rate int) *stream {
	b.t.Helper()
	conf := sarama.NewConfig()
	conf.Producer.Return.Successes = true
	conf.Producer.RequiredAcks = sarama.WaitForAll
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	producer, err := sarama.NewSyncProducer(b.broker.Addrs(), conf)
	if err != nil {
		b.t.Fatal(err)
	}
	s := &stream{bed: b, stop: make(chan struct{}), done: make(chan struct{}), sent: map[string]time.Time{}}
	go func() {
		defer close(s.done)
		defer producer.Close()
		s.err = s.run(producer, rate)
	}()
	b.t.Cleanup(func() { s.once.Do(func() { close(s.stop) }); <-s.done })
	return s
}

func (s *stream) run(producer sarama.SyncProducer, rate int) error {
	began := time.Now()
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := began
	for n := 0; ; {
		select {
		case <-s.stop:
			return nil
		case <-tick.C:
		}
		if now := time.Now(); now.Sub(last) > stalled {
			s.stalls = append(s.stalls, stall{last, now})
		}
		last = time.Now()
		var batch []*sarama.ProducerMessage
		s.mu.Lock()
		for due := int(time.Since(began).Seconds() * float64(rate)); n < due; n++ {
			partition := n % partitions
			key := fmt.Sprintf("%d-%d", partition, s.bed.counts[partition])
			s.bed.counts[partition]++
			s.sent[key] = time.Now()
			batch = append(batch, &sarama.ProducerMessage{
				Topic: s.bed.topic, Partition: int32(partition), Key: sarama.StringEncoder(key), Value: sarama.StringEncoder("x"),
			})
		}
		s.mu.Unlock()
		if len(batch) > 0 {
			if err := producer.SendMessages(batch); err != nil {
				return err
			}
		}
	}
}

// end stops the stream and returns how many messages it has sent.
func (s *stream) end() int {
	s.bed.t.Helper()
	s.once.Do(func() { close(s.stop) })
	<-s.done
	if s.err != nil {
		s.bed.t.Fatalf("produce: %v", s.err)
	}
	return len(s.sent)
}

// delays are the times from the production of each message of the stream to the
// end of its (first) processing, ascending. Those sent within a second of a stall
// are left out: what they measure is not the product.
func (s *stream) delays(records []judge.Record) []time.Duration {
	return s.delaysOf(records, func(sent time.Time) bool { return !s.hadStalled(sent) })
}

// delaysOf is delays of those sent at times that count.
func (s *stream) delaysOf(records []judge.Record, counts func(sent time.Time) bool) []time.Duration {
	first := map[string]time.Duration{}
	for _, r := range records {
		if at, ok := s.sent[r.Key]; ok && r.Topic == s.bed.topic && counts(at) {
			d := r.End.Sub(at)
			if was, seen := first[r.Key]; !seen || d < was {
				first[r.Key] = d
			}
		}
	}
	return slices.Sorted(maps.Values(first))
}

func (s *stream) hadStalled(at time.Time) bool {
	return slices.ContainsFunc(s.stalls, func(x stall) bool {
		return at.After(x.from.Add(-time.Second)) && at.Before(x.to.Add(time.Second))
	})
}

// share is how many of the sorted delays are within a limit, of all.
func share(delays []time.Duration, limit time.Duration) float64 {
	n, _ := slices.BinarySearch(delays, limit+1)
	return float64(n) / float64(len(delays))
}

// late tells when the messages of the stream that took longer than limit were
// produced, in spans counted from began.
func (s *stream) late(records []judge.Record, limit time.Duration, began time.Time) string {
	var spans []string
	var from, to, longest time.Duration
	n := 0
	flush := func() {
		if n > 0 {
			spans = append(spans, fmt.Sprintf("%d produced %.1f-%.1f s after the start, up to %v", n, from.Seconds(), to.Seconds(), longest.Round(time.Millisecond)))
		}
		n, longest = 0, 0
	}
	slices.SortFunc(records, func(a, b judge.Record) int { return s.sent[a.Key].Compare(s.sent[b.Key]) })
	for _, r := range records {
		at, ok := s.sent[r.Key]
		if d := r.End.Sub(at); ok && d > limit {
			if begin := at.Sub(began); n == 0 || begin-to > time.Second {
				flush()
				from = begin
			}
			to = at.Sub(began)
			longest = max(longest, d)
			n++
		}
	}
	flush()
	return strings.Join(spans, "; ")
}
