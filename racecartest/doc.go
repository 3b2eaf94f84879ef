// Package racecartest helps to test consumers. Calling Process with a
// &racecar.Message{…} needs nothing from here. Beyond that there are three steps:
//
//   - Run makes the consumer, hands it messages as a worker does, and tells what
//     it produced and the error of each message. No broker is involved, nothing
//     waits, nothing runs beside the test. Runtime is what it gives the
//     constructor.
//   - NewBroker gives the test a Kafka broker of its own, within the process.
//   - RunWorker runs a real worker against it: group membership, commits,
//     retries, dead letters, output. Its helpers wait for progress, inject
//     failures, and force a rebalance.
//
// Each takes the test and ends with it.
package racecartest
