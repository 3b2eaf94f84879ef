// Package worker is the child process: a member of a Kafka consumer group that
// hands messages to consumer code and commits what is done.
// It is not covered by the compatibility promise.
//
// What it promises: an offset is committed only after Process returned nil and
// everything it produced was acknowledged; within a partition messages are
// handled one at a time, in offset order; a slow, paused or failing partition
// holds up no other; a graceful end processes nothing twice. What it does not
// do: supervise itself (package supervisor does), daemonize, read configuration.
//
// # The way of a message
//
//	sarama claim ──pump──> queue of its partition ──turn──> Process ──> position
//	                                                           │           │
//	                                                        producer     commit loop
//	                                                           └─> acks ───┘
//
// A pump (pump.go) empties the claim's channel into the partition's queue
// (queue.go), bounded in messages and bytes; it is never blocked for long, since
// sarama would hold up all partitions of that broker. An executor takes turns
// (turns.go): it picks a partition, runs consumer code for one message or 50 ms,
// and picks again. There are as many executors as the configured concurrency.
// Acks (acks.go) tell how far the offset may move; the commit loop (commit.go)
// is the only one that commits.
//
// # Who owns what
//
//   - A partition (partition.go) is one claim: the time from assignment to
//     revocation. Its pointer is its epoch; nothing of an old one reaches a new one.
//   - While a partition is busy, its executor owns the cursor, the kept messages
//     and the failure state. Queue, flags and waiting belong to turns.mu.
//   - No lock is taken while another is held, but for those that docs/internals.md names.
//     None is held while consumer code runs, but instance.mu, which a turn holds.
//
// # How it ends
//
// Stop taking (Leaving closes), let calls in hand finish, wait for what they
// produced, commit, run the hooks, tear down, return from Consume, and only then
// leave the group: removing a member whose session is open loses its last commit.
package worker
