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
// for each word: how often it was there. The sum of all messages of a word is how
// often it was there at all.
//
// It keeps no count itself. A count in memory would be wrong once a transaction is
// aborted, since ProcessBatch is called again then; what it produced the first
// time is visible to nobody.
type WordCountConsumer struct{ out racecar.Producer }

// NewWordCountConsumer makes one.
func NewWordCountConsumer(rt racecar.Runtime) (*WordCountConsumer, error) {
	return &WordCountConsumer{out: rt.Producer}, nil
}

// ProcessBatch counts a batch's words.
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

// Spec makes counting and producing one: readers with isolation level
// read_committed see the words of each line counted exactly once.
var Spec = racecar.Spec{
	Subscriptions: []racecar.Subscription{{Topic: "lines"}},
	Transactional: true,
}

func init() { racecar.Register(NewWordCountConsumer, Spec) }
