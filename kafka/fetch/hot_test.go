package fetch

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/racecar-go/racecar/config"
)

// hotBroker returns a broker whose partitions have more messages, with so many waiting in each.
func hotBroker(t *testing.T, change func(*config.Config), waiting ...int) *broker {
	t.Helper()
	settings := config.Default()
	change(&settings)
	f := New(Options{Config: &settings})
	t.Cleanup(f.Close)
	b := newBroker(f, 1)
	f.topics["t"] = &topic{partitions: map[int32]*Partition{}}
	for i, messages := range waiting {
		p := newPartition(f, "t", int32(i), Position{Offset: 0, LeaderEpoch: -1}, Beginning, PartitionOptions{MaxBytes: 1 << 20}, func() {})
		p.confirm()
		p.broker, p.messages = b, messages
		f.topics["t"].partitions[p.number] = p
		b.partitions = append(b.partitions, p)
		f.open++
	}
	return b
}

// requested are the partitions of the loop's next request, with their limits.
func requested(l *loop) (numbers []int32, limits []int32, reserved int64) {
	l.f.mu.Lock()
	defer l.f.mu.Unlock()
	r, ok := l.fetch(time.Now()).(*fetchRequest)
	if !ok {
		return nil, nil, 0
	}
	for _, a := range r.partitions {
		numbers, limits = append(numbers, a.p.number), append(limits, a.entry.PartitionMaxBytes)
	}
	return numbers, limits, r.reserved
}

// A hot request names partitions first that hold fewer messages than min_message_queue_size.
func TestHotRequestsNameThePartitionsWithFewMessagesFirst(t *testing.T) {
	for min, want := range map[int][]int32{
		0:   {0, 1, 2, 3, 4},
		1:   {2, 0, 1, 3, 4},
		100: {1, 2, 4, 0, 3},
		300: {0, 1, 2, 3, 4},
	} {
		t.Run(fmt.Sprint(min), func(t *testing.T) {
			b := hotBroker(t, func(c *config.Config) { c.MinMessageQueueSize, c.MaxBytes = min, 40<<20 }, 200, 20, 0, 200, 20)
			if got, _, _ := requested(b.hot); !slices.Equal(got, want) {
				t.Errorf("requests %v, want %v", got, want)
			}
		})
	}
}

// A hot request names as many partitions as fill it. The second connection requests others
// meanwhile, if they fill a request, and none that is requested already.
func TestSecondHotRequestTakesOtherPartitions(t *testing.T) {
	b := hotBroker(t, func(*config.Config) {}, make([]int, 7)...)
	first, _, reserved := requested(b.hot)
	second, _, also := requested(b.second)
	if !slices.Equal(first, []int32{0, 1, 2}) || !slices.Equal(second, []int32{3, 4, 5}) {
		t.Errorf("requests %v, then %v", first, second)
	}
	if used, limit := b.f.Used(); used != reserved+also || used > limit {
		t.Errorf("%d bytes are used, %d and %d reserved, the limit is %d", used, reserved, also, limit)
	}
	if got, _, _ := requested(b.second); got != nil {
		t.Errorf("requests %v, which do not fill a request", got)
	}
}

// Neither connection requests anything without memory for it; only the first waits for some.
func TestHotRequestsWaitForMemory(t *testing.T) {
	b := hotBroker(t, func(*config.Config) {}, make([]int, 7)...)
	b.f.used = b.f.limit
	first, _, _ := requested(b.hot)
	second, _, _ := requested(b.second)
	if first != nil || second != nil || b.hot.short == 0 || b.second.short != 0 {
		t.Errorf("requests %v and %v, short of %d and %d", first, second, b.hot.short, b.second.short)
	}
}

// What an answer has of a batch that did not fit is transferred again. So large batches are
// requested by their size, where it is known.
func TestLargeBatchesAreRequestedByTheirSize(t *testing.T) {
	const header = recordsAt
	for name, c := range map[string]struct{ largest, ahead, want int64 }{
		"nothing is known":      {0, 0, 1 << 20},
		"the next is not known": {900_000, 0, 1 << 20},
		"large":                 {900_000, 700_000, 700_000 + header},
		"larger than all":       {900_000, 3 << 20, 3<<20 + header},
		"larger than any":       {900_000, 1<<31 + 11, 1 << 20}, // which no limit could express
		"small after large":     {900_000, 100, leastRequest},
		"small":                 {16_000, 15_000, 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			b := hotBroker(t, func(*config.Config) {}, 0)
			b.partitions[0].largest, b.partitions[0].ahead = c.largest, c.ahead
			if _, limits, _ := requested(b.hot); !slices.Equal(limits, []int32{int32(c.want)}) {
				t.Errorf("limits %v, want %d", limits, c.want)
			}
		})
	}
}
