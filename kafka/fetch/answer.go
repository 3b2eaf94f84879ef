package fetch

import (
	"encoding/binary"
	"net"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// This file reads the answers to Fetch and Metadata requests. kmsg would allocate memory for everything
// that the answer announces, and a structure per partition.

// fetchAnswer is the head of an answer to Fetch.
type fetchAnswer struct {
	throttle int32 // milliseconds
	code     int16
	session  int32
}

// partitionAnswer is the part of one partition. Its slices belong to the connection's buffer.
type partitionAnswer struct {
	topic                  string   // below version 13
	id                     [16]byte // from version 13 on
	number                 int32
	code                   int16
	high, stable, logStart int64
	aborted                []kmsg.FetchResponseTopicPartitionAbortedTransaction
	replica                int32 // the replica to fetch from instead; -1: none (KIP-392)
	records                []byte
}

// readFetch reads an answer to Fetch and calls each for its partitions.
func readFetch(version int16, body []byte, each func(*partitionAnswer) error) (fetchAnswer, error) {
	r := answerReader{b: body, flexible: version >= 12}
	a := fetchAnswer{throttle: r.int32(), code: r.int16(), session: r.int32()}
	p := partitionAnswer{}
	for range r.length(1) {
		if version >= 13 {
			copy(p.id[:], r.take(16))
		} else {
			p.topic = r.string()
		}
		for range r.length(1) {
			if r.partition(&p); r.bad {
				break
			}
			if err := each(&p); err != nil {
				return a, err
			}
		}
		if r.tags(); r.bad {
			break
		}
	}
	if r.tags(); r.bad || len(r.b) > 0 {
		return a, newProtocolError("an answer to Fetch does not end where it says")
	}
	return a, nil
}

// partition reads the part of one partition, in version 11 to 13.
func (r *answerReader) partition(p *partitionAnswer) {
	p.number, p.code = r.int32(), r.int16()
	p.high, p.stable, p.logStart = r.int64(), r.int64(), r.int64()
	p.aborted = p.aborted[:0]
	for range r.length(16) {
		t := kmsg.FetchResponseTopicPartitionAbortedTransaction{ProducerID: r.int64(), FirstOffset: r.int64()}
		p.aborted = append(p.aborted, t)
		r.tags()
	}
	p.replica = r.int32()
	p.records = r.take(max(r.length(1), 0))
	r.tags()
}

// metadata is the part of an answer to Metadata that we use.
type metadata struct {
	brokers map[int32]string // addresses
	topics  []topicMetadata
}

type topicMetadata struct {
	name    string
	code    int16
	id      [16]byte // zero: unknown
	leaders map[int32]leader
}

// readMetadata reads an answer to Metadata, in version 9 to 12. Its memory grows with the bytes
// read: kmsg would allocate memory for everything that the answer announces.
func readMetadata(version int16, body []byte) (*metadata, error) {
	r := answerReader{b: body, flexible: true}
	m := &metadata{brokers: map[int32]string{}}
	r.int32() // throttle time
	for range r.length(1) {
		id := r.int32()
		host, port := r.string(), r.int32()
		r.string() // rack
		if r.tags(); r.bad {
			break
		}
		m.brokers[id] = net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	r.string() // cluster id
	r.int32()  // controller
	for range r.length(1) {
		t := topicMetadata{code: r.int16(), name: r.string(), leaders: map[int32]leader{}}
		if version >= 10 {
			copy(t.id[:], r.take(16))
		}
		r.take(1) // internal
		r.leaders(t.leaders)
		r.int32() // operations that are allowed
		if r.tags(); r.bad {
			break
		}
		m.topics = append(m.topics, t)
	}
	if version <= 10 {
		r.int32() // operations on the cluster that are allowed
	}
	if r.tags(); r.bad || len(r.b) > 0 {
		return nil, newProtocolError("an answer to Metadata does not end where it says")
	}
	return m, nil
}

// leaders reads the partitions of a topic. A partition without a leader has -1, with any error.
func (r *answerReader) leaders(all map[int32]leader) {
	for range r.length(1) {
		r.int16() // error
		number := r.int32()
		l := leader{r.int32(), r.int32()}
		for range 3 { // replicas, in sync, offline
			r.take(4 * max(r.length(4), 0))
		}
		if r.tags(); r.bad {
			return
		}
		all[number] = l
	}
}

// answerReader reads the fields of an answer. After the first field that exceeds the answer,
// bad is set and all others are zero.
type answerReader struct {
	b        []byte
	flexible bool // compact lengths, and tagged fields (KIP-482)
	bad      bool
}

func (r *answerReader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad = true
		return make([]byte, max(0, min(n, 16)))
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *answerReader) int16() int16 { return int16(binary.BigEndian.Uint16(r.take(2))) }

func (r *answerReader) int32() int32 { return int32(binary.BigEndian.Uint32(r.take(4))) }

func (r *answerReader) int64() int64 { return int64(binary.BigEndian.Uint64(r.take(8))) }

func (r *answerReader) uvarint() int {
	v, n := binary.Uvarint(r.b)
	if r.bad || n <= 0 || v > 1<<31 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return int(v)
}

// length reads the length of something whose parts have at least least bytes each; -1 is
// null.
func (r *answerReader) length(least int) int {
	n := 0
	if r.flexible {
		n = r.uvarint() - 1
	} else {
		n = int(r.int32())
	}
	if n > len(r.b)/least {
		r.bad = true
	}
	if r.bad {
		return 0
	}
	return n
}

func (r *answerReader) string() string {
	n := 0
	if r.flexible {
		n = r.uvarint() - 1
	} else {
		n = int(r.int16())
	}
	return string(r.take(max(n, 0)))
}

// tags skips tagged fields.
func (r *answerReader) tags() {
	if !r.flexible {
		return
	}
	for range r.uvarint() {
		r.uvarint()
		if r.take(r.uvarint()); r.bad {
			return
		}
	}
}
