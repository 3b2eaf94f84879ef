package registered

import (
	"fmt"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/racecar"
)

// SpecValues returns the part of a registration's Spec that config.Load reads.
func SpecValues(r *racecar.Registration) config.SpecValues {
	s := r.Spec()
	v := config.SpecValues{
		Name: s.Name, GroupID: s.GroupID, ParallelWorkers: s.ParallelWorkers, Concurrency: s.Concurrency,
		FetchMessages: s.FetchMessages, MaxWaitTime: s.MaxWaitTime, MaxPollInterval: s.MaxPollInterval,
		MaxRetries: s.MaxRetries, DeadLetterTopic: s.DeadLetterTopic, Transactional: s.Transactional,
		Ordering: ordering(s.Ordering),
	}
	for _, sub := range s.Subscriptions {
		if sub.Topic != "" {
			v.Topics = append(v.Topics, sub.Topic)
		}
		if len(sub.AdditionalConfig) > 0 {
			if v.Properties == nil {
				v.Properties = map[string]map[string]string{}
			}
			v.Properties[sub.Topic+sub.TopicPattern] = sub.AdditionalConfig
		}
	}
	switch s.PauseTimeout {
	case 0:
	case racecar.NoPause:
		v.PauseTimeout = new(time.Duration)
	case -1, -time.Microsecond, -time.Millisecond, -time.Second, -time.Minute, -time.Hour:
		forever := racecar.PauseForever
		v.PauseTimeout = &forever
	default:
		v.PauseTimeout = &s.PauseTimeout
	}
	return v
}

// ordering is an Ordering as the configuration calls it. config.Load refuses a number that
// has no name.
func ordering(o racecar.Ordering) config.Ordering {
	switch o {
	case 0:
		return ""
	case racecar.ByPartition:
		return config.OrderingPartition
	case racecar.ByKey:
		return config.OrderingKey
	case racecar.Unordered:
		return config.OrderingNone
	}
	return config.Ordering(fmt.Sprintf("racecar.Ordering(%d)", o))
}
