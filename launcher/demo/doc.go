// Package demo is `racecar demo`: everything racecar is, on real input, with
// nothing installed. It starts the embedded broker, runs the consumer of
// examples/quakes under a supervisor with three workers, feeds it a week of real
// earthquakes, and shows what happens.
// It is not covered by the compatibility promise.
//
// Nothing in it is staged: supervisor and workers are the processes that any
// consumer gets, told apart from the launcher by one variable (Variable) that
// makes this binary their program. What the demo knows of them it asks of the
// control socket; what they did it reads from their output topic.
//
//	demo.go    the command and its order of events
//	stage.go   broker and supervisor
//	feed.go    earthquakes in
//	tally.go   assessments out, counted
//	picture.go the terminal's picture
//	lines.go   lines, where there is no terminal, and the summary
package demo
