package supervisor

import (
	"slices"
	"time"

	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

// maxSuspects bounds what a consumer remembers of each kind; the oldest go first.
const maxSuspects = 1000

// suspects are the messages of one consumer that were in hand when a process
// died.
//
// Only a message that was alone in hand is a proven killer, and its deaths are
// counted. All else that was in hand (beside others, or in a batch) is merely a
// suspect: workers call suspects one by one with nothing beside them, so that
// the next death tells which it was. When it does, those that were suspected
// together with it are cleared.
type suspects struct {
	deaths  int            // so far, to number them
	killers []wire.Suspect // single messages, Deaths ≥ 1; oldest first
	ranges  []suspectRange // oldest first
}

// suspectRange is what one call had in hand at the death of that number.
type suspectRange struct {
	wire.Suspect
	death int
}

// died takes what was in hand at a death. It says whether the death is the
// doing of one message.
func (s *suspects) died(inHand []scoreboard.Call, reason string) (proven bool) {
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
	i := slices.IndexFunc(s.killers, func(k wire.Suspect) bool {
		return k.Topic == call.Topic && k.Partition == call.Partition && k.FirstOffset == call.FirstOffset
	})
	if i < 0 {
		s.killers = newest(append(s.killers, wire.Suspect{
			Topic: call.Topic, Partition: call.Partition, FirstOffset: call.FirstOffset, LastOffset: call.FirstOffset,
		}))
		i = len(s.killers) - 1
	}
	s.killers[i].Deaths++
	s.killers[i].Reason = reason

	explained := map[int]bool{}
	for _, r := range s.ranges {
		if covers(r.Suspect, s.killers[i]) {
			explained[r.death] = true
		}
	}
	s.ranges = slices.DeleteFunc(s.ranges, func(r suspectRange) bool { return explained[r.death] })
}

func covers(r, k wire.Suspect) bool {
	return r.Topic == k.Topic && r.Partition == k.Partition && r.FirstOffset <= k.FirstOffset && k.FirstOffset <= r.LastOffset
}

// passed forgets what some worker has got past: processed, skipped or
// dead-lettered. It says whether anything was forgotten.
func (s *suspects) passed(partitions []status.Partition) bool {
	if len(s.killers) == 0 && len(s.ranges) == 0 {
		return false
	}
	return s.forget(func(w wire.Suspect) bool {
		return slices.ContainsFunc(partitions, func(p status.Partition) bool {
			return p.Topic == w.Topic && p.Partition == w.Partition && p.Position > w.LastOffset
		})
	})
}

// resumed forgets what lies in partitions that an operator has resumed: they get
// another chance.
func (s *suspects) resumed(partitions []wire.Partition) bool {
	return s.forget(func(w wire.Suspect) bool {
		return slices.ContainsFunc(partitions, func(p wire.Partition) bool {
			return p.Topic == w.Topic && (p.Partition == w.Partition || p.Partition < 0)
		})
	})
}

func (s *suspects) forget(gone func(wire.Suspect) bool) bool {
	before := len(s.killers) + len(s.ranges)
	s.killers = slices.DeleteFunc(s.killers, gone)
	s.ranges = slices.DeleteFunc(s.ranges, func(r suspectRange) bool { return gone(r.Suspect) })
	return len(s.killers)+len(s.ranges) < before
}

// list is what workers are told. No message is in it twice.
func (s *suspects) list() []wire.Suspect {
	list := slices.Clone(s.killers)
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

// tellSuspects hands the list of a consumer to all its workers.
func (r *registry) tellSuspects(c *consumer) {
	list := c.suspects.list()
	for _, s := range c.slots {
		if s.cur != nil {
			r.command(s.cur, wire.Command{Kind: wire.CommandSuspects, Suspects: list})
		}
	}
}

// suspectsEvery is how often workers are asked whether they got past suspects.
const suspectsEvery = 5 * time.Second

// askAfterSuspects asks the workers of consumers with suspects how far they are.
func (r *registry) askAfterSuspects() {
	for _, c := range r.consumers {
		if len(c.suspects.killers) == 0 && len(c.suspects.ranges) == 0 {
			continue
		}
		for _, s := range c.slots {
			if s.cur != nil && !s.cur.booted.IsZero() && s.cur.stopping == "" {
				r.command(s.cur, wire.Command{Kind: wire.CommandStatus})
			}
		}
	}
}
