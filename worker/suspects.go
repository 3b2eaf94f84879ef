package worker

import (
	"fmt"
	"sync"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar/event"
)

// suspects are messages that were in hand when a process of this slot's consumer
// died. The supervisor keeps the list; each change brings it whole.
type suspects struct {
	mu   sync.RWMutex
	list map[topicPartition][]wire.Suspect
}

// set replaces the list.
func (s *suspects) set(list []wire.Suspect) {
	byPartition := make(map[topicPartition][]wire.Suspect, len(list))
	for _, one := range list {
		k := topicPartition{one.Topic, one.Partition}
		byPartition[k] = append(byPartition[k], one)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = byPartition
}

// next returns the offset of the first suspect at or above offset, noSuspect
// when there is none.
func (s *suspects) next(k topicPartition, offset int64) int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	found := int64(noSuspect)
	for _, one := range s.list[k] {
		if one.LastOffset >= offset {
			found = min(found, max(one.FirstOffset, offset))
		}
	}
	return found
}

// poisoned returns the suspect for a message that has killed its process too often, nil
// otherwise.
func (s *suspects) poisoned(k topicPartition, offset int64) *wire.Suspect {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, one := range s.list[k] {
		if one.FirstOffset == offset && one.LastOffset == offset && one.Deaths >= wire.PoisonedAfter {
			return &one
		}
	}
	return nil
}

// poisoned deals with a message that has killed its process too often; false when the next
// one of p is none. The executor owns p.
func (w *worker) poisoned(p *partition) bool {
	s := w.suspects.poisoned(p.topicPartition, p.suspectFrom)
	if s == nil {
		s = p.poisoned()
	}
	w.scheduler.mu.Lock()
	retryOnce := p.retryOnce
	p.retryOnce = false
	w.scheduler.mu.Unlock()
	if s == nil || retryOnce {
		return false
	}
	w.emit(event.Poisoned{
		Consumer: w.reg.Name(), Group: w.group, Topic: p.topic, Partition: p.partition, Offset: s.FirstOffset, Deaths: s.Deaths, Reason: s.Reason,
	})
	o := p.called(eventDied, fmt.Errorf("the message killed its process %d times, last: %s", s.Deaths, s.Reason), 1)
	o.deaths = s.Deaths
	w.carryOut(p, span{first: s.FirstOffset, next: s.FirstOffset + 1, n: 1}, decide(o, p.retries(), &w.cfg), nil)
	return true
}
