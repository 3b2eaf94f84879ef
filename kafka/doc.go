// Package kafka sets up IBM/sarama: the settings of every client (Config), and what a
// consumer needs in addition to a sarama consumer group: a separate coordinator connection,
// commits that return the broker's answer, and the removal of other members from a group. It is not
// covered by the compatibility promise.
//
// Connections come from kafka/access, kafka/fetch consumes and kafka/producer produces. The
// package does not know workers and supervisors, and starts no goroutine that outlives the
// object to which it belongs. Its only global state is sarama's logger, see SetLogger.
package kafka
