// Package producer sends messages to Kafka with acks=all and idempotence. A Producer reports
// the delivery of each message, which has its own deadline. A TxnProducer sends messages in
// transactions, together with the offsets of the messages consumed. The package is not covered
// by the compatibility promise.
package producer
