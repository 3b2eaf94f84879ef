package fleet

import (
	"slices"
	"time"

	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

// maxSuspects bounds what a consumer remembers of each kind; the oldest go first.
const maxSuspects = 1000

// suspects are the messages of one consumer that were in hand when a process died.
//
// Only a message that was alone in hand is proven to kill processes, and its deaths are
// counted. All else that was in hand (beside others, or in a batch) is merely suspect:
// workers call suspects one by one with nothing beside them, so that the next death
// proves which one it was. When it does, those that were suspected together with it are
// cleared.
type suspects struct {
	deaths int            // so far, to number them
	proven []wire.Suspect // single messages, Deaths ≥ 1; oldest first
	ranges []suspectRange // oldest first
}

// suspectRange is what one call had in hand at the death of that number.
type suspectRange struct {
	wire.Suspect
	death int
}

// addDeath takes what was in hand at a death. It reports whether one message caused it.
func (s *suspects) addDeath(inHand []scoreboard.Call, reason string) (one bool) {
	s.deaths++
	if len(inHand) == 1 && inHand[0].Alone && inHand[0].FirstOffset == inHand[0].LastOffset {
		s.prove(inHand[0], reason)
		return true
	}
	for _, call := range inHand {
		s.ranges = append(s.ranges, suspectRange{wire.Suspect{
			Topic: call.Topic, Partition: call.Partition,
			FirstOffset: call.FirstOffset, LastOffset: call.LastOffset, Reason: reason,
		}, s.deaths})
	}
	s.ranges = newest(s.ranges)
	return false
}

func (s *suspects) prove(call scoreboard.Call, reason string) {
	i := slices.IndexFunc(s.proven, func(k wire.Suspect) bool {
		return k.Topic == call.Topic && k.Partition == call.Partition && k.FirstOffset == call.FirstOffset
	})
	if i < 0 {
		s.proven = newest(append(s.proven, wire.Suspect{
			Topic: call.Topic, Partition: call.Partition, FirstOffset: call.FirstOffset, LastOffset: call.FirstOffset,
		}))
		i = len(s.proven) - 1
	}
	s.proven[i].Deaths++
	s.proven[i].Reason = reason

	explained := map[int]bool{}
	for _, r := range s.ranges {
		if covers(r.Suspect, s.proven[i]) {
			explained[r.death] = true
		}
	}
	s.ranges = slices.DeleteFunc(s.ranges, func(r suspectRange) bool { return explained[r.death] })
}

func covers(r, k wire.Suspect) bool {
	return r.Topic == k.Topic && r.Partition == k.Partition && r.FirstOffset <= k.FirstOffset && k.FirstOffset <= r.LastOffset
}

// forgetPassed forgets messages that a worker has processed, skipped or dead-lettered. It
// reports whether there were any.
func (s *suspects) forgetPassed(partitions []status.Partition) bool {
	if s.empty() {
		return false
	}
	return s.forget(func(w wire.Suspect) bool {
		return slices.ContainsFunc(partitions, func(p status.Partition) bool {
			return p.Topic == w.Topic && p.Partition == w.Partition && p.Position > w.LastOffset
		})
	})
}

// forgetResumed forgets messages of partitions that an operator has resumed: they are
// retried.
func (s *suspects) forgetResumed(partitions []wire.Partition) bool {
	return s.forget(func(w wire.Suspect) bool {
		return slices.ContainsFunc(partitions, func(p wire.Partition) bool {
			return p.Topic == w.Topic && (p.Partition == w.Partition || p.Partition < 0)
		})
	})
}

func (s *suspects) forget(over func(wire.Suspect) bool) bool {
	before := len(s.proven) + len(s.ranges)
	s.proven = slices.DeleteFunc(s.proven, over)
	s.ranges = slices.DeleteFunc(s.ranges, func(r suspectRange) bool { return over(r.Suspect) })
	return len(s.proven)+len(s.ranges) < before
}

// list is what workers get. No message is in it twice.
func (s *suspects) list() []wire.Suspect {
	list := slices.Clone(s.proven)
	for _, r := range s.ranges {
		list = append(list, without(r.Suspect, list)...)
	}
	return list
}

// without cuts what taken already has out of r.
func without(r wire.Suspect, taken []wire.Suspect) []wire.Suspect {
	pieces := []wire.Suspect{r}
	for _, t := range taken {
		if t.Topic != r.Topic || t.Partition != r.Partition {
			continue
		}
		var next []wire.Suspect
		for _, p := range pieces {
			if t.LastOffset < p.FirstOffset || p.LastOffset < t.FirstOffset {
				next = append(next, p)
				continue
			}
			if p.FirstOffset < t.FirstOffset {
				before := p
				before.LastOffset = t.FirstOffset - 1
				next = append(next, before)
			}
			if p.LastOffset > t.LastOffset {
				after := p
				after.FirstOffset = t.LastOffset + 1
				next = append(next, after)
			}
		}
		pieces = next
	}
	return pieces
}

func newest[T any](all []T) []T {
	return all[max(0, len(all)-maxSuspects):]
}

// empty reports whether there are none.
func (s *suspects) empty() bool { return len(s.proven) == 0 && len(s.ranges) == 0 }

// sendSuspects sends the list of a consumer to all its workers.
func (f *Fleet) sendSuspects(c *consumer) {
	list := c.suspects.list()
	for _, s := range c.slots {
		if s.active != nil {
			f.command(s.active, wire.Command{Kind: wire.CommandSuspects, Suspects: list})
		}
	}
}

// askEvery is how often workers are asked whether they got past suspects.
const askEvery = 5 * time.Second

// askAboutSuspects asks the workers of consumers with suspects how far they are.
func (f *Fleet) askAboutSuspects() {
	if f.now.Sub(f.suspectsAsked) < askEvery {
		return
	}
	f.suspectsAsked = f.now
	for _, c := range f.consumers {
		for _, s := range c.slots {
			if p := s.active; p != nil && !c.suspects.empty() && !p.booted.IsZero() && p.stopping == "" {
				f.command(p, wire.Command{Kind: wire.CommandStatus})
			}
		}
	}
}
