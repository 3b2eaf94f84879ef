package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/IBM/sarama"
)

// EndOffsets asks the leaders for the end offsets of partitions, as Kafka's own tools do: the
// messages of open transactions count. sarama knows only the high watermark of the last
// fetch that returned messages.
//
// The result lacks partitions whose leader did not answer; err is the first error of
// those. EndOffsets returns when ctx ends; running requests end with the client.
func (c *Client) EndOffsets(ctx context.Context, partitions []TopicPartition) (map[TopicPartition]int64, error) {
	return c.endOffsetsWithin(ctx, partitions, sarama.ReadUncommitted)
}

// LastStableOffsets is EndOffsets up to the first open transaction of each partition.
func (c *Client) LastStableOffsets(ctx context.Context, partitions []TopicPartition) (map[TopicPartition]int64, error) {
	return c.endOffsetsWithin(ctx, partitions, sarama.ReadCommitted)
}

func (c *Client) endOffsetsWithin(ctx context.Context, partitions []TopicPartition, isolation sarama.IsolationLevel) (map[TopicPartition]int64, error) {
	type result struct {
		ends map[TopicPartition]int64
		err  error
	}
	done := make(chan result, 1)
	go func() {
		ends, err := c.endOffsets(partitions, isolation)
		done <- result{ends, err}
	}()
	select {
	case r := <-done:
		return r.ends, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (c *Client) endOffsets(partitions []TopicPartition, isolation sarama.IsolationLevel) (map[TopicPartition]int64, error) {
	var (
		asked = map[*sarama.Broker][]TopicPartition{}
		found = make(map[TopicPartition]int64, len(partitions))
		mu    sync.Mutex
		first error
		wg    sync.WaitGroup
	)
	failed := func(err error) {
		if first == nil {
			first = err
		}
	}
	for _, p := range partitions {
		leader, err := c.Leader(p.Topic, p.Partition)
		if err != nil {
			failed(fmt.Errorf("leader of %s: %w", p, err))
			continue
		}
		asked[leader] = append(asked[leader], p)
	}
	for leader, led := range asked {
		wg.Go(func() {
			ends, err := c.endOffsetsAt(leader, led, isolation)
			mu.Lock()
			defer mu.Unlock()
			for p, end := range ends {
				found[p] = end
			}
			if err != nil {
				failed(err)
			}
		})
	}
	wg.Wait()
	return found, first
}

// endOffsetsAt asks one broker for the end offsets of partitions that it leads.
func (c *Client) endOffsetsAt(leader *sarama.Broker, partitions []TopicPartition, isolation sarama.IsolationLevel) (map[TopicPartition]int64, error) {
	req := sarama.NewOffsetRequest(c.Config().Version)
	req.IsolationLevel = isolation
	for _, p := range partitions {
		req.AddBlock(p.Topic, p.Partition, sarama.OffsetNewest, 1)
	}
	resp, err := leader.GetAvailableOffsets(req)
	if err != nil {
		_ = leader.Close() // not usable any more; the next use opens it again
		return nil, fmt.Errorf("end offsets at %s: %w", leader.Addr(), err)
	}
	ends := make(map[TopicPartition]int64, len(partitions))
	for _, p := range partitions {
		block := resp.GetBlock(p.Topic, p.Partition)
		switch {
		case block == nil:
			err = fmt.Errorf("end offset of %s: %w", p, sarama.ErrIncompleteResponse)
		case !errors.Is(block.Err, sarama.ErrNoError):
			err = fmt.Errorf("end offset of %s: %w", p, block.Err)
			if errors.Is(block.Err, sarama.ErrNotLeaderForPartition) || errors.Is(block.Err, sarama.ErrUnknownTopicOrPartition) {
				_ = c.RefreshMetadata(p.Topic) // another leader will be asked next time
			}
		default:
			ends[p] = block.Offset
		}
	}
	return ends, err
}
