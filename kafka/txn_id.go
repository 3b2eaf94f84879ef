package kafka

import "fmt"

// Transactional ids name places in a group. A place has one owner at a time, and
// its next owner, which uses the same id, ends what the one before left open.
// Two owners that live would abort each other's transactions for ever, so an id
// must never be shared; and an id that nobody takes again leaves an open
// transaction to transaction.timeout.ms, for which readers then wait.

// TransactionalIDForPartition is the id of an instance that works on one
// partition alone (Concurrency): whoever gets the partition next takes it,
// wherever that is.
func TransactionalIDForPartition(group string, tp TopicPartition) string {
	return fmt.Sprintf("racecar-%s-%s-%d", group, tp.Topic, tp.Partition)
}

// TransactionalIDForWorker is the id of an instance that works on all partitions
// of a worker. place is the worker's group.instance.id, which its replacement
// has as well and no other worker ever. Without one (membership dynamic) it is
// anything that no other process uses.
func TransactionalIDForWorker(group, place string) string {
	return fmt.Sprintf("racecar-%s-%s", group, place)
}
