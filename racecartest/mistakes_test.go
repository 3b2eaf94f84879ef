package racecartest

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/racecar-go/racecar/racecar"
)

// A test fails if the program under test has registered a consumer that cannot be run. The
// registry belongs to the process, so this needs a separate one.
func TestMistakesOfRegisterFailTheTest(t *testing.T) {
	const inside = "RACECARTEST_MISTAKE"
	if os.Getenv(inside) != "" {
		racecar.Register(func(racecar.Runtime) (racecar.ProcessFunc, error) { return nil, nil }, racecar.Spec{Name: "X"})
		Run(t, func(racecar.Runtime) (racecar.ProcessFunc, error) {
			return func(context.Context, *racecar.Message) error { return nil }, nil
		}, nil)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMistakesOfRegisterFailTheTest$", "-test.count=1")
	cmd.Env = append(os.Environ(), inside+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "mistakes_test.go:18: Register of X: Spec.Subscriptions is empty") {
		t.Errorf("%v\n%s", err, out)
	}
}
