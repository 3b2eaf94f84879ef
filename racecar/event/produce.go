package event

import (
	"time"

	"github.com/racecar-go/racecar/internal/producerevent"
)

// The events of producing. A consumer's producer emits ProduceMessage, DeliverMessages,
// AcknowledgedMessage and ProduceDeliveryError; a standalone producer emits ProduceSync,
// ProduceAsync and the last two. MessageSize is the number of bytes of the value, BufferSize
// the number of messages that are not acknowledged yet, including this one.

// ProduceMessage: a consumer has queued a message (produce_message).
type ProduceMessage struct {
	Topic       string
	Key         []byte
	MessageSize int
	BufferSize  int
	Err         error // why the message was not queued; nil: it was
}

// DeliverMessages: a consumer has waited for the messages that it queued
// (deliver_messages).
type DeliverMessages struct {
	Messages int // how many it has waited for
	Duration time.Duration
	Err      error
}

// ProduceSync: a producer's ProduceSync has returned (produce_sync).
type ProduceSync struct {
	Topic       string
	Key         []byte
	MessageSize int
	BufferSize  int
	Duration    time.Duration // until the message was acknowledged or had failed
	Err         error
}

// ProduceAsync: a producer's ProduceAsync has returned (produce_async).
type ProduceAsync struct {
	Topic       string
	Key         []byte
	MessageSize int
	BufferSize  int
	Duration    time.Duration // of the wait for room in the buffer
	Err         error         // why the message was not queued; nil: it was
}

// AcknowledgedMessage: the brokers have acknowledged a message (acknowledged_message).
type AcknowledgedMessage struct {
	Topic     string
	Partition int32
	Offset    int64 // -1: unknown, since the broker recognised a message that was sent again
}

// ProduceDeliveryError: a queued message could not be delivered and is not sent again
// (produce_delivery_error).
type ProduceDeliveryError struct {
	Topic     string
	Partition int32 // -1: none was chosen
	Err       error
}

func (ProduceMessage) EventName() string       { return "produce_message" }
func (DeliverMessages) EventName() string      { return "deliver_messages" }
func (ProduceSync) EventName() string          { return "produce_sync" }
func (ProduceAsync) EventName() string         { return "produce_async" }
func (AcknowledgedMessage) EventName() string  { return "acknowledged_message" }
func (ProduceDeliveryError) EventName() string { return "produce_delivery_error" }

func init() {
	producerevent.SetConvert(func(r producerevent.Report) producerevent.Event {
		switch r.Name {
		case "produce_sync":
			return ProduceSync{Topic: r.Topic, Key: r.Key, MessageSize: r.MessageSize, BufferSize: r.BufferSize, Duration: r.Duration, Err: r.Err}
		case "produce_async":
			return ProduceAsync{Topic: r.Topic, Key: r.Key, MessageSize: r.MessageSize, BufferSize: r.BufferSize, Duration: r.Duration, Err: r.Err}
		case "acknowledged_message":
			return AcknowledgedMessage{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}
		case "produce_delivery_error":
			return ProduceDeliveryError{Topic: r.Topic, Partition: r.Partition, Err: r.Err}
		}
		return r
	})
}
