package worker

import (
	"fmt"
	"slices"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/racecar"
)

// withOffsetReset gives each subscription the start that librdkafka's property
// auto.offset.reset asks for, in its AdditionalConfig or in `consumer`: it
// overrides StartFrom, as upstream, where it overrides start_from_beginning.
func withOffsetReset(subs []racecar.Subscription, consumer []string) ([]racecar.Subscription, error) {
	subs = slices.Clone(subs)
	for i, s := range subs {
		props, err := config.SubscriptionProperties(consumer, s.AdditionalConfig)
		if err != nil {
			return nil, fmt.Errorf("properties of %s: %w", s.Topic+s.TopicPattern, err)
		}
		switch props.AutoOffsetReset {
		case "earliest":
			subs[i].StartFrom = racecar.Beginning
		case "latest":
			subs[i].StartFrom = racecar.End
		}
	}
	return subs, nil
}
