package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/logs"
	"github.com/racecar-go/racecar/internal/registered"
	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/supervisor/daemon"
	"github.com/racecar-go/racecar/worker"
)

// takeRole returns what a re-executed binary is to do, and removes the variable
// that says so, so that users' own children do not inherit it.
func takeRole() wire.Role {
	role := os.Getenv(wire.EnvRole)
	if role != "" {
		// Unsetenv fails only for a malformed name.
		_ = os.Unsetenv(wire.EnvRole)
	}
	return wire.Role(role)
}

// runRole runs a child of the supervisor and returns its exit code.
func runRole(role wire.Role, args []string) int {
	conn, err := inheritedConn()
	if err != nil {
		fmt.Fprintf(os.Stderr, "racecar: %s is set, but this process was not started by a supervisor: %v\n", wire.EnvRole, err)
		return wire.ExitCrash
	}
	switch role {
	case wire.RoleWorker:
		return runWorker(conn)
	case wire.RolePlan:
		return runPlan(conn, args)
	case wire.RoleLeave:
		return runLeave(conn)
	}
	fmt.Fprintf(os.Stderr, "racecar: unknown role %q: supervisor and worker are of different versions\n", role)
	return wire.ExitPermanent
}

// inheritedConn takes the socket that the supervisor passed down.
func inheritedConn() (*wire.Conn, error) {
	f := os.NewFile(wire.SocketFD, "supervisor")
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil { // c has its own descriptor
		return nil, err
	}
	return wire.NewConn(c), nil
}

// readFirst reads the message that a child needs first. What a supervisor of a later
// release says before it is ignored.
func readFirst(conn *wire.Conn, kind wire.Kind, v any) error {
	for {
		e, err := conn.Read()
		if err != nil {
			return err
		}
		if e.Kind == kind {
			return e.Decode(v)
		}
	}
}

// hello agrees with the supervisor on a version of the protocol.
func hello(conn *wire.Conn, offered wire.Versions) (permanent bool, err error) {
	v, err := wire.Agree(offered, wire.Supported())
	if err != nil {
		return true, err
	}
	return false, conn.Write(wire.KindHello, wire.Hello{Version: v})
}

func runWorker(conn *wire.Conn) int {
	// A terminal's signals are for the supervisor, which sends commands; a broken stdout
	// or stderr must not kill the worker.
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGTSTP)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()

	var h wire.Handshake
	if err := readFirst(conn, wire.KindHandshake, &h); err != nil {
		return exitReason(conn, fmt.Errorf("handshake: %w", err), false)
	}
	if permanent, err := hello(conn, h.Versions); err != nil {
		return exitReason(conn, err, permanent)
	}
	if err := config.ApplyFunctions(&h.Consumer.Config, registered.Configures()); err != nil {
		return exitReason(conn, fmt.Errorf("configure: %w", err), true)
	}
	log, err := openLog(&h.Consumer.Config, h.LogLevel)
	if err != nil {
		return exitReason(conn, err, false)
	}
	defer closeLog(log)
	// So that lines of consumer code through the package functions of slog and log go to
	// the same log.
	slog.SetDefault(logs.Slog(logrus.NewEntry(log.Logger).WithFields(logrus.Fields{"consumer": h.Consumer.Name, "worker": h.Index})))
	board, err := inheritedBoard()
	if err != nil {
		return exitReason(conn, err, false)
	}
	return runWatched(ctx, workerOptions(conn, board, h, log), log)
}

// workerOptions are those of a worker, supervised (conn and board set) or not.
func workerOptions(conn *wire.Conn, board *scoreboard.Board, h wire.Handshake, log *logs.Log) worker.Options {
	return worker.Options{
		Conn: conn, Board: board, Handshake: h, Lookup: registered.Lookup, Log: log.Logger,
		Middlewares: registered.Middlewares(), Setups: registered.Setups(), Mistakes: registered.Mistakes,
		PrintConfig: func(w io.Writer) {
			fmt.Fprintf(w, "=> Configuration of %s (PID = %d)\n", status.Name(h.Consumer.Name, h.Index), os.Getpid())
			printConfig(w, h.Consumer)
		},
		SetLogLevel: func(level string) error { return setLevel(log, level) },
		Reopen:      func() error { return reopenWorker(log, &h.Consumer.Config) },
		LogProblem:  log.Problem,
	}
}

// reopenWorker reopens the log after a rename. The stdout of a daemon's workers is
// the same file.
func reopenWorker(log *logs.Log, c *config.Config) error {
	err := log.Reopen()
	if c.Daemonize && c.Logfile != "" {
		err = errors.Join(err, daemon.ReopenOutput(c.Logfile, 1))
	}
	return err
}

// exitReason reports why this worker does not start to the supervisor, which logs it, or
// on stderr if there is none.
func exitReason(conn *wire.Conn, err error, permanent bool) int {
	if conn == nil || conn.Write(wire.KindExitReason, wire.ExitReason{Reason: err.Error(), Permanent: permanent}) != nil {
		fmt.Fprintf(os.Stderr, "racecar: %v\n", err)
	}
	if permanent {
		return wire.ExitPermanent
	}
	return wire.ExitCrash
}

func openLog(c *config.Config, level string) (*logs.Log, error) {
	if level != "" {
		changed := *c
		changed.LogLevel = level
		c = &changed
	}
	log, err := logs.Open(c, os.Stdout)
	if err != nil {
		return nil, err
	}
	// A line is written before the worker goes on, unless nobody reads the log: then lines
	// are dropped, and messages are not delayed.
	log.Detach(logTimeout, os.Stderr)
	kafka.SetLogger(log.WithField("component", "sarama"))
	return log, nil
}

// logTimeout is how long a worker waits, once, for its log to take a line; then it drops
// lines until the log is read again.
const logTimeout = time.Second

func closeLog(log *logs.Log) {
	if err := log.Close(); err != nil {
		fmt.Fprintf(os.Stderr, "racecar: close logfile: %v\n", err)
	}
}

func inheritedBoard() (*scoreboard.Board, error) {
	f := os.NewFile(wire.ScoreboardFD, "scoreboard")
	board, err := scoreboard.Open(f)
	return board, errors.Join(err, f.Close())
}

func runLeave(conn *wire.Conn) int {
	var l wire.Leave
	if err := readFirst(conn, wire.KindLeave, &l); err != nil {
		fmt.Fprintf(os.Stderr, "racecar: leave: %v\n", err)
		return wire.ExitCrash
	}
	reply := wire.Reply{}
	err := config.ApplyFunctions(&l.Consumer.Config, registered.Configures())
	if err == nil {
		err = worker.RemoveMembers(context.Background(), l)
	}
	if err != nil {
		reply.Error = err.Error()
	}
	if err := conn.Write(wire.KindReply, reply); err != nil {
		fmt.Fprintf(os.Stderr, "racecar: leave: %v\n", err)
		return wire.ExitCrash
	}
	if reply.Error != "" {
		return wire.ExitCrash
	}
	return wire.ExitOK
}
