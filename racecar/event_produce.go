package racecar

import "time"

// The events of producing. What a consumer produces tells of itself by
// ProduceMessageEvent, DeliverMessagesEvent, AcknowledgedMessageEvent and
// ProduceDeliveryErrorEvent; a standalone producer by ProduceSyncEvent,
// ProduceAsyncEvent and the latter two.

// ProduceMessageEvent: a consumer queued a message (produce_message).
type ProduceMessageEvent struct {
	Topic       string
	Key         []byte
	MessageSize int   // bytes of the value
	BufferSize  int   // messages not acknowledged yet, this one included
	Err         error // why it was not queued; nil: it was
}

// DeliverMessagesEvent: a consumer waited for what it had queued
// (deliver_messages).
type DeliverMessagesEvent struct {
	Messages int // how many it waited for
	Duration time.Duration
	Err      error
}

// ProduceSyncEvent: ProduceSync returned (produce_sync).
type ProduceSyncEvent struct {
	Topic       string
	Key         []byte
	MessageSize int
	BufferSize  int
	Duration    time.Duration // until it was acknowledged or given up
	Err         error
}

// ProduceAsyncEvent: ProduceAsync returned (produce_async).
type ProduceAsyncEvent struct {
	Topic       string
	Key         []byte
	MessageSize int
	BufferSize  int
	Duration    time.Duration // of the wait for room
	Err         error         // why it was not queued; nil: it was
}

// AcknowledgedMessageEvent: the brokers have a message (acknowledged_message).
type AcknowledgedMessageEvent struct {
	Topic     string
	Partition int32
	Offset    int64 // -1: not known, since the broker recognised a repetition
}

// ProduceDeliveryErrorEvent: a queued message was finally not delivered
// (produce_delivery_error).
type ProduceDeliveryErrorEvent struct {
	Topic     string
	Partition int32 // -1: none was chosen
	Err       error
}

func (ProduceMessageEvent) EventName() string       { return "produce_message" }
func (DeliverMessagesEvent) EventName() string      { return "deliver_messages" }
func (ProduceSyncEvent) EventName() string          { return "produce_sync" }
func (ProduceAsyncEvent) EventName() string         { return "produce_async" }
func (AcknowledgedMessageEvent) EventName() string  { return "acknowledged_message" }
func (ProduceDeliveryErrorEvent) EventName() string { return "produce_delivery_error" }
