package producer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/access"
)

// concurrentBackoff is the pause while the coordinator ends the previous transaction,
// which takes about 30 ms (KAFKA-5482).
const concurrentBackoff = 10 * time.Millisecond

// unknownTries is how often EndTxn is retried after an unknown server error.
const unknownTries = 10

// txnCoordinator sends requests to the coordinators of a transaction: of its transactional
// id, and of the groups whose offsets are in it. It sends one at a time, on its own
// connections, which it cuts at a timeout.
type txnCoordinator struct {
	p      *Producer
	id     string // the transactional id
	conf   *sarama.Config
	dialer *access.Dialer

	mu      sync.Mutex // held during a request; guards brokers
	brokers map[kafka.CoordinatorKey]*sarama.Broker
}

func newTxnCoordinator(p *Producer, id string) *txnCoordinator {
	d := p.conf.Access.Dialer(p.ctx, nil)
	return &txnCoordinator{p: p, id: id, conf: p.conf.SaramaConfig(d, 0), dialer: d, brokers: map[kafka.CoordinatorKey]*sarama.Broker{}}
}

func (c *txnCoordinator) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key := range c.brokers {
		c.forget(key)
	}
	c.dialer.Abort()
}

// do retries a request until its result is final or ctx ends.
func (c *txnCoordinator) do(ctx context.Context, key kafka.CoordinatorKey, request func(*sarama.Broker) error) error {
	for failures := 1; ; failures++ {
		err := c.once(ctx, key, request)
		if err == nil || ctx.Err() != nil || !retriable(err) {
			return err
		}
		pause := c.p.backoff(failures)
		if errors.Is(err, sarama.ErrConcurrentTransactions) {
			pause = concurrentBackoff
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%w (last answer: %w)", context.Cause(ctx), err)
		case <-c.p.ctx.Done():
			return errProducerClosed
		}
	}
}

// once makes a request. The end of ctx cuts the connection.
func (c *txnCoordinator) once(ctx context.Context, key kafka.CoordinatorKey, request func(*sarama.Broker) error) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	stop := context.AfterFunc(ctx, c.dialer.CloseConnections)
	defer stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := c.find(ctx, key)
	if err == nil {
		if err = request(b); moved(err) {
			c.forget(key)
		}
	}
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w (last answer: %w)", context.Cause(ctx), err)
	}
	return err
}

func (c *txnCoordinator) forget(key kafka.CoordinatorKey) {
	if b := c.brokers[key]; b != nil {
		_ = b.Close() // "not connected" is fine
		delete(c.brokers, key)
	}
}

// find returns a connection to a coordinator, and finds it first if necessary.
func (c *txnCoordinator) find(ctx context.Context, key kafka.CoordinatorKey) (*sarama.Broker, error) {
	if b := c.brokers[key]; b != nil {
		_ = b.Open(c.conf) // an open one says so; a failing one fails the request
		return b, nil
	}
	found, err := kafka.FindCoordinator(ctx, c.p.conf, c.p.addresses(), key)
	if err != nil {
		return nil, fmt.Errorf("find the coordinator of %q: %w", key.Key, err)
	}
	b := sarama.NewBroker(found)
	c.brokers[key] = b
	_ = b.Open(c.conf)
	return b, nil
}

func (c *txnCoordinator) own() kafka.CoordinatorKey {
	return kafka.CoordinatorKey{Kind: sarama.CoordinatorTransaction, Key: c.id}
}

// init requests a producer id. With a valid current one it requests the next epoch, which
// the coordinator refuses if another producer has the id (KIP-360). Without, it takes the
// id over: the previous owner is fenced and its transaction aborted.
func (c *txnCoordinator) init(ctx context.Context, current producerID, timeout time.Duration) (producerID, error) {
	req := &sarama.InitProducerIDRequest{Version: 4, TransactionalID: &c.id, TransactionTimeout: timeout, ProducerID: -1, ProducerEpoch: -1}
	if current.valid {
		req.ProducerID, req.ProducerEpoch = current.id, current.epoch
	}
	var next producerID
	err := c.do(ctx, c.own(), func(b *sarama.Broker) error {
		resp, err := b.InitProducerID(req)
		if err != nil {
			return err
		}
		if resp.Err != sarama.ErrNoError {
			return resp.Err
		}
		next = producerID{id: resp.ProducerID, epoch: resp.ProducerEpoch, valid: true}
		return nil
	})
	return next, wrapTxn(err, "take transactional id %q", c.id)
}

// addPartitions makes one attempt to add partitions to the transaction.
func (c *txnCoordinator) addPartitions(ctx context.Context, id producerID, parts []*partitionQueue) error {
	topics := map[string][]int32{}
	for _, q := range parts {
		topics[q.topic] = append(topics[q.topic], q.id)
	}
	err := c.once(ctx, c.own(), func(b *sarama.Broker) error {
		resp, err := b.AddPartitionsToTxn(&sarama.AddPartitionsToTxnRequest{Version: 3, TransactionalID: c.id,
			ProducerID: id.id, ProducerEpoch: id.epoch, TopicPartitions: topics})
		if err != nil {
			return err
		}
		return decidingError(resp.Errors, topics)
	})
	return wrapTxn(err, "add partitions to the transaction")
}

// addOffsets adds a group's offsets to the transaction.
func (c *txnCoordinator) addOffsets(ctx context.Context, id producerID, group string, m kafka.Member, offsets map[kafka.TopicPartition]kafka.Commit) error {
	err := c.do(ctx, c.own(), func(b *sarama.Broker) error {
		resp, err := b.AddOffsetsToTxn(&sarama.AddOffsetsToTxnRequest{Version: 3, TransactionalID: c.id,
			ProducerID: id.id, ProducerEpoch: id.epoch, GroupID: group})
		if err != nil {
			return err
		}
		return asError(resp.Err)
	})
	if err != nil {
		return wrapTxn(err, "add group %q to the transaction", group)
	}
	req := &sarama.TxnOffsetCommitRequest{Version: 3, TransactionalID: c.id, GroupID: group,
		ProducerID: id.id, ProducerEpoch: id.epoch, GenerationID: m.Generation, MemberID: m.MemberID,
		Topics: map[string][]*sarama.PartitionOffsetMetadata{}}
	if m.InstanceID != "" {
		req.GroupInstanceID = &m.InstanceID
	}
	asked := map[string][]int32{}
	for tp, o := range offsets {
		asked[tp.Topic] = append(asked[tp.Topic], tp.Partition)
		req.Topics[tp.Topic] = append(req.Topics[tp.Topic], &sarama.PartitionOffsetMetadata{
			Partition: tp.Partition, Offset: o.Offset, LeaderEpoch: o.Epoch.Leader(), Metadata: &o.Metadata})
	}
	var refused map[kafka.TopicPartition]error
	err = c.do(ctx, kafka.CoordinatorKey{Kind: sarama.CoordinatorGroup, Key: group}, func(b *sarama.Broker) error {
		resp, err := b.TxnOffsetCommit(req)
		if err != nil {
			return err
		}
		if refused = kafka.RefusedOffsets(resp.Topics); len(refused) > 0 {
			return nil // answered, and not to be asked again
		}
		return decidingError(resp.Topics, asked)
	})
	if err == nil && len(refused) > 0 {
		err = &kafka.OffsetsRefusedError{Partitions: refused}
	}
	return wrapTxn(err, "add offsets of group %q to the transaction", group)
}

// endTxn commits or aborts the transaction.
func (c *txnCoordinator) endTxn(ctx context.Context, id producerID, commit bool) error {
	unknown := 0
	again := false // an attempt before this one may have been carried out
	err := c.do(ctx, c.own(), func(b *sarama.Broker) error {
		resp, err := b.EndTxn(&sarama.EndTxnRequest{Version: 3, TransactionalID: c.id,
			ProducerID: id.id, ProducerEpoch: id.epoch, TransactionResult: commit})
		before := again
		switch {
		case err != nil:
			again = again || mayBeStored(err)
			return err
		case resp.Err == sarama.ErrNoError:
			return nil
		case resp.Err == sarama.ErrUnknown && unknown < unknownTries:
			unknown++ // a coordinator that is stopping says so; asking again does no harm
			again = true
			return fmt.Errorf("%w, where the coordinator said: %w", errRetry, resp.Err)
		}
		again = true
		if before && !retriable(resp.Err) {
			return fmt.Errorf("%w: %w", errUnknownOutcome, resp.Err)
		}
		return resp.Err
	})
	if commit {
		return wrapTxn(err, "commit the transaction")
	}
	return wrapTxn(err, "abort the transaction")
}

// decidingError is the error of a request with an answer for each partition: a final one,
// else a retriable one, since adding a partition or an offset again does no harm. A
// missing answer is an error.
func decidingError(answers map[string][]*sarama.PartitionError, asked map[string][]int32) error {
	var passing error
	answered := 0
	for topic, partitions := range answers {
		for _, a := range partitions {
			if slices.Contains(asked[topic], a.Partition) {
				answered++
			}
			switch {
			case a.Err == sarama.ErrNoError:
			case !retriable(a.Err) && a.Err != sarama.ErrOperationNotAttempted:
				return fmt.Errorf("%s/%d: %w", topic, a.Partition, a.Err)
			case a.Err != sarama.ErrOperationNotAttempted || passing == nil:
				passing = a.Err
			}
		}
	}
	want := 0
	for _, partitions := range asked {
		want += len(partitions)
	}
	if passing == nil && answered < want {
		return sarama.ErrIncompleteResponse
	}
	return passing
}

// wrapTxn adds what failed.
func wrapTxn(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
}
