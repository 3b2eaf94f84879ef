// Package fetch reads the records of partitions: it decodes record batches of every format and
// codec that Kafka has had straight into racecar.Message. It joins no group and commits nothing.
//
// It is internal to Racecar and not covered by the compatibility promise.
package fetch
