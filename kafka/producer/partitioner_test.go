package producer

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"hash/crc32"
	"os"
	"strings"
	"testing"
	"time"
)

var partitionerNames = []string{"consistent", "consistent_random", "murmur2", "murmur2_random", "fnv1a", "fnv1a_random"}

// vectorKeys makes the keys of test/librdkafka-vectors/vectors.c.
type vectorKeys struct{ state uint64 }

func (v *vectorKeys) next() uint64 {
	v.state += 0x9e3779b97f4a7c15
	z := v.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (v *vectorKeys) key(i int) []byte {
	switch i % 100 {
	case 0:
		return nil
	case 1:
		return []byte{}
	case 2:
		return []byte([]string{"2231b98", "19d2100h"}[i/100%2])
	}
	most := uint64(32)
	if i%10 == 3 {
		most = 300
	}
	key := make([]byte, 1+v.next()%most)
	for n := range key {
		key[n] = byte(v.next())
	}
	return key
}

// The vectors are what the real librdkafka chose.
func TestPartitionersAgreeWithLibrdkafka(t *testing.T) {
	f, err := os.Open("../../test/librdkafka-vectors/vectors.txt.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	keys := &vectorKeys{state: 0x5bd1e9959747b28c}
	wrong := map[string]int{}
	i := 0
	for lines := bufio.NewScanner(z); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		key, want := keys.key(i), strings.Fields(lines.Text())
		partitions := int32(1 + keys.next()%1000)
		if fmt.Sprint(partitions) != want[0] {
			t.Fatalf("key %d: the vectors have %s partitions, we %d: the keys are not made alike", i, want[0], partitions)
		}
		for n, name := range partitionerNames {
			p, err := PartitionerByName(name)
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprint(p.Partition(key, partitions))
			if p.Partition(key, partitions) == AnyPartition {
				got = "*"
			}
			if got != want[1+n] {
				if wrong[name]++; wrong[name] <= 3 {
					t.Errorf("%s: key %d (%q), %d partitions: got %s, librdkafka %s", name, i, key, partitions, got, want[1+n])
				}
			}
		}
		i++
	}
	if i != 20000 {
		t.Fatalf("%d keys in the vectors", i)
	}
	for name, n := range wrong {
		t.Errorf("%s: %d of %d keys go elsewhere", name, n, i)
	}
}

func TestPartitionerByName(t *testing.T) {
	p, err := PartitionerByName("")
	if err != nil || p.Partition(nil, 5) != AnyPartition || p.Partition([]byte("key"), 5) != int32(crc32.ChecksumIEEE([]byte("key"))%5) {
		t.Errorf("the default is not consistent_random: %v", err)
	}
	if _, err := PartitionerByName("murmur3"); err == nil || !strings.Contains(err.Error(), `"murmur3"`) {
		t.Errorf("murmur3: %v", err)
	}
}

func TestStickyPartition(t *testing.T) {
	var s stickyPartition
	now := time.Unix(0, 0)
	seen := map[int32]bool{}
	ten := []int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	for range 200 {
		first := s.choose(ten, now, stickyFor)
		if again := s.choose(ten, now.Add(stickyFor-1), stickyFor); again != first {
			t.Fatalf("moved from %d to %d before its time", first, again)
		}
		seen[first] = true
		now = now.Add(stickyFor)
	}
	if len(seen) != 10 {
		t.Errorf("only partitions %v were chosen", seen)
	}
}

func BenchmarkPartitioner(b *testing.B) {
	key := bytes.Repeat([]byte("k"), 36)
	for _, name := range []string{"consistent", "murmur2", "fnv1a"} {
		p, err := PartitionerByName(name)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				p.Partition(key, 100)
			}
		})
	}
}
