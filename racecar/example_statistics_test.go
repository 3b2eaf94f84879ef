package racecar_test

import (
	"context"
	"fmt"

	"github.com/racecar-go/racecar/racecar"
)

// LagConsumer complains when it falls behind.
type LagConsumer struct{}

var _ racecar.StatisticsHook = (*LagConsumer)(nil)

// Process handles one message.
func (*LagConsumer) Process(ctx context.Context, m *racecar.Message) error { return nil }

// OnStatistics is called every statistics_interval.
func (*LagConsumer) OnStatistics(ctx context.Context, s racecar.Statistics) {
	for _, p := range s.Partitions {
		if p.Lag > 1000 {
			fmt.Printf("%s/%d is %d messages behind\n", p.Topic, p.Partition, p.Lag)
		}
	}
}

// Figures of a worker and its connection to Kafka.
func ExampleStatisticsHook() {
	(&LagConsumer{}).OnStatistics(context.Background(), racecar.Statistics{
		Partitions: []racecar.PartitionStatistics{
			{Topic: "steps", Partition: 0, Lag: 12},
			{Topic: "steps", Partition: 3, Lag: 4711},
		},
	})
	// Output: steps/3 is 4711 messages behind
}
