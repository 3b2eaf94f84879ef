//go:build !race

package seeds

const raceDetector = false
