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
//	kafka/fetch ──batches──> cursor of its partition ──executor──> Process ──> position
//	                                                                  │           │
//	                                                               producer     commit loop
//	                                                                  └─> acks ───┘
//
// sarama keeps the membership and fetches nothing: ConsumeClaim opens a partition at the
// fetcher (group_handler.go) and waits for its end. The scheduler (scheduler.go) gives executors
// partitions that have messages and that nothing holds (holds.go); an executor
// (executor.go) runs consumer code of one for a quantum of 50 ms. There are as many
// executors as the configured concurrency. A cursor (cursor.go) decodes batches, holds them
// until their output is acknowledged, and goes back to a message that has to be processed
// again. Acks (acks.go) say how far the offset may move; the commit loop (commit.go) is the
// only one that commits, but for transactions.
//
// # Who owns what
//
//   - A partition (partition.go) is one claim: the time from assignment to
//     revocation. Its pointer is its epoch; nothing of an old one reaches a new one.
//     Its fields are grouped by who may use them.
//   - While a partition is busy, its executor owns the cursor and the failure state.
//     Its holds, and what waits of it, belong to scheduler.mu.
//   - No lock is taken while another is held, but for those that docs/internals.md names.
//     None is held while consumer code runs, but instance.mu, which a quantum holds.
//
// # How it ends
//
// Begin no new calls (Leaving closes), let calls in hand finish, wait for their
// output, commit, run the hooks, tear down, return from Consume, and only then
// leave the group: removing a member whose session is open loses its last commit.
package worker
