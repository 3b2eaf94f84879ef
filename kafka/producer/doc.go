// Package producer sends messages to Kafka with acks=all and idempotence, each with a
// deadline and a report of its own (Producer), or as transactions together with the
// offsets of what was consumed (TxnProducer). It is not covered by the compatibility
// promise.
package producer
