// Package consumers counts words.
package consumers

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strconv"

	"github.com/racecar-go/racecar/racecar"
)

// WordCountConsumer counts the words of a batch of lines and produces one message
// for each word with its number in the batch. The sum of a word's messages is its total number.
//
// The consumer keeps no counts in memory. They would be wrong after an aborted transaction, since
// ProcessBatch is called again, while nobody sees the output of the first call.
type WordCountConsumer struct{ out racecar.Producer }

// NewWordCountConsumer returns a WordCountConsumer.
func NewWordCountConsumer(rt racecar.Runtime) (*WordCountConsumer, error) {
	return &WordCountConsumer{out: rt.Producer}, nil
}

// ProcessBatch counts the words of a batch.
func (c *WordCountConsumer) ProcessBatch(ctx context.Context, lines []*racecar.Message) error {
	counts := map[string]int{}
	for _, line := range lines {
		for word := range bytes.FieldsSeq(bytes.ToLower(line.Value)) {
			counts[string(word)]++
		}
	}
	for _, word := range slices.Sorted(maps.Keys(counts)) {
		err := c.out.Produce(ctx, racecar.ProducerMessage{
			Topic: "word-counts",
			Key:   []byte(word),
			Value: strconv.AppendInt(nil, int64(counts[word]), 10),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Spec makes the consumer transactional: readers with isolation level read_committed see the
// words of each line counted exactly once.
var Spec = racecar.Spec{
	Subscriptions: []racecar.Subscription{{Topic: "lines"}},
	Transactional: true,
}

func init() { racecar.Register(NewWordCountConsumer, Spec) }
