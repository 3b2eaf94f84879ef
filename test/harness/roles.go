package harness

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
)

// Variables of the processes that a test starts.
const (
	roleVar    = "RACECAR_TEST_ROLE"    // which function of Main's to run
	tokenVar   = "RACECAR_TEST_TOKEN"   // names the test's processes in /proc
	journalVar = "RACECAR_TEST_JOURNAL" // the directory of their journals
)

// Main is what TestMain calls: it runs the tests, or, in a process that Start
// started with a role, that role. It returns the exit code.
func Main(m *testing.M, roles map[string]func()) int {
	name, isRole := os.LookupEnv(roleVar)
	if !isRole {
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
