package supervisor

import (
	"io"

	"github.com/racecar-go/racecar/internal/printable"
)

// Banner writes what `racecar` says at its start, in upstream's words: they are
// an interface, and go to stderr. Errors of writing are nobody's concern.
type Banner struct{ W io.Writer }

func (b Banner) line(format string, args ...any) {
	printable.Fprintf(b.W, "=> "+format+"\n", args...)
}

// Starting names the consumer, before anything is loaded.
func (b Banner) Starting(consumer string) { b.line("Starting Racecar consumer %s...", consumer) }

// Logging names the log file as it was given.
func (b Banner) Logging(logfile string) { b.line("Logging to %s", logfile) }

// Ready says that everything was loaded.
func (b Banner) Ready() { b.line("Wrooooom!") }

// HowToStop is for those in the foreground.
func (b Banner) HowToStop() { b.line("Ctrl-C to shutdown consumer") }

// Probe says that liveness is shown by touching a file.
func (b Banner) Probe() { b.line("Liveness probe enabled") }

// Background says that the process goes there.
func (b Banner) Background() { b.line("Starting background process") }

// Pidfile gives the absolute path.
func (b Banner) Pidfile(path string) { b.line("Writing PID to %s", path) }

// AlreadyRunning refuses a second start with the same pidfile.
func (b Banner) AlreadyRunning(path string) {
	b.line("Racecar is already running with that PID file (%s)", path)
}

// Crashed is the last line after an error, and one for each problem of several.
func (b Banner) Crashed(err error) {
	for _, line := range printable.Lines(err) {
		b.line("Crashed: %s", line)
	}
}
