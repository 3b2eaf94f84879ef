package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/racecar-go/racecar/test/faults/schedule"
	"github.com/racecar-go/racecar/test/kafka/cluster"
)

// toCluster does something to the brokers.
func (r *run) toCluster(ctx context.Context, e schedule.Event) error {
	if e.Fault.OfBrokers() {
		r.excuseCluster(e)
	}
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
		r.after(ctx, e, func() error { return b.Restart(ctx) })
		return nil
	case schedule.StopBroker:
		if !r.allRunning() {
			return nil
		}
		if err := b.Pause(); err != nil {
			return err
		}
		r.after(ctx, e, b.Continue)
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
	case schedule.BlackHole:
		r.after(ctx, e, b.Restore)
		return b.BlackHole()
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
		r.after(ctx, e, func() error {
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
		r.excuseCluster(schedule.Event{}) // the others' restarts may have taken long
		if err := b.Restart(ctx); err != nil {
			r.problem("restart of broker %d: %v", b.ID, err)
			return
		}
		r.excuseCluster(schedule.Event{})
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
