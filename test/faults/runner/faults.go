package runner

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"github.com/racecar-go/racecar/test/faults/schedule"
)

// apply lets one fault happen. What lasts ends by itself, in the background.
func (r *run) apply(ctx context.Context, e schedule.Event) error {
	p := r.product()
	switch e.Fault {
	case schedule.TermWorker:
		return r.each(r.target(e), func(pid int) error { return signal(pid, syscall.SIGTERM) })
	case schedule.TermAllWorkers:
		return r.each(p.workers(), func(pid int) error { return signal(pid, syscall.SIGTERM) })
	case schedule.KillWorker:
		return r.killWorkers(r.target(e))
	case schedule.KillAllWorkers:
		return r.killWorkers(p.workers())
	case schedule.StopWorker:
		return r.stopWorkers(ctx, e, r.target(e))
	case schedule.StopAllWorkers:
		return r.stopWorkers(ctx, e, p.workers())
	case schedule.Exit, schedule.Panic, schedule.Fail, schedule.Slow, schedule.Hang:
		return r.mischiefOnce(string(e.Fault))
	case schedule.Spin:
		return r.mischiefOnce("spin")
	case schedule.Memory:
		return r.mischiefOnce("keep")
	case schedule.BootExit:
		if err := r.mischiefOnce("boot"); err != nil {
			return err
		}
		r.after(ctx, e, func() error {
			// Another boot-exit may have ended this one already.
			if err := os.Remove(filepath.Join(r.mischief, "boot")); !errors.Is(err, os.ErrNotExist) {
				return err
			}
			return nil
		})
		return r.killWorkers(r.target(e))
	case schedule.StderrFull:
		p.held.Store(true)
		r.after(ctx, e, func() error { p.held.Store(false); return nil })
		return r.mischiefOnce("chatter")
	case schedule.FDLimit:
		old, err := p.limitFDs(nil)
		if err != nil || old == nil {
			return err
		}
		r.after(ctx, e, func() error { _, err := p.limitFDs(old); return err })
		return r.killWorkers(r.target(e))
	case schedule.KillSupervisor:
		return r.killSupervisor(ctx, e)
	case schedule.StopSupervisor:
		r.after(ctx, e, func() error { return signal(p.pid(), syscall.SIGCONT) })
		return signal(p.pid(), syscall.SIGSTOP)
	case schedule.Quiet:
		r.after(ctx, e, func() error { return signal(p.pid(), syscall.SIGCONT) })
		return signal(p.pid(), syscall.SIGTSTP)
	case schedule.HangUp:
		return signal(p.pid(), syscall.SIGHUP)
	case schedule.RollingRestart:
		r.wg.Go(func() {
			// One that comes beside another, or into a broken cluster, may be refused.
			if err := p.rollingRestart(ctx); err != nil {
				r.say("rolling restart: %v", err)
			}
		})
		return nil
	case schedule.ScaleUp:
		return signal(p.pid(), syscall.SIGTTIN)
	case schedule.ScaleDown:
		if len(p.workers()) < 2 { // the last one stays
			return nil
		}
		return signal(p.pid(), syscall.SIGTTOU)
	}
	return r.toCluster(ctx, e)
}

// target is the one worker that is meant; none while there is none.
func (r *run) target(e schedule.Event) []int {
	pids := r.product().workers()
	if len(pids) == 0 {
		return nil
	}
	n := e.Target % len(pids)
	return pids[n : n+1]
}

func (r *run) each(pids []int, do func(pid int) error) error {
	var errs []error
	for _, pid := range pids {
		errs = append(errs, do(pid))
	}
	return errors.Join(errs...)
}

func (r *run) killWorkers(pids []int) error {
	return r.each(pids, func(pid int) error {
		r.excuseProcess(pid, 0)
		return signal(pid, syscall.SIGKILL)
	})
}

func (r *run) stopWorkers(ctx context.Context, e schedule.Event, pids []int) error {
	r.after(ctx, e, func() error {
		return r.each(pids, func(pid int) error { return signal(pid, syscall.SIGCONT) })
	})
	return r.each(pids, func(pid int) error {
		r.excuseProcess(pid, e.For)
		return signal(pid, syscall.SIGSTOP)
	})
}

func (r *run) mischiefOnce(what string) error {
	return os.WriteFile(filepath.Join(r.mischief, what), nil, 0o644)
}

// killSupervisor kills it and starts another one: at once, as an init system
// does, or when nothing of the old one is left. With membership host the former
// would be two hosts of the same name: the old workers are thrown out of the group.
func (r *run) killSupervisor(ctx context.Context, e schedule.Event) error {
	old := r.product()
	if err := signal(old.pid(), syscall.SIGKILL); err != nil {
		return err
	}
	<-old.ended
	left := r.processes()
	if e.Target%2 == 0 || r.schedule.Mode.Membership == "host" {
		r.orphans(ctx, left)
	} else {
		r.wg.Go(func() { r.orphans(ctx, left) })
	}
	fresh, err := r.start(ctx)
	if err != nil {
		return err
	}
	r.running.Store(fresh)
	return nil
}
