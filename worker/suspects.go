package worker

import (
	"sync"

	"github.com/racecar-go/racecar/internal/wire"
)

// suspects are messages that were in hand when a process of this slot's consumer
// died. The supervisor keeps the list; each change brings it whole.
type suspects struct {
	mu   sync.RWMutex
	list map[tp][]wire.Suspect
}

// set replaces the list.
func (s *suspects) set(list []wire.Suspect) {
	byPartition := make(map[tp][]wire.Suspect, len(list))
	for _, one := range list {
		k := tp{one.Topic, one.Partition}
		byPartition[k] = append(byPartition[k], one)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = byPartition
}

// next returns the offset of the first suspect at or above offset, noSuspect
// when there is none.
func (s *suspects) next(k tp, offset int64) int64 {
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

// condemned returns the suspect for a message that has killed its process too
// often, nil otherwise.
func (s *suspects) condemned(k tp, offset int64) *wire.Suspect {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, one := range s.list[k] {
		if one.FirstOffset == offset && one.LastOffset == offset && one.Deaths >= wire.PoisonedAfter {
			return &one
		}
	}
	return nil
}
