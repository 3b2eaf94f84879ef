package main

import (
	"fmt"
	"time"
)

// rows are all measurements. In a comparison the first entrant is racecar's, and the second the
// one that it is compared with.
func rows() []*row {
	normal := topic{size: 200, partitions: 8}
	all := []*row{
		{
			name: "process", what: "consume, one call a message, 200 bytes, 8 partitions", topic: normal,
			run: consume, main: rate, who: everyone("process"),
			targets: append(consumeTargets(1, 80),
				target{of: "racecar", than: "confluent", metric: rate, factor: 3, atLeast: true},
				// Ruby's Racecar 2.12 with librdkafka, on a machine of the same kind: 12,200/s.
				target{of: "racecar", metric: rate, factor: 80 * 12_200, atLeast: true},
			),
		},
		{
			name: "batch", what: "consume, batches of up to 1000, 200 bytes, 8 partitions", topic: normal,
			run: consume, main: rate,
			who: []entrant{
				{contestant: "racecar", mode: "batch"}, {contestant: "sarama", mode: "process"},
				{contestant: "franz", mode: "batch"}, {contestant: "librdkafka", mode: "batch"},
			},
			targets: consumeTargets(1, 80),
		},
		{
			name: "copy", what: "consume and produce each message, 200 bytes, 8 partitions", topic: normal, out: 8, share: 0.5,
			run: copyAll, main: rate, who: []entrant{
				{contestant: "racecar", mode: "copy"},
				{contestant: "sarama", mode: "copy", label: "sarama"},
				{contestant: "franz", mode: "copy"}, {contestant: "confluent", mode: "copy"},
			},
			targets: []target{
				{of: "racecar", than: "sarama", metric: rate, factor: 0.8, atLeast: true},
				{of: "racecar", than: "franz", metric: rate, factor: 0.7, atLeast: true},
			},
		},
		{
			name: "copy-deliver", what: "the same against Deliver after each message", topic: normal, out: 8, share: 0.01,
			run: copyAll, main: rate, who: []entrant{
				{contestant: "racecar", mode: "copy"}, {contestant: "racecar", mode: "copy-deliver", label: "Deliver each"},
			},
			targets: []target{{of: "racecar", than: "Deliver each", metric: rate, factor: 20, atLeast: true}},
		},
		{
			name: "copy-txn", what: "the same in transactions", topic: normal, out: 8, share: 0.25,
			run: copyAll, main: rate, who: []entrant{
				{contestant: "racecar", mode: "copy-txn"}, {contestant: "racecar", mode: "copy", label: "without"},
				{contestant: "franz", mode: "copy-txn"},
			},
		},
		{
			name: "produce", what: "produce without waiting, 200 bytes, 8 partitions, acks=all", size: 200, out: 8, share: 0.5,
			run: produceAll, main: rate, who: producers("produce"),
			targets: []target{{of: "racecar", than: "franz", metric: rate, factor: 0.7, atLeast: true}},
		},
		{
			name: "produce-sync", what: "produce and wait for each, 200 bytes, 8 partitions, acks=all", size: 200, out: 8, share: 0.001,
			run: produceAll, main: rate, who: producers("produce-sync"),
		},
		{
			name: "latency-100", what: "from Produce to the consumer at 100 messages a second, 8 partitions", topic: topic{partitions: 8},
			rate: 100, interval: 10 * time.Second, run: latencies, main: p99, who: beside("latency", "latency"), targets: latencyTargets(),
		},
		{
			name: "latency-10000", what: "the same at 10,000 messages a second", topic: topic{partitions: 8},
			rate: 10_000, interval: 5 * time.Second, run: latencies, main: p99, who: everyone("latency"), targets: latencyTargets(),
		},
		{
			name: "slow", what: "partition 0 takes 20 ms a message, partition 1 nothing, one broker, concurrency 2",
			topic: topic{size: 200, partitions: 2}, delay: 20 * time.Millisecond, interval: 5 * time.Second, share: 4, run: besideSlow, main: fast,
			who: []entrant{
				{contestant: "racecar", mode: "slow"},
				{contestant: "racecar", mode: "slow", label: "alone", topic: topic{size: 200, partitions: 2, bare0: true}},
				{contestant: "sarama", mode: "slow"},
			},
			targets: []target{{of: "racecar", than: "alone", metric: fast, factor: 0.9, atLeast: true}},
		},
		{
			name: "workers", what: "1, 2 and 4 workers, one call a message, 200 bytes, 8 partitions", topic: normal,
			run: consume, main: rate, who: numbers(1, 2, 4),
		},
	}
	all = append(all, shapes()...)
	all = append(all, life()...)
	pair := func(mode string) []entrant {
		return []entrant{{contestant: "racecar", mode: mode}, {contestant: "franz", mode: mode}}
	}
	for _, codec := range []string{"lz4", "zstd"} {
		all = append(all, &row{
			name: "produce-" + codec, what: "produce without waiting, 200 bytes, 8 partitions, " + codec, size: 200, out: 8, share: 0.5,
			codec: codec, run: produceAll, main: rate, who: pair("produce"), extra: true,
		}, &row{
			name: "copy-" + codec, what: "consume and produce each message, 200 bytes, 8 partitions, " + codec, topic: normal, out: 8, share: 0.5,
			codec: codec, run: copyAll, main: rate, who: pair("copy"), extra: true,
		})
	}
	return append(append(all, curves()...), matrix()...)
}

// consumeTargets are those of a row that compares consuming: the plain sarama loop's rate, a
// share of franz-go's, and a size in MiB.
func consumeTargets(ofFranz, size float64) []target {
	return []target{
		{of: "racecar", than: "sarama", metric: rate, factor: 1, atLeast: true},
		{of: "racecar", than: "franz", metric: rate, factor: ofFranz, atLeast: true},
		{of: "racecar", metric: worker, factor: size},
	}
}

func latencyTargets() []target {
	return []target{{of: "racecar", than: "franz", metric: p50, factor: 1.2}, {of: "racecar", than: "franz", metric: p99, factor: 1.2}}
}

// shapes are both kinds of calls with more partitions, compressed and large messages.
func shapes() (all []*row) {
	for _, mode := range []string{"process", "batch"} {
		for _, c := range []struct {
			name, what    string
			topic         topic
			ofFranz, size float64
		}{
			{"64", "200 bytes, 64 partitions", topic{size: 200, partitions: 64}, 0.85, 80},
			{"64-zstd", "200 bytes, 64 partitions, zstd", topic{size: 200, partitions: 64, codec: "zstd"}, 0.85, 80},
			{"1000", "200 bytes, 1000 partitions", topic{size: 200, partitions: 1000}, 0.65, 110},
			{"10k", "10 KiB, 8 partitions", topic{size: 10 << 10, partitions: 8}, 0.85, 80},
		} {
			all = append(all, &row{
				name: mode + "-" + c.name, what: "consume (" + mode + "), " + c.what, topic: c.topic,
				run: consume, main: rate, who: beside(mode, "process"), targets: consumeTargets(c.ofFranz, c.size),
			})
		}
	}
	return all
}

// beside returns racecar, the plain sarama loop (which has no batches) and franz-go.
func beside(mode, saramas string) []entrant {
	return []entrant{{contestant: "racecar", mode: mode}, {contestant: "sarama", mode: saramas}, {contestant: "franz", mode: mode}}
}

// matrix has every combination of size, partitions and codec.
func matrix() (all []*row) {
	for _, shape := range []string{"process", "batch"} {
		for _, size := range []int{200, 1 << 10, 10 << 10} {
			for _, partitions := range []int{1, 8, 64} {
				for _, codec := range []string{"", "lz4", "zstd"} {
					t := topic{size: size, partitions: partitions, codec: codec}
					all = append(all, &row{
						name: fmt.Sprintf("%s-%s", shape, t), what: fmt.Sprintf("consume (%s), %v", shape, t),
						topic: t, run: consume, main: rate, named: true,
						who: []entrant{{contestant: "racecar", mode: shape}, {contestant: "sarama", mode: "process"}},
					})
				}
			}
		}
	}
	return all
}

// everyone returns an entrant of each contestant for a mode.
func everyone(mode string) []entrant {
	return []entrant{
		{contestant: "racecar", mode: mode}, {contestant: "sarama", mode: mode}, {contestant: "franz", mode: mode},
		{contestant: "confluent", mode: mode}, {contestant: "librdkafka", mode: mode},
	}
}

func producers(mode string) []entrant {
	return []entrant{
		{contestant: "racecar", mode: mode}, {contestant: "sarama", mode: mode},
		{contestant: "franz", mode: mode}, {contestant: "confluent", mode: mode},
	}
}

// curves show how the cost grows with one parameter at a time.
func curves() (all []*row) {
	pair := []entrant{{contestant: "racecar", mode: "process"}, {contestant: "sarama", mode: "process"}}
	for _, n := range []int{1, 4, 16, 256} {
		all = append(all, &row{
			name: fmt.Sprintf("partitions-%d", n), what: fmt.Sprintf("one call a message, 200 bytes, %d partitions", n),
			topic: topic{size: 200, partitions: n}, run: consume, main: rate, who: pair, extra: true,
		})
	}
	for _, n := range []int{100, 1 << 10, 100 << 10} {
		all = append(all, &row{
			name: "size-" + sizeName(n), what: fmt.Sprintf("one call a message, %s bytes, 8 partitions", sizeName(n)),
			topic: topic{size: n, partitions: 8}, run: consume, main: rate, who: pair, extra: true,
		})
	}
	all = append(all, &row{
		name: "grow", what: "1 to 32 workers, one call a message, 200 bytes, 64 partitions", topic: topic{size: 200, partitions: 64},
		run: consume, main: rate, extra: true, who: numbers(1, 2, 4, 8, 16, 32),
	})
	memory := &row{
		name: "memory", what: "one call a message, 1 KiB, 8 partitions, by max_bytes", topic: topic{size: 1 << 10, partitions: 8},
		run: consume, main: rate, extra: true,
	}
	for _, kib := range []int{256, 1 << 10, 4 << 10, 10 << 10, 40 << 10} {
		memory.who = append(memory.who, entrant{
			contestant: "racecar", mode: "process", label: fmt.Sprintf("%d KiB", kib), flags: []string{"--max-bytes", fmt.Sprint(kib << 10)},
		})
	}
	return append(all, memory)
}

// numbers returns entrants of racecar with these numbers of workers.
func numbers(workers ...int) (who []entrant) {
	for _, n := range workers {
		label := fmt.Sprintf("%d workers", n)
		if n == 1 {
			label = "1 worker"
		}
		who = append(who, entrant{contestant: "racecar", mode: "process", label: label, workers: n})
	}
	return who
}
