package supervisor

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/fleet"
	"github.com/racecar-go/racecar/supervisor/process"
)

func (s *Supervisor) signalChild(c *child, sig syscall.Signal) {
	if err := c.process.Signal(sig); err != nil {
		s.logf(logrus.WarnLevel, "signal was not sent", logrus.Fields{"pid": c.process.PID(), "signal": sig.String(), "error": err.Error()})
	}
}

// spawn starts a worker.
func (s *Supervisor) spawn(e fleet.Spawn) {
	cfg := &e.Handshake.Consumer.Config
	started, err := s.opts.Spawner.Spawn(process.Spec{
		Role:  wire.RoleWorker,
		Argv:  []string{"racecar: " + e.Worker},
		Image: s.images[e.Image.ID],
		Env:   workerEnv(cfg),
		Slots: max(1, cfg.Concurrency),
	})
	if err != nil {
		s.step(time.Now(), fleet.SpawnFailed{Proc: e.Proc, Err: err, Temporary: temporary(err)})
		return
	}
	c := serveChild(started, s.deliver, &s.wg)
	c.id, c.consumer, c.name, c.memoryLimit = e.Proc, e.Handshake.Consumer.Name, e.Worker, cfg.WorkerMemoryLimit
	s.workers[e.Proc] = c
	s.handshake(e.Proc, e.Handshake)
	s.step(time.Now(), fleet.Spawned{Proc: e.Proc, PID: started.PID()})
}

// handshake makes a process a worker.
func (s *Supervisor) handshake(id fleet.ProcID, h wire.Handshake) {
	c := s.workers[id]
	if c == nil {
		return // it could not be started
	}
	if err := c.send(wire.KindHandshake, h); err != nil {
		s.endForProtocolError(time.Now(), protocolError{c, err}) // cannot happen: few messages were sent before
	}
}

// workerEnv is what a worker has in its environment beyond ours. Values that the
// user has set win.
func workerEnv(cfg *config.Config) []string {
	var env []string
	add := func(key, value string) {
		if _, set := os.LookupEnv(key); !set {
			env = append(env, key+"="+value)
		}
	}
	add("GOMAXPROCS", strconv.Itoa(min(runtime.GOMAXPROCS(0), cfg.Concurrency+1)))
	if cfg.WorkerMemoryLimit > 0 {
		add("GOMEMLIMIT", strconv.FormatInt(cfg.WorkerMemoryLimit/10*8, 10))
	}
	return env
}

// temporary reports whether an error of starting a process may pass: the system lacks
// something just now.
func temporary(err error) bool {
	for _, passing := range []error{syscall.EAGAIN, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

// holdImage holds an image open for the fleet. One that is held already is closed.
func (s *Supervisor) holdImage(image process.Image) fleet.Image {
	for id, held := range s.images {
		if held.Same(image) {
			_ = image.Close()
			return fleet.Image{ID: id, Name: held.String()}
		}
	}
	s.lastImage++
	s.images[s.lastImage] = image
	return fleet.Image{ID: s.lastImage, Name: image.String()}
}

// sendOutage sends what a worker has to know of an outage, if it speaks of outages. One that
// cannot be sent is lost like one that the worker does not read: a lease expires, and the
// state is sent again.
func (s *Supervisor) sendOutage(id fleet.ProcID, kind wire.Kind, body any) {
	c := s.workers[id]
	if c == nil || c.version < wire.VersionOutages {
		return
	}
	if err := c.send(kind, body); err != nil {
		s.logf(logrus.WarnLevel, "a worker was not told of an outage", logrus.Fields{"worker": c.name, "pid": c.process.PID(), "error": err.Error()})
	}
}
