package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/ctl"
	"github.com/racecar-go/racecar/devkafka"
	"github.com/racecar-go/racecar/examples/quakes"
	"github.com/racecar-go/racecar/internal/status"
)

// Variable makes this binary the program of the demo instead of the launcher, in
// the supervisor and, as they inherit it, its workers. Its value is the pid of
// the demo.
const Variable = "RACECAR_INTERNAL_DEMO"

const (
	consumer   = "QuakeAlertConsumer"
	partitions = 8
)

// stage is what the demo plays on: broker, supervisor, and a folder for their
// files.
type stage struct {
	broker *devkafka.Broker
	cmd    *exec.Cmd
	ended  chan struct{} // closed when the supervisor has ended; exit is set then
	exit   error
	died   chan error // takes one error when it ends before strike
	client *ctl.Client
	dir    string
	log    string // of supervisor and workers
}

// build starts broker and supervisor.
func build() (_ *stage, err error) {
	dir, err := os.MkdirTemp("", "racecar-demo-")
	if err != nil {
		return nil, err
	}
	s := &stage{dir: dir, log: filepath.Join(dir, "racecar.log"), ended: make(chan struct{}), died: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.remove())
		}
	}()
	s.broker, err = devkafka.Start(devkafka.Options{Partitions: partitions})
	if err != nil {
		return nil, err
	}
	// One partition out, so that assessments are read in the order they came in.
	if err := errors.Join(s.broker.CreateTopic(quakes.Topic, partitions), s.broker.CreateTopic(quakes.Output, 1)); err != nil {
		return nil, err
	}
	return s, s.startSupervisor()
}

// startSupervisor starts this binary again as the supervisor of the consumer.
func (s *stage) startSupervisor() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	socket := filepath.Join(s.dir, "racecar.sock")
	s.cmd = exec.Command(self,
		"--brokers", s.broker.Addr(),
		"--control-socket", socket,
		"--logfile", s.log,
		"--worker-restart-limit", "-1", // the audience may kill as much as it likes
		"--offset-commit-interval", "1", // and sees little again then
		consumer)
	s.cmd.Dir = s.dir // no config/racecar.yml, and nobody's variables
	s.cmd.Env = append(withoutSettings(os.Environ()), fmt.Sprintf("%s=%d", Variable, os.Getpid()))
	// The terminal's interrupt is for the demo, which stops the supervisor.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var output bytes.Buffer
	s.cmd.Stdout, s.cmd.Stderr = &output, &output
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	s.client = ctl.NewClient(socket)
	go func() {
		s.exit = s.cmd.Wait()
		if s.exit != nil {
			s.exit = fmt.Errorf("the supervisor: %w: %s", s.exit, strings.TrimSpace(output.String()))
		}
		close(s.ended)
		err := s.exit
		if err == nil {
			err = errors.New("the supervisor stopped by itself")
		}
		s.died <- err
	}()
	return nil
}

// status asks the supervisor; until it listens there is nothing to be seen, nor when
// it dies while it is asked: of its death died tells more.
func (s *stage) status(ctx context.Context) (status.Status, error) {
	st, err := s.client.Status(ctx)
	if errors.Is(err, ctl.ErrNotRunning) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return status.Status{State: status.Starting}, nil
	}
	return st, err
}

// waitRunning waits until all workers have their share of the partitions, so
// that none is given all the work while the others are on their way.
func (s *stage) waitRunning(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond) // a status is asked for, not told
	defer tick.Stop()
	for {
		st, err := s.status(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		running := 0
		for _, w := range st.Workers {
			if w.State == status.Running && w.Report != nil && len(w.Report.Partitions) > 0 && len(w.Report.Partitions) < partitions {
				running++
			}
		}
		if running > 0 && running == len(st.Workers) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// withoutSettings takes away what would configure the demo's consumer.
func withoutSettings(environ []string) []string {
	var kept []string
	for _, v := range environ {
		if !strings.HasPrefix(v, config.EnvPrefix) {
			kept = append(kept, v)
		}
	}
	return kept
}

// strike stops the supervisor in order and waits for it. Everything is
// committed then.
func (s *stage) strike() error {
	s.client.Close()
	select {
	case <-s.ended: // somebody else stopped it: told by died
		return nil
	default:
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	// The supervisor ends by itself after shutdown_timeout.
	limit := time.NewTimer(config.Default().ShutdownTimeout + 10*time.Second)
	defer limit.Stop()
	select {
	case <-s.ended:
		return s.exit
	case <-limit.C:
		return errors.Join(fmt.Errorf("the supervisor (pid %d) did not stop; the log is %s", s.cmd.Process.Pid, s.log), s.cmd.Process.Kill())
	}
}

// committed is the sum of the offsets that the consumer's group has committed.
func (s *stage) committed() int {
	sum := 0
	if g := s.broker.Cluster().GroupInfo(config.GroupIDFor(consumer, "")); g != nil {
		for _, c := range g.Commits[quakes.Topic] {
			sum += int(c.Offset)
		}
	}
	return sum
}

// assessments is how many the workers have produced.
func (s *stage) assessments() int {
	if p := s.broker.Cluster().PartitionInfo(quakes.Output, 0); p != nil {
		return int(p.HighWatermark)
	}
	return 0
}

// remove ends the broker and removes the folder, unless something went wrong
// and its log may tell what.
func (s *stage) remove() error {
	var err error
	if s.broker != nil {
		err = s.broker.Close()
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}
