//go:build !race

package worker

// raceDetector says that rates mean nothing in this binary.
const raceDetector = false
