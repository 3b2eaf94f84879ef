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

// Ends asks the leaders for the end offsets of partitions, as Kafka's own tools do: the
// messages of open transactions count. sarama knows only the high watermark of the last
// fetch that returned messages.
//
// The result lacks partitions whose leader did not answer; err is the first error of
// those. Ends returns when ctx ends; running requests end with the client.
func (c *Client) Ends(ctx context.Context, partitions []TopicPartition) (map[TopicPartition]int64, error) {
	return c.endsWithin(ctx, partitions, sarama.ReadUncommitted)
}

// StableEnds returns the last stable offsets: before the first open transaction. See Ends.
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

// OnlyControlRecords fetches at most controlBytes at a time, controlFetches times.
const (
	controlBytes   = 256 << 10
	controlFetches = 16
)

// OnlyControlRecords reports whether a consumer gets no messages between offset from and
// end: the log contains only control records and aborted transactions there. It reports
// false if it cannot tell, and for open transactions.
func (c *Client) OnlyControlRecords(p TopicPartition, from, end int64) (bool, error) {
	for range controlFetches {
		next, err := c.controlRecordsUpTo(p, from, end)
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

// controlRecordsUpTo fetches from an offset and returns the offset up to which a consumer
// gets no messages.
func (c *Client) controlRecordsUpTo(p TopicPartition, from, end int64) (int64, error) {
	leader, err := c.Leader(p.Topic, p.Partition)
	if err != nil {
		return 0, fmt.Errorf("leader of %s: %w", p, err)
	}
	isolation := c.Config().Consumer.IsolationLevel
	req := &sarama.FetchRequest{Version: 4, MaxBytes: controlBytes, Isolation: isolation}
	req.AddBlock(p.Topic, p.Partition, from, controlBytes, -1)
	resp, err := leader.Fetch(req)
	if err != nil {
		_ = leader.Close() // see endsAt
		return 0, fmt.Errorf("read the end of %s: %w", p, err)
	}
	block := resp.GetBlock(p.Topic, p.Partition)
	if block == nil {
		return 0, fmt.Errorf("read the end of %s: %w", p, sarama.ErrIncompleteResponse)
	}
	if !errors.Is(block.Err, sarama.ErrNoError) {
		return 0, fmt.Errorf("read the end of %s: %w", p, block.Err)
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

// abortOf returns the index of the aborted transaction that contains b: the producer's
// transaction that began before b. -1: none, as the producer may also have committed.
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
