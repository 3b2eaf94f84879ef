package launcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/racecar-go/racecar/cli"
	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/manual"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/launcher/demo"
	"github.com/racecar-go/racecar/supervisor"
)

// Main is the racecar command. It returns the exit code, or never: it becomes
// the program.
func Main() int {
	if owner := os.Getenv(demo.Variable); owner != "" {
		return runDemoProgram(owner)
	}
	if filepath.Base(os.Args[0]) == "racecarctl" {
		return cli.Run(os.Args)
	}
	if err := dispatch(os.Args[1:]); err != nil {
		if code, ok := errors.AsType[exitCode](err); ok {
			return int(code)
		}
		report(os.Stderr, err)
		return 1
	}
	return 0
}

// startError is an error of starting consumers, which begins as the program's own do;
// those of our own commands begin with `racecar: `.
type startError struct{ error }

func (e startError) Unwrap() error { return e.error }

// report writes the error that ends the command.
func report(stderr io.Writer, err error) {
	start, ok := errors.AsType[startError](err)
	if !ok {
		fmt.Fprintf(stderr, "racecar: %v\n", err)
		return
	}
	err = start.error
	if b, ok := errors.AsType[*buildError](err); ok { // the line of the crash is the last one
		fmt.Fprintln(stderr, b.err)
		err = fmt.Errorf("%s failed: the go command's errors are above", b.what)
	}
	supervisor.Banner{W: stderr}.Crashed(err)
}

// exitCode ends the command with that code, without a message.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// runDemoProgram is what this binary does as the program of the demo, whose pid
// is given: the supervisor, which ends when the demo is gone, or a worker.
func runDemoProgram(owner string) int {
	if pid, err := strconv.Atoi(owner); err == nil && os.Getenv(wire.EnvRole) == "" {
		go func() {
			untilOrphaned(context.Background(), pid)
			_ = syscall.Kill(os.Getpid(), syscall.SIGTERM) // ourselves: it cannot fail
		}()
	}
	return cli.Run(os.Args)
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
		return startError{err}
	}
	own := append(a.program, a.rest...) // flags may come before the command
	switch a.command {
	case "completion", "man":
		return exitCode(cli.Run(os.Args, commandsForHelp()))
	case "broker":
		return command("broker", "Run a Kafka broker for development.", &brokerCommand{}, own)
	case "build":
		return command("build", "Build a program of this module's consumers.", &buildCommand{}, own)
	case "install":
		return command("install", "Set up a module for consumers.", &installCommand{}, own)
	case "generate":
		return command("generate", "Write code to begin with.", &generateCommand{}, own)
	case "demo":
		return command("demo", "Watch supervised workers at work on real earthquakes.", &demo.Command{}, own)
	}
	if (a.help || a.version) && role == "" {
		return exitCode(cli.Run(os.Args, commandsForHelp()))
	}
	err = run(a, role)
	if _, ok := errors.AsType[exitCode](err); ok {
		return err
	}
	return startError{err} // run returns errors only
}

// commandsForHelp describes the launcher's commands to help, completions and man page.
func commandsForHelp() manual.Commands {
	return manual.Commands{Help: ownHelp, Grammar: []kong.Option{
		kong.DynamicCommand("demo", "Watch supervised workers at work on real earthquakes.", "", &demo.Command{}),
		kong.DynamicCommand("install", "Set up a module for consumers.", "", &installCommand{}),
		kong.DynamicCommand("generate", "Write code to begin with.", "", &generateCommand{}),
		kong.DynamicCommand("build", "Build a program of this module's consumers.", "", &buildCommand{}),
		kong.DynamicCommand("broker", "Run a Kafka broker for development.", "", &brokerCommand{}),
	}}
}

// takesValue says whether a flag of the program is followed by a value: all do
// but boolean ones.
func takesValue(flag string) bool {
	if slices.Contains([]string{"dev", "inline", "all", "check", "help", "help-all", "version", "json", "changed"}, flag) {
		return false
	}
	for _, k := range config.Keys() {
		if k.Type == config.TypeBoolean && (flag == k.Flag || flag == "no-"+k.Flag) {
			return false
		}
	}
	return true
}
