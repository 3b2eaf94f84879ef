package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/IBM/sarama"
)

// Ends asks the leaders where their partitions' logs end, with the messages of
// transactions that are still open, as Kafka's own tools show it. sarama knows
// only what the last fetch that brought messages has seen.
//
// The answer holds those partitions for which there is one; err says why others
// are missing, of which the first is told. It returns when ctx ends; what has been
// asked by then ends with the client at the latest.
func (c *Client) Ends(ctx context.Context, partitions []TopicPartition) (map[TopicPartition]int64, error) {
	return c.endsWithin(ctx, partitions, sarama.ReadUncommitted)
}

// StableEnds are the ends of what has been committed: a transaction that is open and
// all behind it lie beyond them. See Ends.
func (c *Client) StableEnds(ctx context.Context, partitions []TopicPartition) (map[TopicPartition]int64, error) {
	return c.endsWithin(ctx, partitions, sarama.ReadCommitted)
}

func (c *Client) endsWithin(ctx context.Context, partitions []TopicPartition, isolation sarama.IsolationLevel) (map[TopicPartition]int64, error) {
	type result struct {
		ends map[TopicPartition]int64
		err  error
	}
	done := make(chan result, 1)
	go func() {
		ends, err := c.ends(partitions, isolation)
		done <- result{ends, err}
	}()
	select {
	case r := <-done:
		return r.ends, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (c *Client) ends(partitions []TopicPartition, isolation sarama.IsolationLevel) (map[TopicPartition]int64, error) {
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
	for leader, of := range asked {
		wg.Go(func() {
			ends, err := c.endsAt(leader, of, isolation)
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

// endsAt asks one broker.
func (c *Client) endsAt(leader *sarama.Broker, partitions []TopicPartition, isolation sarama.IsolationLevel) (map[TopicPartition]int64, error) {
	req := sarama.NewOffsetRequest(c.Config().Version)
	req.IsolationLevel = isolation
	for _, p := range partitions {
		req.AddBlock(p.Topic, p.Partition, sarama.OffsetNewest, 1)
	}
	resp, err := leader.GetAvailableOffsets(req)
	if err != nil {
		_ = leader.Close() // not usable any more; opened again by whoever needs it
		return nil, fmt.Errorf("ends of partitions at %s: %w", leader.Addr(), err)
	}
	ends := make(map[TopicPartition]int64, len(partitions))
	for _, p := range partitions {
		block := resp.GetBlock(p.Topic, p.Partition)
		switch {
		case block == nil:
			err = fmt.Errorf("end of %s: %w", p, sarama.ErrIncompleteResponse)
		case !errors.Is(block.Err, sarama.ErrNoError):
			err = fmt.Errorf("end of %s: %w", p, block.Err)
			if errors.Is(block.Err, sarama.ErrNotLeaderForPartition) || errors.Is(block.Err, sarama.ErrUnknownTopicOrPartition) {
				_ = c.RefreshMetadata(p.Topic) // another leader will be asked next time
			}
		default:
			ends[p] = block.Offset
		}
	}
	return ends, err
}

// hollowBytes is how much of a log's end Hollow looks at in one fetch, and hollowFetches
// how many it makes.
const (
	hollowBytes   = 256 << 10
	hollowFetches = 16
)

// Hollow reports whether a consumer at offset from has nothing to come before end,
// though it is below: what lies there are markers of transactions, or messages of
// such as were aborted. In case of doubt it has. A transaction that is still open
// counts as something to come.
func (c *Client) Hollow(p TopicPartition, from, end int64) (bool, error) {
	for range hollowFetches {
		next, err := c.hollowUpTo(p, from, end)
		if err != nil || next >= end {
			return err == nil, err
		}
		if next == from {
			return false, nil
		}
		from = next
	}
	return false, nil
}

// hollowUpTo fetches from an offset on, and returns up to where there is nothing to come.
func (c *Client) hollowUpTo(p TopicPartition, from, end int64) (int64, error) {
	leader, err := c.Leader(p.Topic, p.Partition)
	if err != nil {
		return 0, fmt.Errorf("leader of %s: %w", p, err)
	}
	isolation := c.Config().Consumer.IsolationLevel
	req := &sarama.FetchRequest{Version: 4, MaxBytes: hollowBytes, Isolation: isolation}
	req.AddBlock(p.Topic, p.Partition, from, hollowBytes, -1)
	resp, err := leader.Fetch(req)
	if err != nil {
		_ = leader.Close() // see endsAt
		return 0, fmt.Errorf("look at the end of %s: %w", p, err)
	}
	block := resp.GetBlock(p.Topic, p.Partition)
	if block == nil {
		return 0, fmt.Errorf("look at the end of %s: %w", p, sarama.ErrIncompleteResponse)
	}
	if !errors.Is(block.Err, sarama.ErrNoError) {
		return 0, fmt.Errorf("look at the end of %s: %w", p, block.Err)
	}
	var aborted []*sarama.AbortedTransaction // whose messages do not count
	if isolation == sarama.ReadCommitted {
		if block.LastStableOffset < end {
			return from, nil
		}
		aborted = slices.Clone(block.AbortedTransactions)
	}
	for _, records := range block.RecordsSet {
		b := records.RecordBatch
		switch {
		case b == nil: // of before Kafka 0.11
			return from, nil
		case b.FirstOffset >= end: // came meanwhile
			return from, nil
		case b.LastOffset() < from:
		case b.Control:
			if i := abortOf(aborted, b); i >= 0 && isAbort(b) {
				aborted = slices.Delete(aborted, i, i+1)
			}
		case !b.IsTransactional || abortOf(aborted, b) < 0:
			return from, nil
		}
		from = max(from, b.LastOffset()+1)
	}
	return from, nil
}

// abortOf is the place of the aborted transaction that b belongs to, else -1: its
// producer's, begun no later than b. One producer may have committed before it aborts.
func abortOf(aborted []*sarama.AbortedTransaction, b *sarama.RecordBatch) int {
	return slices.IndexFunc(aborted, func(t *sarama.AbortedTransaction) bool {
		return t.ProducerID == b.ProducerID && t.FirstOffset <= b.FirstOffset
	})
}

// isAbort reports whether a control batch is the end of an aborted transaction:
// its key is a version and a type, of 16 bits each.
func isAbort(b *sarama.RecordBatch) bool {
	return len(b.Records) == 1 && len(b.Records[0].Key) >= 4 && binary.BigEndian.Uint16(b.Records[0].Key[2:]) == 0
}
