package worker

import (
	"runtime"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// What the start of a partition costs, in requests and in goroutines. sarama asks for
// each partition alone; the figures are to go down, and must not go up.
func TestStartWithManyPartitions(t *testing.T) {
	const (
		partitions = 300
		requests   = 30 // in all
		goroutines = 7  // of a partition: sarama's
	)
	b := testbroker.New(t)
	topic, group := b.Topic(partitions), b.Group()
	c := b.Embedded()
	var mu sync.Mutex
	asked := map[kmsg.Key]int{}
	for _, key := range []kmsg.Key{kmsg.ListOffsets, kmsg.OffsetFetch, kmsg.OffsetCommit} {
		c.ControlKey(key.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			mu.Lock()
			defer mu.Unlock()
			asked[key]++
			return nil, nil, false
		})
	}
	before := runtime.NumGoroutine()
	s := start(t, one(t, topic, ignore), testConfig(b, group))
	s.running()
	mu.Lock()
	n := asked[kmsg.ListOffsets] + asked[kmsg.OffsetFetch] + asked[kmsg.OffsetCommit]
	t.Logf("requests: %d ListOffsets, %d OffsetFetch, %d OffsetCommit", asked[kmsg.ListOffsets], asked[kmsg.OffsetFetch], asked[kmsg.OffsetCommit])
	mu.Unlock()
	if n > requests {
		t.Errorf("%d requests for %d partitions, at most %d", n, partitions, requests)
	}
	if g := runtime.NumGoroutine() - before; g > goroutines*partitions {
		t.Errorf("%d goroutines for %d partitions, at most %d each", g, partitions, goroutines)
	} else {
		t.Logf("%d goroutines", g)
	}
	s.stop()
}
