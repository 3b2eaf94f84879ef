package event

import (
	"time"

	"github.com/racecar-go/racecar/internal/producerevent"
)

// The events of producing. What a consumer produces tells of itself by
// ProduceMessage, DeliverMessages, AcknowledgedMessage and
// ProduceDeliveryError; a standalone producer by ProduceSync,
// ProduceAsync and the latter two.

// ProduceMessage: a consumer queued a message (produce_message).
type ProduceMessage struct {
	Topic       string
	Key         []byte
	MessageSize int   // bytes of the value
	BufferSize  int   // messages not acknowledged yet, this one included
	Err         error // why it was not queued; nil: it was
}

// DeliverMessages: a consumer waited for what it had queued
// (deliver_messages).
type DeliverMessages struct {
	Messages int // how many it waited for
	Duration time.Duration
	Err      error
}

// ProduceSync: ProduceSync returned (produce_sync).
type ProduceSync struct {
	Topic       string
	Key         []byte
	MessageSize int
	BufferSize  int
	Duration    time.Duration // until it was acknowledged or given up
	Err         error
}

// ProduceAsync: ProduceAsync returned (produce_async).
type ProduceAsync struct {
	Topic       string
	Key         []byte
	MessageSize int
	BufferSize  int
	Duration    time.Duration // of the wait for room
	Err         error         // why it was not queued; nil: it was
}

// AcknowledgedMessage: the brokers have a message (acknowledged_message).
type AcknowledgedMessage struct {
	Topic     string
	Partition int32
	Offset    int64 // -1: not known, since the broker recognised a repetition
}

// ProduceDeliveryError: a queued message was finally not delivered
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
