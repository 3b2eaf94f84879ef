package supervisor

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/process"
)

func (s *Supervisor) signalChild(c *child, sig syscall.Signal) {
	if err := c.process.Signal(sig); err != nil {
		s.logf(logrus.WarnLevel, "signal was not sent", logrus.Fields{"pid": c.process.PID(), "signal": sig.String(), "error": err.Error()})
	}
}

// spawn starts the process of p.
func (s *Supervisor) spawn(e doSpawn) {
	p := e.proc
	cfg := p.rel.config()
	started, err := s.opts.Spawner.Spawn(process.Spec{
		Role:  wire.RoleWorker,
		Argv:  []string{"racecar: " + p.name()},
		Image: p.rel.image,
		Env:   workerEnv(cfg),
		Slots: max(1, cfg.Concurrency),
	})
	if err != nil {
		s.reg.spawnFailed(time.Now(), p, err, temporary(err))
		return
	}
	c := adopt(started, s.deliver, &s.wg)
	s.children[p], s.procs[c] = c, p
	s.greet(p)
	s.reg.spawnedAs(time.Now(), p, started.PID())
}

// greet makes a process the worker p.
func (s *Supervisor) greet(p *proc) {
	c := s.children[p]
	if c == nil {
		return // it could not be started
	}
	if err := c.send(wire.KindHandshake, s.reg.handshake(p)); err != nil {
		s.broken(time.Now(), broken{c, err}) // cannot be: nothing was sent before
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

// temporary says that an error of starting a process may pass: the system lacks
// something just now.
func temporary(err error) bool {
	for _, passing := range []error{syscall.EAGAIN, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

// closeImages closes what nobody refers to any more. It is called with no effect left
// to be carried out: those refer to images too.
func (s *Supervisor) closeImages() {
	used := s.reg.imagesInUse()
	s.images = slices.DeleteFunc(s.images, func(i process.Image) bool {
		if !used[i] {
			_ = i.Close()
		}
		return !used[i]
	})
}
