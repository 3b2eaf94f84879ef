package wire

import "fmt"

// The versions of the protocol that this program speaks, as a supervisor and as a
// worker. The package's documentation says what calls for a new one.
const (
	MinVersion = 1
	MaxVersion = 2
)

// VersionOutages is the first version in which supervisor and workers share outages.
const VersionOutages = 2

// Versions is a range of protocol versions.
type Versions struct {
	Min int `json:"min"`
	Max int `json:"max"`
}

// Supported is the range that this program speaks.
func Supported() Versions { return Versions{MinVersion, MaxVersion} }

// Contains reports whether v is in the range.
func (r Versions) Contains(v int) bool { return r.Min <= v && v <= r.Max }

func (r Versions) String() string {
	if r.Min == r.Max {
		return fmt.Sprintf("version %d", r.Min)
	}
	return fmt.Sprintf("versions %d to %d", r.Min, r.Max)
}

// Agree returns the highest version that a supervisor and a program for its workers
// have in common. Without one the error says what to do.
func Agree(supervisor, program Versions) (int, error) {
	v := min(supervisor.Max, program.Max)
	if v < max(supervisor.Min, program.Min) {
		return 0, fmt.Errorf("the running supervisor speaks %s of the protocol between supervisor and workers, the program for the workers %s: stop Racecar and start it again with that program, a restart in place keeps the supervisor",
			supervisor, program)
	}
	return v, nil
}
