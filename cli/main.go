// Package cli is the command line of an app binary: a program whose main calls
// Main and imports the packages that register consumers.
//
// One binary has several roles. As it is typed, it is the supervisor (or runs
// a subcommand). Under the name racecarctl it is racecarctl. Re-executed by a
// supervisor it is a worker, or a one-shot child: see package wire.
//
// Logs go to stdout unless logfile says otherwise, as upstream; banner lines
// (`=> …`) and errors go to stderr; subcommands that print results print them to
// stdout and log to stderr.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"time"

	"github.com/racecar-go/racecar/ctl"
	"github.com/racecar-go/racecar/internal/manual"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/supervisor"
)

// The exit codes of an app binary; racecarctl has its own.
const (
	exitOK     = 0 // stopped gracefully, or done
	exitFailed = 1 // anything else
)

// closeTimeout bounds what is left to deliver by the default producer when the
// process ends.
const closeTimeout = 10 * time.Second

// closeProducer delivers what the default producer has, if it was used.
func closeProducer() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return racecar.Close(ctx)
}

// Main runs the program and exits. It never returns.
func Main() { os.Exit(Run(os.Args)) }

// Run runs the program with args (args[0] is its name) and returns the exit code: 0 after
// a graceful stop, else 1. Main calls it; call it from a main that has something to do
// afterwards. own is the launcher's.
func Run(args []string, own ...manual.Commands) (code int) {
	if role := takeRole(); role != "" {
		return runRole(role, args)
	}
	defer func() {
		if err := closeProducer(); err != nil {
			code = fail(os.Stderr, fmt.Errorf("close the producer: %w", err))
		}
	}()
	if len(args) > 0 && filepath.Base(args[0]) == "racecarctl" {
		return ctl.Main(args[1:], os.Stdin, os.Stdout, os.Stderr)
	}
	in, err := parseArgs(args, own...)
	var done printed
	switch {
	case errors.As(err, &done):
		return done.write(os.Stdout)
	case err != nil:
		return fail(os.Stderr, err)
	}
	if err := in.run(in, os.Stdout, os.Stderr); err != nil {
		var code exitCode
		if errors.As(err, &code) {
			return int(code)
		}
		return fail(os.Stderr, err)
	}
	return exitOK
}

// exitCode ends the program with that code, without a further message.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// lastLineWithin bounds the last line, so that a stderr that nobody reads does not delay
// the exit.
const lastLineWithin = 2 * time.Second

// fail prints each problem of err on a line of its own, as upstream begins them.
func fail(stderr io.Writer, err error) int {
	written := make(chan struct{})
	go func() { defer close(written); supervisor.Banner{W: stderr}.Crashed(err) }()
	select {
	case <-written:
	case <-time.After(lastLineWithin):
	}
	return exitFailed
}
