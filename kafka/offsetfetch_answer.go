package kafka

import (
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	offsetFetchKey      = 9
	offsetFetchFlexible = 6 // the first version of OffsetFetch with tagged fields
)

// answerOffsetFetch answers a whole OffsetFetch request of sarama in the broker's stead: nothing is
// committed. sarama would send one request per partition, one after the other, before it begins
// a session, and nobody needs the answers: the worker reads all offsets with one request.
func answerOffsetFetch(b []byte) ([]byte, error) {
	const head = 14 // size, key, version, correlation id, length of the client id
	if len(b) < head {
		return nil, fmt.Errorf("an OffsetFetch request of %d bytes", len(b))
	}
	req, resp := kmsg.NewPtrOffsetFetchRequest(), kmsg.NewPtrOffsetFetchResponse()
	req.Version = int16(binary.BigEndian.Uint16(b[6:]))
	resp.Version = req.Version
	body := head + max(0, int(int16(binary.BigEndian.Uint16(b[head-2:]))))
	out := append(make([]byte, 4, 128), b[8:12]...)
	if req.Version >= offsetFetchFlexible {
		body++ // no tagged fields
		out = append(out, 0)
	}
	if len(b) < body {
		return nil, fmt.Errorf("an OffsetFetch request of %d bytes", len(b))
	}
	if err := req.ReadFrom(b[body:]); err != nil {
		return nil, fmt.Errorf("an OffsetFetch request: %w", err)
	}
	for _, t := range req.Topics {
		topic := kmsg.NewOffsetFetchResponseTopic()
		topic.Topic = t.Topic
		for _, n := range t.Partitions {
			p := kmsg.NewOffsetFetchResponseTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch = n, NoOffset, -1
			topic.Partitions = append(topic.Partitions, p)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	for _, g := range req.Groups {
		group := kmsg.NewOffsetFetchResponseGroup()
		group.Group = g.Group
		for _, t := range g.Topics {
			topic := kmsg.NewOffsetFetchResponseGroupTopic()
			topic.Topic = t.Topic
			for _, n := range t.Partitions {
				p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
				p.Partition, p.Offset, p.LeaderEpoch = n, NoOffset, -1
				topic.Partitions = append(topic.Partitions, p)
			}
			group.Topics = append(group.Topics, topic)
		}
		resp.Groups = append(resp.Groups, group)
	}
	out = resp.AppendTo(out)
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	return out, nil
}
