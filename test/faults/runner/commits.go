package runner

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/internal/offsetmap"
	"github.com/racecar-go/racecar/test/judge"
)

// observeEvery is how often the group's commits are read.
const observeEvery = 200 * time.Millisecond

// observeCommits reads what the group has committed until the function that it returns is
// called, or ctx ends. While the brokers do not answer nothing is seen.
func (r *run) observeCommits(ctx context.Context) (stop func()) {
	r.commits = map[judge.Partition][]judge.Commit{}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			// The next round asks with connections of its own.
			_ = r.admin(func(a sarama.ClusterAdmin, c sarama.Client) error { return r.observe(ctx, a, c) })
			select {
			case <-time.After(observeEvery):
			case <-ctx.Done():
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

// observe goes on until ctx ends or something fails.
func (r *run) observe(ctx context.Context, a sarama.ClusterAdmin, c sarama.Client) error {
	tick := time.NewTicker(observeEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		ids, err := c.Partitions(r.topic)
		if err != nil {
			return err
		}
		got, err := a.ListConsumerGroupOffsets(r.group, map[string][]int32{r.topic: ids})
		if err != nil {
			return err
		}
		at := time.Now()
		for _, id := range ids {
			block := got.GetBlock(r.topic, id)
			if block == nil || !errors.Is(block.Err, sarama.ErrNoError) {
				return fmt.Errorf("offset of %s/%d: no answer", r.topic, id)
			}
			if block.Offset < 0 {
				continue
			}
			seen := judge.Commit{At: at, Offset: block.Offset}
			m, err := offsetmap.Decode(block.Metadata)
			if err != nil {
				r.problem("commit of %d in %s/%d: %v", block.Offset, r.topic, id, err)
			}
			if m.Applies(block.Offset, block.LeaderEpoch, offsetmap.TopicID{}) {
				for _, f := range m.Finished {
					seen.Finished = append(seen.Finished, judge.Range(f))
				}
			}
			p := judge.Partition{Topic: r.topic, Partition: id}
			r.commits[p] = append(r.commits[p], seen)
		}
	}
}
