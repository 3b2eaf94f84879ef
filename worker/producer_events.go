package worker

import (
	"time"

	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/racecar/event"
)

// A consumer's output is reported to observers; without observers this costs a
// comparison.

// reportQueued reports that Produce is about to return.
func (p *instanceProducer) reportQueued(m *producer.Message, err error) {
	if p.w.opts.Emit == nil {
		return
	}
	p.w.emit(event.ProduceMessage{Topic: m.Topic, Key: m.Key, MessageSize: len(m.Value), BufferSize: p.inFlight(), Err: err})
}

// reportOutcome reports that a message was delivered, or could not be delivered.
func (p *instanceProducer) reportOutcome(topic string, partition int32, offset int64, err error) {
	switch {
	case p.w.opts.Emit == nil:
	case err == nil:
		p.w.emit(event.AcknowledgedMessage{Topic: topic, Partition: partition, Offset: offset})
	default:
		p.w.emit(event.ProduceDeliveryError{Topic: topic, Partition: partition, Err: err})
	}
}

// reportDelivered reports a wait for all queued messages, if there were any.
func (p *instanceProducer) reportDelivered(wait func() error) error {
	began, n := time.Now(), p.inFlight()
	err := wait()
	if n == 0 && err == nil {
		return nil
	}
	p.w.emit(event.DeliverMessages{Messages: n, Duration: time.Since(began), Err: err})
	return err
}
