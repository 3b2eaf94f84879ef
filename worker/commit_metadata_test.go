package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/racecar-go/racecar/internal/offsetmap"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// calls collects the offsets that Process was called with, and what was committed then.
type calls struct {
	mu        sync.Mutex
	offsets   []int64
	committed []string
}

func (c *calls) list() []int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.offsets)
}

// consume starts a worker that collects its calls.
func (c *calls) consume(t *testing.T, b *testbroker.Broker, group, topic string) *supervisor {
	t.Helper()
	reg := one(t, topic, func(_ context.Context, m *racecar.Message) error {
		k := topicPartition{topic, 0}
		commit := fmt.Sprint(b.Committed(group, topic, 0), " ", committedMetadata(t, b, group, k.topic, 0))
		c.mu.Lock()
		defer c.mu.Unlock()
		c.offsets, c.committed = append(c.offsets, m.Offset), append(c.committed, commit)
		return nil
	})
	cfg := testConfig(b, group)
	cfg.SynchronousCommits = true
	return start(t, reg, cfg)
}

// What the last owner of a partition has finished beyond the committed offset is not
// processed, and is committed further on.
func TestFinishedBeyondTheOffsetIsNotProcessed(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(10)...)
	before := offsetmap.Metadata{Offset: 2, LeaderEpoch: -1, Finished: offsetmap.Set{{First: 4, Next: 6}, {First: 8, Next: 9}}}
	commitFor(t, b, group, topic, 0, 2, before.Encode(maxMetadata))
	var c calls
	s := c.consume(t, b, group, topic)
	waitFor(t, "all messages", func() bool { return b.Committed(group, topic, 0) == 10 })
	s.stop()
	if want := []int64{2, 3, 6, 7, 9}; !slices.Equal(c.list(), want) {
		t.Errorf("processed: %v, want %v", c.list(), want)
	}
	for i, want := range []struct {
		offset   int64
		finished offsetmap.Set
	}{
		{2, before.Finished}, {3, before.Finished},
		{6, offsetmap.Set{{First: 8, Next: 9}}}, {7, offsetmap.Set{{First: 8, Next: 9}}}, {9, nil},
	} {
		offset, text, _ := strings.Cut(c.committed[i], " ")
		m, err := offsetmap.Decode(text)
		if offset != fmt.Sprint(want.offset) || err != nil || !slices.Equal(m.Finished, want.finished) {
			t.Errorf("while %d was in hand, %q was committed (%v)", c.offsets[i], c.committed[i], err)
		}
	}
}

// Metadata that cannot be meant, or cannot be read, makes no message look finished.
func TestMetadataIsIgnored(t *testing.T) {
	finished := offsetmap.Set{{First: 2, Next: 4}}
	for name, metadata := range map[string]string{
		"of another offset":       (&offsetmap.Metadata{Offset: 0, LeaderEpoch: -1, Finished: finished}).Encode(maxMetadata),
		"of another topic":        (&offsetmap.Metadata{Offset: 1, LeaderEpoch: -1, TopicID: offsetmap.TopicID{1, 2, 3, 4}, Finished: finished}).Encode(maxMetadata),
		"beyond the log's end":    (&offsetmap.Metadata{Offset: 1, LeaderEpoch: -1, Finished: offsetmap.Set{{First: 5, Next: 100}}}).Encode(maxMetadata),
		"damaged":                 strings.Replace((&offsetmap.Metadata{Offset: 1, LeaderEpoch: -1, Finished: finished}).Encode(maxMetadata), ";0;;", ";1;;", 1),
		"of a version to come":    "racecar:3;1;everything",
		"of another application":  "{}",
		"of ours, with no fields": "racecar:2;",
	} {
		t.Run(name, func(t *testing.T) {
			b := testbroker.New(t)
			topic, group := b.Topic(1), b.Group()
			b.Produce(topic, 0, values(5)...)
			commitFor(t, b, group, topic, 0, 1, metadata)
			var c calls
			s := c.consume(t, b, group, topic)
			waitFor(t, "the messages", func() bool { return b.Committed(group, topic, 0) == 5 })
			b.Produce(topic, 0, values(2)...)
			waitFor(t, "those that came later", func() bool { return b.Committed(group, topic, 0) == 7 })
			s.stop()
			if want := []int64{1, 2, 3, 4, 5, 6}; !slices.Equal(c.list(), want) {
				t.Errorf("processed: %v, want %v", c.list(), want)
			}
		})
	}
}

// Messages of a batch can be marked as finished one by one, although one before them has
// failed.
func TestMarkFinished(t *testing.T) {
	_, m := loneWorker(t)
	p := m.claim(topicPartition{"t", 0})
	p.begin(10, 0)
	commit := func() (int64, offsetmap.Set) {
		offset, text := p.commitPoint()
		found, err := offsetmap.Decode(text)
		if err != nil {
			t.Fatal(err)
		}
		return offset, found.Finished
	}
	p.markFinished(11, 14)
	p.markFinished(15, 16)
	if offset, finished := commit(); offset != 10 || !slices.Equal(finished, offsetmap.Set{{First: 11, Next: 14}, {First: 15, Next: 16}}) {
		t.Errorf("commits %d and %v", offset, finished)
	}
	p.markUnfinished(12)
	p.acks.processed.Store(11)
	if offset, finished := commit(); offset != 12 || !slices.Equal(finished, offsetmap.Set{{First: 13, Next: 14}, {First: 15, Next: 16}}) {
		t.Errorf("then it commits %d and %v", offset, finished)
	}
	messages := []racecar.Message{{Offset: 11}, {Offset: 12}, {Offset: 13}, {Offset: 14}, {Offset: 15}, {Offset: 16}}
	var left []int64
	for _, one := range unfinishedOf(messages, p.cursor.finished) {
		left = append(left, one.Offset)
	}
	if !slices.Equal(left, []int64{12, 14, 16}) {
		t.Errorf("%v are not finished", left)
	}
}
