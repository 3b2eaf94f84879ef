// Package fetch reads partitions: a Fetcher asks brokers for record batches, on demand and
// within one budget of memory, and a Batch decodes those of every format and codec that Kafka
// has had straight into racecar.Message. It joins no group and commits nothing.
// It is not covered by the compatibility promise.
package fetch
