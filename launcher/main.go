package launcher

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/wire"
)

// Main is the racecar command. It returns the exit code, or never: it becomes
// the program.
func Main() int {
	if err := dispatch(os.Args[1:]); err != nil {
		if errors.Is(err, errStopped) {
			return 0
		}
		fmt.Fprintf(os.Stderr, "racecar: %v\n", err)
		return 1
	}
	return 0
}

func dispatch(args []string) error {
	role := wire.Role(os.Getenv(wire.EnvRole))
	if role == roleDevBroker {
		if err := os.Unsetenv(wire.EnvRole); err != nil {
			return err
		}
		return runDevBroker(args)
	}
	a, err := parseArguments(args, takesValue)
	if err != nil {
		return err
	}
	own := append(a.program, a.rest...) // flags may come before the command
	switch a.command {
	case "broker":
		return command("broker", "Run a Kafka broker for development.", &brokerCommand{}, own)
	case "build":
		return command("build", "Build a program of this module's consumers.", &buildCommand{}, own)
	}
	return run(a, role)
}

// takesValue says whether a flag of the program is followed by a value: all do
// but boolean ones.
func takesValue(flag string) bool {
	if slices.Contains([]string{"dev", "inline", "all", "check", "help", "version", "json", "changed"}, flag) {
		return false
	}
	for _, k := range config.Keys() {
		if k.Type == config.TypeBoolean && (flag == k.Flag || flag == "no-"+k.Flag) {
			return false
		}
	}
	return true
}
