package access

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// metadata lists brokers, and topics with partitions of three replicas each.
func metadata(version int16, brokers, topics, partitions int) kmsg.Response {
	m := kmsg.NewPtrMetadataResponse()
	m.Version = version
	for i := range brokers {
		rack := "eu-central-1a"
		m.Brokers = append(m.Brokers, kmsg.MetadataResponseBroker{NodeID: int32(i), Host: "broker.example.com", Port: 9092, Rack: &rack})
	}
	for range topics {
		t := kmsg.NewMetadataResponseTopic()
		t.Topic = kmsg.StringPtr("a.topic.of.a.team")
		for p := range partitions {
			t.Partitions = append(t.Partitions, kmsg.MetadataResponseTopicPartition{Partition: int32(p), Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2, 3}, OfflineReplicas: []int32{}})
		}
		m.Topics = append(m.Topics, t)
	}
	return m
}

// offsets lists the commits of a group.
func offsets(version int16, topics, partitions int) kmsg.Response {
	o := kmsg.NewPtrOffsetFetchResponse()
	o.Version = version
	g := kmsg.NewOffsetFetchResponseGroup()
	g.Group = "group"
	for range topics {
		old, t := kmsg.NewOffsetFetchResponseTopic(), kmsg.NewOffsetFetchResponseGroupTopic()
		old.Topic, t.Topic = "topic", "topic"
		for p := range partitions {
			old.Partitions = append(old.Partitions, kmsg.OffsetFetchResponseTopicPartition{Partition: int32(p), Metadata: kmsg.StringPtr("note")})
			t.Partitions = append(t.Partitions, kmsg.OffsetFetchResponseGroupTopicPartition{Partition: int32(p), Metadata: kmsg.StringPtr("note")})
		}
		o.Topics, g.Topics = append(o.Topics, old), append(g.Topics, t)
	}
	o.Groups = append(o.Groups, g)
	return o
}

// A large cluster's answers pass, and those that become more than any cluster's do not.
func TestAnswersThatGrowWhenDecoded(t *testing.T) {
	for _, version := range []int16{5, 9} {
		for _, test := range []struct {
			name    string
			key     kmsg.Key
			resp    kmsg.Response
			refused bool
		}{
			{"a large cluster", kmsg.Metadata, metadata(version, 200, 5000, 20), false},
			{"many brokers", kmsg.Metadata, metadata(version, 11_000, 1, 1), true},
			{"many topics", kmsg.Metadata, metadata(version, 3, 100_000, 0), true},
			{"many partitions", kmsg.Metadata, metadata(version, 3, 2, 120_000), true},
			{"a large group", kmsg.OffsetFetch, offsets(version, 500, 100), false},
			{"topics of a group", kmsg.OffsetFetch, offsets(version, 100_000, 0), true},
			{"partitions of a group", kmsg.OffsetFetch, offsets(version, 1, 250_000), true},
		} {
			r := request{key: int16(test.key), version: version}
			if err := r.checkDecodedSize(bodyOf(test.resp)); (err != nil) != test.refused {
				t.Errorf("%s, version %d: %v", test.name, version, err)
			}
		}
	}
}

// bodyOf is an answer behind its correlation id.
func bodyOf(resp kmsg.Response) []byte {
	if resp.IsFlexible() {
		return resp.AppendTo([]byte{0}) // no tagged fields in its header
	}
	return resp.AppendTo(nil)
}

// The sizer reads each response to its end, in every version.
func TestAnswersOfAllVersionsAreUnderstood(t *testing.T) {
	for version := range int16(13) {
		s := sizer{b: bodyOf(metadata(version, 3, 5, 7))}
		s.metadata(version)
		o := sizer{b: bodyOf(offsets(min(version, 9), 5, 7))}
		o.offsets(min(version, 9))
		// Behind the arrays are operations, an error code and tagged fields.
		if len(s.b) > 5 || len(o.b) > 3 || s.cost != 3*brokerCost+5*(topicCost+7*(partitionCost+24)) || o.cost < 5*(topicCost+7*partitionCost) {
			t.Errorf("version %d: %d and %d bytes were not understood; costs %d and %d", version, len(s.b), len(o.b), s.cost, o.cost)
		}
	}
}

// Measuring an answer of any bytes terminates.
func FuzzAmplified(f *testing.F) {
	for version := range int16(13) {
		f.Add(metadata(version, 2, 2, 3).AppendTo(nil), version, true)
		f.Add(offsets(version, 2, 3).AppendTo(nil), version, false)
	}
	f.Fuzz(func(_ *testing.T, body []byte, version int16, metadata bool) {
		r := request{key: int16(kmsg.OffsetFetch), version: version}
		if metadata {
			r.key = int16(kmsg.Metadata)
		}
		_ = r.checkDecodedSize(body) // no answer is wrong
	})
}

// The connection refuses such an answer with its last byte, however the bytes come, and goes
// on behind one that is fine.
func TestAmplifiedAnswersEndTheConnection(t *testing.T) {
	fine, wrong := metadata(8, 3, 500, 50).AppendTo(nil), metadata(8, 3, 100_000, 0).AppendTo(nil)
	stream := append(answerTo(1, uint32(4+len(fine)), fine...), answerTo(2, uint32(4+len(wrong)), wrong...)...)
	for _, step := range []int{1 << 10, 1 << 16, len(stream)} {
		ours, theirs := net.Pipe()
		c := &limitedConn{Conn: ours}
		go func() {
			_, _ = io.ReadFull(theirs, make([]byte, 28))
			for b := stream; len(b) > 0; b = b[min(step, len(b)):] {
				if _, err := theirs.Write(b[:min(step, len(b))]); err != nil {
					return
				}
			}
		}()
		for id := range uint32(2) {
			if _, err := c.Write(requestOf(uint16(kmsg.Metadata), 8, id+1)); err != nil {
				t.Fatal(err)
			}
		}
		var got bytes.Buffer
		_, err := got.ReadFrom(c)
		if err == nil || !strings.Contains(err.Error(), "lists more than any cluster has") || got.Len() < len(fine)+8 || got.Len() >= len(stream) {
			t.Errorf("in steps of %d: %d of %d bytes, %v", step, got.Len(), len(stream), err)
		}
		_, _ = ours.Close(), theirs.Close()
	}
}
