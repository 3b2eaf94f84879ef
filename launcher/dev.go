package launcher

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/devkafka"
	"github.com/racecar-go/racecar/internal/wire"
)

// devData is where the embedded broker of development keeps its data, in the
// module's root.
const devData = "tmp/racecar-dev"

// defaultPort is the port at which clients expect Kafka by default.
const defaultPort = 9092

// roleDevBroker is the launcher's own role: the broker beside a program that
// was started with --dev. Arguments: data directory, pid of the program.
const roleDevBroker wire.Role = "dev-broker"

// startDev starts the embedded broker beside this process, which is about to
// become the program, and returns the environment that points there.
//
// The broker is a child of ours in a process group of its own, so that the
// terminal's interrupt leaves it alone until the program has committed, and it
// ends when the program does. Several programs of one module share a broker:
// one serves the data directory, the others' stand by to take over.
func startDev(a arguments, environ []string) ([]string, error) {
	if a.brokers {
		return nil, errors.New("--dev starts its own broker: leave out --brokers")
	}
	if slices.Contains(a.program, "--daemonize") {
		return nil, errors.New("--dev does not work with --daemonize, because its broker ends with the terminal: start `racecar broker` and leave out --dev")
	}
	addr, err := spawnDevBroker(devDataDir())
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "=> Embedded broker at %s, data in %s\n", addr, devData)
	return setenv(environ, "RACECAR_BROKERS="+addr, config.EnvDevelopment+"="+addr), nil
}

// setenv returns environ with pairs in the place of what it had under their names:
// of two of one name a program that we become takes the first, and that could be a
// broker in production.
func setenv(environ []string, pairs ...string) []string {
	kept := slices.DeleteFunc(slices.Clone(environ), func(have string) bool {
		name, _, _ := strings.Cut(have, "=")
		return slices.ContainsFunc(pairs, func(pair string) bool { return strings.HasPrefix(pair, name+"=") })
	})
	return append(kept, pairs...)
}

// devDataDir is devData in the module you stand in, else in the working
// directory.
func devDataDir() string {
	if m, err := findModule("."); err == nil {
		return filepath.Join(m.root, filepath.FromSlash(devData))
	}
	return filepath.FromSlash(devData)
}

// spawnDevBroker starts the broker process and waits for its address.
func spawnDevBroker(dir string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	cmd := exec.Command(self, dir, strconv.Itoa(os.Getpid()))
	cmd.Env = append(os.Environ(), wire.EnvRole+"="+string(roleDevBroker))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("start the embedded broker: %w", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil { // it has said why on stderr
		return "", errors.Join(errors.New("the embedded broker did not start"), ignoreExit(cmd.Wait()))
	}
	return strings.TrimSpace(line), nil
}

func ignoreExit(err error) error {
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil
	}
	return err
}

// runDevBroker is the broker process beside a program.
func runDevBroker(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("role %s wants a data directory and a pid", roleDevBroker)
	}
	program, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		untilOrphaned(ctx, program)
	}()
	announce := func(addr string) {
		fmt.Println(addr)
		_ = os.Stdout.Close() // whoever waits for the end of our output need not
	}
	return serveOrStandBy(ctx, args[0], announce)
}

// untilOrphaned returns when the process that started us is gone. It keeps its
// pid when it becomes the program.
func untilOrphaned(ctx context.Context, parent int) {
	// There is no portable event for it: ask, five times a second.
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for os.Getppid() == parent {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// serveOrStandBy serves a data directory until ctx ends; while another broker
// does, it waits to take its place. announce is told once where to connect.
func serveOrStandBy(ctx context.Context, dir string, announce func(addr string)) error {
	announced := ""
	for ctx.Err() == nil {
		b, err := startBroker(dir, preferredPort(dir))
		if err != nil {
			other, busy := errors.AsType[*devkafka.InUseError](err)
			if !busy {
				return err
			}
			if announced == "" && other.Addr == "" {
				// It has the lock and has not said where it listens yet: whoever started us
				// waits for the address.
				select {
				case <-ctx.Done():
				case <-time.After(20 * time.Millisecond):
				}
				continue
			}
			if announced == "" {
				announced = other.Addr
				announce(announced)
			}
			if err := devkafka.WaitFree(ctx, dir); err != nil && ctx.Err() == nil {
				return err
			}
			continue
		}
		if announced == "" {
			announced = b.Addr()
			announce(announced)
		} else if b.Addr() != announced {
			stderrLog().WithField("address", b.Addr()).WithField("before", announced).Warn("embedded broker: another program took the port; start again")
		}
		<-ctx.Done()
		return b.Close()
	}
	return nil
}

// preferredPort is Kafka's own for a directory that was never served, so that
// clients find the broker without being told; 0 lets the broker choose the one of
// before.
func preferredPort(dir string) int {
	if _, err := os.Stat(filepath.Join(dir, "address")); err == nil {
		return 0
	}
	return defaultPort
}

// startBroker starts the broker at a port, or at any free one where somebody has
// that already.
func startBroker(dir string, port int) (*devkafka.Broker, error) {
	b, err := devkafka.Start(devkafka.Options{DataDir: dir, Port: port, Logger: stderrLog()})
	if port != 0 && errors.Is(err, syscall.EADDRINUSE) {
		return devkafka.Start(devkafka.Options{DataDir: dir, Logger: stderrLog()})
	}
	return b, err
}

func stderrLog() *logrus.Logger {
	l := logrus.New()
	l.SetOutput(os.Stderr)
	l.SetLevel(logrus.WarnLevel)
	return l
}
