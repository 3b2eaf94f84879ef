// Package worker is the child process: a member of a Kafka consumer group that calls
// consumer code with messages and commits their offsets. It is not covered by the
// compatibility promise.
//
// It promises that it commits an offset only when every earlier message is finished: its
// call returned nil and everything that the call produced was acknowledged, or the message
// was skipped or dead-lettered. With ordering key and none, the commit's metadata says which
// messages beyond the offset are finished as well. The messages of a partition (with ordering
// key, those with the same key) are processed one at a time, in the order of their offsets. A slow, paused or failing partition delays no other. After
// a graceful shutdown no message is processed twice. The package does not supervise itself
// (package supervisor does), daemonize or read configuration.
//
// # From the broker to the commit
//
//	kafka/fetch ──batches──> cursor of its partition ──executor──> Process ──> position
//	                                                                  │           │
//	                                                               producer     commit loop
//	                                                                  └─> acks ───┘
//
// sarama keeps the membership and fetches nothing: ConsumeClaim opens a partition at the
// fetcher (group_handler.go) and waits for the end of the claim. The scheduler
// (scheduler.go, ready_list.go) gives executors partitions that have messages and that nothing
// holds (holds.go). An executor (executor.go) serves one partition for a quantum of 50 ms.
// There are as many executors as the configured concurrency. A cursor (cursor.go) decodes
// batches, which goroutines of their own may have opened ahead (opener.go), keeps them until
// their output is acknowledged, and goes back to a message that has to be processed again.
// Acks (acks.go) say how far the offset may move. The commit loop (commit.go) commits it,
// and transactions (txn.go) commit the offsets of transactional consumers.
//
// With ordering key and none, several executors have messages of one partition in hand
// (lanes_runner.go); package lanes decides which messages may begin.
//
// decide.go decides what happens to a message, and failure.go carries that out. outages.go
// holds partitions whose dependency is unavailable.
//
// # Who owns what
//
//   - A partition (partition.go) is one claim: the time from assignment to
//     revocation. Its pointer is its epoch; nothing of an old one reaches a new one.
//     Its fields are grouped by who may use them.
//   - While a partition is busy, its executor owns the cursor and the failure state.
//     scheduler.mu guards its holds and the counts of its waiting messages.
//   - Locks are taken in the order that docs/internals.md gives. While consumer code runs,
//     only instance.mu is held: for a quantum, with ordering key and none for a call.
//
// # Shutdown
//
// A worker begins no new calls (Leaving closes), waits for the calls in hand and their
// output, commits, runs the hooks, returns from Consume, tears down, and only then
// leaves the group: removing a member whose session is open loses its last commit.
package worker
