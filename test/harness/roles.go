package harness

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/racecar-go/racecar/test/seeds"
)

// Variables of the processes that a test starts.
const (
	roleVar    = "TESTBED_ROLE"    // which function of Main's to run
	tokenVar   = "TESTBED_TOKEN"   // names the test's processes in /proc
	journalVar = "TESTBED_JOURNAL" // the directory of their journals
)

// Main is what TestMain calls: it runs the tests, or, in a process that Start
// started with a role, that role. It returns the exit code.
func Main(m *testing.M, roles map[string]func()) int {
	name, isRole := os.LookupEnv(roleVar)
	if !isRole {
		seeds.Parallel(3) // tests of processes wait more than they work
		return m.Run()
	}
	role, known := roles[name]
	if !known {
		fmt.Fprintf(os.Stderr, "harness: no role %q among those of TestMain: %q\n", name, slices.Sorted(maps.Keys(roles)))
		return 2
	}
	role()
	return 0
}
