package fleet

import (
	"fmt"
	"slices"

	"github.com/racecar-go/racecar/internal/wire"
)

// named finds a consumer by name; empty: all.
func (f *Fleet) named(name string) ([]*consumer, error) {
	if name == "" {
		return f.consumers, nil
	}
	if c := f.consumer(name); c != nil {
		return []*consumer{c}, nil
	}
	return nil, fmt.Errorf("no consumer %q runs here", name)
}

// answer ends what an event asked for.
func (f *Fleet) answer(ref uint64, err error) {
	if ref != 0 {
		f.do(Answer{ref, err})
	}
}

// sendAll sends a command to the active workers of these consumers. Those that start
// later have it in their handshake.
func (f *Fleet) sendAll(ref uint64, cs []*consumer, cmd wire.Command) {
	for _, c := range cs {
		for _, s := range c.slots {
			if s.active != nil {
				f.do(Command{s.active.id, cmd, ref})
			}
		}
	}
}

func (e Quiet) apply(f *Fleet) {
	cs, err := f.named(e.Consumer)
	var changed []*consumer
	for _, c := range cs {
		if c.quiet != e.On {
			c.quiet = e.On
			changed = append(changed, c)
		}
	}
	kind := wire.CommandContinue
	if e.On {
		kind = wire.CommandQuiet
	}
	f.sendAll(e.Ref, changed, wire.Command{Kind: kind})
	f.answer(e.Ref, err)
}

func (e Pause) apply(f *Fleet) {
	cs, err := f.named(e.Consumer)
	for _, c := range cs {
		c.unpause(e.Partitions)
		c.paused = append(c.paused, e.Partitions...)
	}
	f.sendAll(e.Ref, cs, wire.Command{Kind: wire.CommandPause, Partitions: e.Partitions})
	f.answer(e.Ref, err)
}

func (e Resume) apply(f *Fleet) {
	cs, err := f.named(e.Consumer)
	if err == nil {
		err = topicPaused(cs, e.Partitions)
	}
	if err != nil {
		f.answer(e.Ref, err)
		return
	}
	for _, c := range cs {
		if c.suspects.forgetResumed(e.Partitions) {
			f.sendSuspects(c)
		}
		c.unpause(e.Partitions)
	}
	f.sendAll(e.Ref, cs, wire.Command{Kind: wire.CommandResume, Partitions: e.Partitions, SkipBatch: e.SkipBatch})
	f.answer(e.Ref, nil)
}

// topicPaused refuses to resume single partitions of a topic that was paused as a whole:
// workers that start later could not be told which ones are meant.
func topicPaused(cs []*consumer, partitions []wire.Partition) error {
	for _, c := range cs {
		for _, p := range partitions {
			if p.Partition >= 0 && slices.Contains(c.paused, wire.Partition{Topic: p.Topic, Partition: -1}) {
				return fmt.Errorf("topic %s is paused as a whole: resume %s", p.Topic, p.Topic)
			}
		}
	}
	return nil
}

// unpause forgets what an operator has paused.
func (c *consumer) unpause(partitions []wire.Partition) {
	c.paused = slices.DeleteFunc(slices.Clone(c.paused), func(old wire.Partition) bool {
		return slices.ContainsFunc(partitions, func(p wire.Partition) bool {
			return old.Topic == p.Topic && (p.Partition < 0 || p.Partition == old.Partition)
		})
	})
}

func (e SetLogLevel) apply(f *Fleet) {
	f.logLevel = e.Level
	f.sendAll(e.Ref, f.consumers, wire.Command{Kind: wire.CommandLogLevel, Value: e.Level})
	f.answer(e.Ref, nil)
}

func (e Broadcast) apply(f *Fleet) {
	for p := range f.ordered() {
		f.do(Command{p.id, e.Command, e.Ref})
	}
	f.answer(e.Ref, nil)
}

func (e RequestReports) apply(f *Fleet) {
	for s := range f.slots() {
		if p := s.active; p != nil && !p.booted.IsZero() {
			f.do(Command{p.id, wire.Command{Kind: wire.CommandStatus}, e.Ref})
		}
	}
	f.answer(e.Ref, nil)
}
