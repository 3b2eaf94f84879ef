package producer

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/kafka/access"
)

// What `producer` says beats the keys, for our producer too.
func TestProducerUsesItsProperties(t *testing.T) {
	c := settings("localhost:9092")
	c.Partitioner = "consistent_random"
	c.Producer = []string{"message.timeout.ms=1234", "bootstrap.servers=elsewhere:1"}
	p, err := New(t.Context(), c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if p.timeout != 1234*time.Millisecond || p.seeds[0] != "elsewhere:1" {
		t.Errorf("timeout %v, brokers %v", p.timeout, p.seeds)
	}
}

// producer_compression_codec and partitioner take the names of what there is, and no
// others.
func TestCodecsAndPartitionersMatchTheConfiguration(t *testing.T) {
	for name, got := range map[string][]string{
		"producer_compression_codec": slices.Sorted(maps.Keys(codecs)),
		"partitioner":                slices.Sorted(maps.Keys(partitioners)),
	} {
		key, _ := config.Lookup(name)
		if diff := cmp.Diff(slices.Sorted(slices.Values(key.Enum)), got); diff != "" {
			t.Errorf("the enumeration of %s and what is implemented differ (-config +producer):\n%s", name, diff)
		}
	}
}

func TestCodecSettings(t *testing.T) {
	for _, tt := range []struct{ codec, level, want string }{
		{"", "", ""}, {"gzip", "9", ""}, {"gzip", "12", ""}, {"zstd", "22", ""}, {"lz4", "-1", ""}, {"none", "3", ""},
		{"zip", "", `producer_compression_codec: unknown codec "zip": use one of ` + strings.Join(slices.Sorted(maps.Keys(codecs)), ", ")},
		{"lz4", "3", "producer: compression.level=3 is not supported with lz4: leave it out, or use gzip or zstd"},
	} {
		c := settings("localhost:9092")
		if c.ProducerCompressionCodec = tt.codec; tt.level != "" {
			c.Producer = []string{"compression.level=" + tt.level}
		}
		_, err := New(t.Context(), c, Options{})
		if reason, _, _ := access.Permanent(err); reason != tt.want {
			t.Errorf("%s %s: %v, want %q", tt.codec, tt.level, err, tt.want)
		}
	}
}
