package access

import (
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// This file bounds the memory that a decoded response takes. A few bytes of a list on the
// wire become a structure with slices and map entries; the costs here are what sarama
// allocates for one element, in bytes.
const (
	brokerCost    = 3 << 10
	topicCost     = 400
	partitionCost = 160
	// maxDecoded bounds a decoded response: it is enough for about 200,000 partitions.
	maxDecoded = 32 << 20
	// smallAnswer is the size of a response up to which it is not measured.
	smallAnswer = 64 << 10
)

// needsSizeCheck reports whether the response lists topics and partitions, and so has to be
// measured before it is decoded.
func (r request) needsSizeCheck() bool {
	return r.key == int16(kmsg.Metadata) || r.key == int16(kmsg.OffsetFetch)
}

// checkDecodedSize measures the body of a response, which follows the correlation id.
func (r request) checkDecodedSize(body []byte) error {
	s := sizer{b: body}
	if r.key == int16(kmsg.Metadata) {
		s.metadata(r.version)
	} else {
		s.offsets(r.version)
	}
	if s.cost > maxDecoded {
		return fmt.Errorf("the answer to a request of kind %d lists more than any cluster has: not a Kafka broker", r.key)
	}
	return nil
}

// sizer goes through an answer without decoding it. After the first field that does not fit
// it has nothing more: the client library says what is wrong.
type sizer struct {
	b        []byte
	flexible bool // compact lengths, and tagged fields (KIP-482)
	cost     int
}

func (s *sizer) skip(n int) {
	if n < 0 || n > len(s.b) {
		s.b = nil
		return
	}
	s.b = s.b[n:]
}

// length reads a length, which has the given number of bytes unless it is compact; -1: null.
func (s *sizer) length(bytes int) int {
	if s.flexible {
		v, n := binary.Uvarint(s.b)
		if n == 0 {
			n = -1 // cut short
		}
		s.skip(n)
		return int(min(v, 1<<31)) - 1
	}
	if len(s.b) < bytes {
		s.b = nil
		return 0
	}
	defer s.skip(bytes)
	if bytes == 2 {
		return int(int16(binary.BigEndian.Uint16(s.b)))
	}
	return int(int32(binary.BigEndian.Uint32(s.b)))
}

func (s *sizer) string() { s.skip(max(0, s.length(2))) }

// int32s skips an array of int32, whose decoded elements are as large as on the wire.
func (s *sizer) int32s() {
	n := max(0, s.length(4))
	s.cost += 4 * min(n, len(s.b))
	s.skip(4 * n)
}

// tags skips tagged fields: brokers send few of them, and sarama ignores them.
func (s *sizer) tags() {
	if !s.flexible {
		return
	}
	for n := s.length(4) + 1; n > 0 && len(s.b) > 0; n-- {
		_ = s.length(4)
		s.skip(s.length(4) + 1)
	}
}

// array calls each for every element. sarama allocates memory for the announced number of
// elements before it decodes the first one.
func (s *sizer) array(cost int, each func()) {
	n := max(0, s.length(4))
	s.cost += cost * min(n, maxDecoded)
	for ; n > 0 && len(s.b) > 0 && s.cost <= maxDecoded; n-- {
		each()
		s.tags()
	}
}

func (s *sizer) metadata(version int16) {
	if s.flexible = version >= 9; s.flexible {
		s.tags()
	}
	since := func(v int16, n int) {
		if version >= v {
			s.skip(n)
		}
	}
	since(3, 4) // throttle time
	s.array(brokerCost, func() {
		s.skip(4)
		s.string()
		s.skip(4)
		if version >= 1 {
			s.string()
		}
	})
	if version >= 2 {
		s.string()
	}
	since(1, 4) // controller
	s.array(topicCost, func() {
		s.skip(2)
		s.string()
		since(10, 16) // topic id
		since(1, 1)
		s.array(partitionCost, func() {
			s.skip(2 + 4 + 4)
			since(7, 4) // leader epoch
			s.int32s()
			s.int32s()
			if version >= 5 {
				s.int32s()
			}
		})
		since(8, 4) // authorized operations
	})
}

func (s *sizer) offsets(version int16) {
	if s.flexible = version >= 6; s.flexible {
		s.tags()
	}
	topics := func() {
		s.array(topicCost, func() {
			if version >= 10 {
				s.skip(16) // topic id
			} else {
				s.string()
			}
			s.array(partitionCost, func() {
				s.skip(4 + 8)
				if version >= 5 {
					s.skip(4) // leader epoch
				}
				s.string()
				s.skip(2)
			})
		})
	}
	if version >= 3 {
		s.skip(4) // throttle time
	}
	if version < 8 {
		topics()
		return
	}
	s.array(topicCost, func() {
		s.string()
		topics()
		s.skip(2)
	})
}
