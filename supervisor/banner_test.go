package supervisor

import (
	"errors"
	"os"
)

func ExampleBanner() {
	b := Banner{W: os.Stdout}
	b.Starting("BenchConsumer")
	b.Logging("d.log")
	b.Ready()
	b.HowToStop()
	b.Probe()
	b.Background()
	b.Pidfile("/run/d.pid")
	b.AlreadyRunning("/run/d.pid")
	b.Crashed(errors.New("no consumer specified"))
	// Output:
	// => Starting Racecar consumer BenchConsumer...
	// => Logging to d.log
	// => Wrooooom!
	// => Ctrl-C to shutdown consumer
	// => Liveness probe enabled
	// => Starting background process
	// => Writing PID to /run/d.pid
	// => Racecar is already running with that PID file (/run/d.pid)
	// => Crashed: no consumer specified
}
