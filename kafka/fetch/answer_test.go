package fetch

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// FuzzAnswers: reading an answer of any bytes returns an error, or a result that is no larger
// than the answer.
func FuzzAnswers(f *testing.F) {
	fetch := kmsg.NewPtrFetchResponse()
	fetch.Topics = []kmsg.FetchResponseTopic{{Topic: "t", Partitions: []kmsg.FetchResponseTopicPartition{{
		Partition: 1, HighWatermark: 7, AbortedTransactions: []kmsg.FetchResponseTopicPartitionAbortedTransaction{{ProducerID: 3}}, RecordBatches: []byte("records"),
	}}}}
	name := "t"
	meta := kmsg.NewPtrMetadataResponse()
	meta.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 1, Host: "h", Port: 2}}
	meta.Topics = []kmsg.MetadataResponseTopic{{Topic: &name, Partitions: []kmsg.MetadataResponseTopicPartition{{Partition: 1, Leader: 1, Replicas: []int32{1, 2}}}}}
	for v := fetchVersions.oldest; v <= fetchVersions.newest; v++ {
		fetch.Version = v
		f.Add(v, fetch.AppendTo(nil))
	}
	for v := metadataVersions.oldest; v <= metadataVersions.newest; v++ {
		meta.Version = v
		f.Add(v, meta.AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, version int16, body []byte) {
		seen := 0
		_, err := readFetch(version, body, func(p *partitionAnswer) error {
			seen += 1 + len(p.records) + 16*len(p.aborted)
			return nil
		})
		if err == nil && seen > len(body) {
			t.Errorf("%d bytes of %d", seen, len(body))
		}
		if m, err := readMetadata(version, body); err == nil && len(m.brokers)+len(m.topics) > len(body) {
			t.Errorf("%d brokers and %d topics in %d bytes", len(m.brokers), len(m.topics), len(body))
		}
	})
}

// What kmsg encodes is read as it was meant, in each version.
func TestAnswersOfEachVersion(t *testing.T) {
	resp := kmsg.NewPtrFetchResponse()
	resp.ThrottleMillis, resp.SessionID = 5, 6
	id := [16]byte{1}
	resp.Topics = []kmsg.FetchResponseTopic{{Topic: "t", TopicID: id, Partitions: []kmsg.FetchResponseTopicPartition{{
		Partition: 1, HighWatermark: 7, LastStableOffset: 8, LogStartOffset: 9, PreferredReadReplica: 10,
		AbortedTransactions: []kmsg.FetchResponseTopicPartitionAbortedTransaction{{ProducerID: 3, FirstOffset: 4}}, RecordBatches: []byte("records"),
	}}}}
	for v := fetchVersions.oldest; v <= fetchVersions.newest; v++ {
		resp.Version = v
		n := 0
		a, err := readFetch(v, resp.AppendTo(nil), func(p *partitionAnswer) error {
			n++
			if p.number != 1 || p.high != 7 || p.stable != 8 || p.logStart != 9 || p.replica != 10 || string(p.records) != "records" ||
				len(p.aborted) != 1 || p.aborted[0].ProducerID != 3 || p.aborted[0].FirstOffset != 4 || (p.topic == "t") == (p.id == id) {
				t.Errorf("version %d: %+v", v, p)
			}
			return nil
		})
		if err != nil || n != 1 || a != (fetchAnswer{throttle: 5, session: 6}) {
			t.Errorf("version %d: %+v, %v", v, a, err)
		}
	}
	name := "t"
	meta := kmsg.NewPtrMetadataResponse()
	meta.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 1, Host: "h", Port: 2}}
	meta.Topics = []kmsg.MetadataResponseTopic{{Topic: &name, TopicID: id, Partitions: []kmsg.MetadataResponseTopicPartition{{Partition: 1, Leader: 1, LeaderEpoch: 3, Replicas: []int32{1, 2}}}}}
	for v := metadataVersions.oldest; v <= metadataVersions.newest; v++ {
		meta.Version = v
		m, err := readMetadata(v, meta.AppendTo(nil))
		if err != nil || m.brokers[1] != "h:2" || len(m.topics) != 1 || m.topics[0].name != "t" || (m.topics[0].id == id) != (v >= 10) || m.topics[0].leaders[1] != (leader{1, 3}) {
			t.Errorf("version %d: %+v, %v", v, m, err)
		}
	}
}
