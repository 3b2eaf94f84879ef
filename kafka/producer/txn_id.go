package producer

import (
	"fmt"

	"github.com/racecar-go/racecar/kafka"
)

// Transactional ids name places in a group. A place has one owner at a time, and
// its next owner, which uses the same id, ends what the one before left open.
// Two owners that live would abort each other's transactions for ever, so an id
// must never be shared; and an id that nobody takes again leaves an open
// transaction to transaction.timeout.ms, for which readers then wait.
//
// All begin with the group and a slash, so that one ACL on prefixed ids covers
// them. No other character of a topic or a place is a slash, so no two groups
// come to the same id.

// TransactionalIDForPartition is the id of an instance that works on one
// partition alone (Concurrency): whoever gets the partition next takes it,
// wherever that is.
func TransactionalIDForPartition(group string, tp kafka.TopicPartition) string {
	return fmt.Sprintf("%s/%s/%d", group, tp.Topic, tp.Partition)
}

// TransactionalIDForWorker is the id of an instance that works on all partitions
// of a worker. place names the worker's slot: its replacement has it as well, and
// no other worker ever.
func TransactionalIDForWorker(group, place string) string {
	return fmt.Sprintf("%s/%s", group, place)
}
