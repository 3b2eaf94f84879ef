// Package lanes decides which messages of one partition may begin, when messages of
// different keys are processed at the same time. It has no clock, no goroutine and no
// lock: its caller passes the time and guards a Partition. The package is not covered by the
// compatibility promise.
//
// A Partition knows every unfinished message from the committed offset to the position up
// to which its log was read. Messages with the same key form a lane: one at a time is in
// hand, in the order of their offsets, and one that failed delays those behind it alone. A
// message without a key has a lane of its own.
//
// What is finished beyond the lowest unfinished message is committed as a map of limited
// size (package offsetmap). A message begins only if that map still fits when the message,
// and all that have begun, end in whatever order. Offsets that do not exist count as
// finished.
//
// Messages that wait are held in memory up to a limit. Beyond it those behind a failed
// message are known by their offset alone, and fetched again when their turn comes.
package lanes
