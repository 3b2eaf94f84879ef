// Package fetch reads partitions. A Fetcher requests record batches from brokers, on demand and
// within one memory budget. A Batch decodes record batches of all of Kafka's formats and codecs
// directly into racecar.Message. The package joins no group and commits nothing. It is not
// covered by the compatibility promise.
package fetch
