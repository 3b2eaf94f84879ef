// Package kafka sets up IBM/sarama: the settings of every client (Config), and what a
// correct consumer needs beside a sarama consumer group: a coordinator connection of
// its own, commits whose answer is known, and leaving a group for another.
// It is not covered by the compatibility promise.
//
// Connections come from kafka/access; kafka/producer produces. The package knows nothing
// of workers and supervisors, starts no goroutine that outlives the object it belongs to,
// and has no state of its own beside sarama's one global logger, see SetLogger. It is not
// covered by the compatibility promise.
package kafka
