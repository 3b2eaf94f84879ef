// Package racecartest helps to test consumers. Calling Process with a &racecar.Message{…} needs
// nothing from here. Beyond that there are three steps:
//
//   - Run makes the consumer, hands it messages as a worker does, and returns the messages that
//     it produced and the error of each message. It needs no broker, waits for nothing, and
//     starts no goroutine. Runtime is what it gives the constructor.
//   - NewBroker gives the test its own Kafka broker, in the test's process.
//   - RunWorker runs a real worker against that broker, with group membership, commits, retries,
//     dead letters and output. Its helpers wait for progress, inject failures, and force a
//     rebalance.
//
// Everything that a test starts ends with the test.
package racecartest
