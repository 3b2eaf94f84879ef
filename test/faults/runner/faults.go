package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/racecar-go/racecar/test/faults/schedule"
	"github.com/racecar-go/racecar/test/kafka/cluster"
)

// apply lets one fault happen. What lasts ends by itself, in the background.
func (r *run) apply(ctx context.Context, e schedule.Event) error {
	p := r.product
	switch e.Fault {
	case schedule.TermWorker:
		return r.toWorker(e, syscall.SIGTERM)
	case schedule.KillWorker:
		return r.toWorker(e, syscall.SIGKILL)
	case schedule.KillAllWorkers:
		for _, pid := range p.workers() {
			if err := signal(pid, syscall.SIGKILL); err != nil {
				return err
			}
		}
		return nil
	case schedule.StopWorker:
		return r.stopWorker(ctx, e)
	case schedule.Panic:
		return r.mischiefOnce("panic")
	case schedule.Spin:
		return r.mischiefOnce("spin")
	case schedule.Memory:
		return r.mischiefOnce("alloc")
	case schedule.BootExit:
		if err := r.mischiefOnce("boot"); err != nil {
			return err
		}
		r.after(ctx, e.For, string(e.Fault), func() error { return os.Remove(filepath.Join(r.mischief, "boot")) })
		return r.toWorker(e, syscall.SIGKILL)
	case schedule.StderrFull:
		p.held.Store(true)
		r.after(ctx, e.For, string(e.Fault), func() error { p.held.Store(false); return nil })
		return r.mischiefOnce("chatter")
	case schedule.FDLimit:
		old, err := p.limitFDs(nil)
		if err != nil || old == nil {
			return err
		}
		r.after(ctx, e.For, string(e.Fault), func() error { _, err := p.limitFDs(old); return err })
		return r.toWorker(e, syscall.SIGKILL)
	case schedule.KillSupervisor:
		return r.killSupervisor(ctx)
	case schedule.StopSupervisor:
		r.after(ctx, e.For, string(e.Fault), func() error { return signal(p.pid(), syscall.SIGCONT) })
		return signal(p.pid(), syscall.SIGSTOP)
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

func (r *run) toWorker(e schedule.Event, sig syscall.Signal) error {
	pids := r.product.workers()
	if len(pids) == 0 {
		return nil
	}
	return signal(pids[e.Target%len(pids)], sig)
}

func (r *run) stopWorker(ctx context.Context, e schedule.Event) error {
	pids := r.product.workers()
	if len(pids) == 0 {
		return nil
	}
	pid := pids[e.Target%len(pids)]
	r.after(ctx, e.For, string(e.Fault), func() error { return signal(pid, syscall.SIGCONT) })
	return signal(pid, syscall.SIGSTOP)
}

func (r *run) mischiefOnce(what string) error {
	return os.WriteFile(filepath.Join(r.mischief, what), nil, 0o644)
}

// killSupervisor kills it, waits until nothing of it is left, and starts another.
func (r *run) killSupervisor(ctx context.Context) error {
	old := r.product
	if err := signal(old.pid(), syscall.SIGKILL); err != nil {
		return err
	}
	<-old.ended
	r.orphans(ctx)
	fresh, err := r.start()
	if err != nil {
		return err
	}
	r.product = fresh
	return nil
}

// toCluster does something to the brokers.
func (r *run) toCluster(ctx context.Context, e schedule.Event) error {
	brokers := r.cluster.Brokers()
	b := brokers[e.Target%len(brokers)]
	switch e.Fault {
	case schedule.KillBroker:
		if !r.allRunning() { // two at once would break what is given: no unclean election
			return nil
		}
		if err := b.Kill(); err != nil {
			return err
		}
		r.after(ctx, e.For, string(e.Fault), func() error { return b.Restart(ctx) })
		return nil
	case schedule.RollBrokers, schedule.MoveCoordinator:
		if !r.allRunning() {
			return nil
		}
		if e.Fault == schedule.MoveCoordinator {
			moved, err := r.cluster.Coordinator(r.group)
			if err != nil { // it is moving already
				r.say("move coordinator: %v", err)
				return nil
			}
			brokers = []*cluster.Broker{moved}
		}
		r.wg.Go(func() { r.roll(ctx, brokers) })
		return nil
	case schedule.CutConnections:
		r.wg.Go(func() {
			end := time.Now().Add(e.For)
			for time.Now().Before(end) && ctx.Err() == nil {
				for _, b := range r.cluster.Brokers() {
					if err := b.Drop(); err != nil {
						r.problem("cut: %v", err)
					}
				}
				<-time.After(random(500*time.Millisecond, 1500*time.Millisecond))
			}
		})
		return nil
	case schedule.Latency, schedule.NarrowBandwidth:
		for _, b := range brokers {
			var err error
			if e.Fault == schedule.Latency {
				err = b.Delay(100 * time.Millisecond)
			} else {
				err = b.Bandwidth(256)
			}
			if err != nil {
				return err
			}
		}
		r.after(ctx, e.For, string(e.Fault), func() error {
			var errs []error
			for _, b := range r.cluster.Brokers() {
				errs = append(errs, b.Restore())
			}
			return errors.Join(errs...)
		})
		return nil
	case schedule.AddPartitions:
		// With a broker away the controller may refuse; then they are not added.
		if err := r.cluster.AddPartitions(ctx, r.topic, partitions+3); err != nil {
			r.say("add partitions: %v", err)
		}
		return nil
	}
	return fmt.Errorf("nobody knows how to do that")
}

// roll restarts brokers one by one, each after the one before is in sync again.
func (r *run) roll(ctx context.Context, brokers []*cluster.Broker) {
	for _, b := range brokers {
		if b.State() != cluster.Running {
			return
		}
		if err := b.Restart(ctx); err != nil {
			r.problem("restart of broker %d: %v", b.ID, err)
			return
		}
		if err := r.cluster.AwaitInSync(ctx, r.topic); err != nil {
			r.problem("restart of broker %d: %v", b.ID, err)
			return
		}
	}
}

func (r *run) allRunning() bool {
	for _, b := range r.cluster.Brokers() {
		if b.State() != cluster.Running {
			return false
		}
	}
	return true
}
