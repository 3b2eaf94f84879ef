package supervisor

import (
	"io"

	"github.com/racecar-go/racecar/internal/printable"
)

// Banner writes the messages of a start to stderr, in upstream's words, which are an
// interface. Errors of writing are ignored.
type Banner struct{ W io.Writer }

func (b Banner) line(format string, args ...any) {
	printable.Fprintf(b.W, "=> "+format+"\n", args...)
}

// Starting names the consumer, before anything is loaded.
func (b Banner) Starting(consumer string) { b.line("Starting Racecar consumer %s...", consumer) }

// Logging names the log file as it was given.
func (b Banner) Logging(logfile string) { b.line("Logging to %s", logfile) }

// Ready follows when everything was loaded.
func (b Banner) Ready() { b.line("Wrooooom!") }

// HowToStop is for the foreground.
func (b Banner) HowToStop() { b.line("Ctrl-C to shutdown consumer") }

// Probe reports that liveness is shown by touching a file.
func (b Banner) Probe() { b.line("Liveness probe enabled") }

// Background reports that the process goes there.
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
