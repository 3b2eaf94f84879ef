package producer

import (
	"cmp"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// AnyPartition is a Partitioner's result for a message that may go to any partition.
const AnyPartition int32 = -1

// Partitioner chooses partitions as librdkafka's partitioner of that name does,
// so that messages produced from Ruby and from Go with the same key meet in the
// same partition.
type Partitioner struct {
	hash func(key []byte) uint32
	// anyIf reports whether a key may go to any partition: librdkafka's *_random
	// partitioners differ in how they treat an empty key.
	anyIf func(key []byte) bool
}

// partitioners are the values of the configuration key partitioner.
var partitioners = map[string]Partitioner{
	"consistent":        {crc32.ChecksumIEEE, never},
	"consistent_random": {crc32.ChecksumIEEE, empty},
	"murmur2":           {murmur2Positive, never},
	"murmur2_random":    {murmur2Positive, null},
	"fnv1a":             {fnv1aAbsolute, never},
	"fnv1a_random":      {fnv1aAbsolute, null},
}

func never([]byte) bool     { return false }
func null(key []byte) bool  { return key == nil }
func empty(key []byte) bool { return len(key) == 0 }

// PartitionerByName returns the partitioner that configuration calls name;
// empty: consistent_random, the default.
func PartitionerByName(name string) (Partitioner, error) {
	if p, ok := partitioners[cmp.Or(name, "consistent_random")]; ok {
		return p, nil
	}
	return Partitioner{}, fmt.Errorf("partitioner %q is not known; use one of %s", name, strings.Join(slices.Sorted(maps.Keys(partitioners)), ", "))
}

// Partition returns a partition of 0..partitions-1, or AnyPartition. A nil key
// is none; an empty one is not nil.
func (p Partitioner) Partition(key []byte, partitions int32) int32 {
	if p.anyIf(key) {
		return AnyPartition
	}
	return int32(p.hash(key) % uint32(partitions))
}

// murmur2Positive is Java's Utils.toPositive(Utils.murmur2(key)).
func murmur2Positive(key []byte) uint32 { return murmur2(key) & 0x7fffffff }

// murmur2 is the hash of Java's default partitioner: MurmurHash2, 32 bits, with
// Kafka's seed.
func murmur2(key []byte) uint32 {
	const (
		seed  = 0x9747b28c
		m     = 0x5bd1e995
		shift = 24
	)
	h := seed ^ uint32(len(key))
	for ; len(key) >= 4; key = key[4:] {
		k := uint32(key[0]) | uint32(key[1])<<8 | uint32(key[2])<<16 | uint32(key[3])<<24
		k *= m
		k ^= k >> shift
		k *= m
		h = h*m ^ k
	}
	switch len(key) {
	case 3:
		h ^= uint32(key[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(key[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(key[0])) * m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}

// fnv1aAbsolute is the absolute value of FNV-1a taken as a signed number, as in
// librdkafka and sarama's hash partitioner. The smallest number stays what it
// is: 2^31.
func fnv1aAbsolute(key []byte) uint32 {
	const (
		offset = 0x811c9dc5
		prime  = 0x01000193
	)
	h := uint32(offset)
	for _, b := range key {
		h = (h ^ uint32(b)) * prime
	}
	if int32(h) < 0 {
		return -h
	}
	return h
}

// stickyFor is how long messages that may go to any partition go to the same one, so that
// batches fill up, unless sticky.partitioning.linger.ms says otherwise (librdkafka: twice
// linger.ms).
const stickyFor = 10 * time.Millisecond

// stickyPartition chooses a partition at random and stays with it for a while.
type stickyPartition struct {
	partition int32
	until     time.Time
}

// choose returns one of partitions, which is not empty.
func (s *stickyPartition) choose(partitions []int32, now time.Time, linger time.Duration) int32 {
	if !now.Before(s.until) {
		s.partition = partitions[rand.IntN(len(partitions))]
		s.until = now.Add(linger)
	}
	return s.partition
}
