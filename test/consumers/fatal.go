//go:build !race

package consumers

// runtimeFatal ends the process by a fatal error of the runtime, which nothing
// recovers from.
func runtimeFatal() {
	m := map[int]int{}
	go func() {
		for {
			m[0]++
		}
	}()
	for {
		m[1]++
	}
}
