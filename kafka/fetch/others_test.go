package fetch

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/rcrowley/go-metrics"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/racecar"
)

// answerConn answers each request of sarama's with the same Fetch answer, so that its decoder,
// which it does not export, decodes our bytes.
type answerConn struct {
	net.Conn
	body    []byte // behind the correlation id
	pending bytes.Reader
}

func (c *answerConn) Dial(_, _ string) (net.Conn, error) { return c, nil }

func (c *answerConn) Write(b []byte) (int, error) {
	answer := binary.BigEndian.AppendUint32(make([]byte, 0, 8+len(c.body)), uint32(4+len(c.body)))
	answer = append(answer, b[8:12]...)
	c.pending.Reset(append(answer, c.body...))
	return len(b), nil
}

func (c *answerConn) Read(b []byte) (int, error)       { return c.pending.Read(b) }
func (c *answerConn) SetReadDeadline(time.Time) error  { return nil }
func (c *answerConn) SetWriteDeadline(time.Time) error { return nil }
func (c *answerConn) SetDeadline(time.Time) error      { return nil }
func (c *answerConn) Close() error                     { return nil }

// saramaBroker answers Fetch requests with p.
func saramaBroker(t testing.TB, p kmsg.FetchResponseTopicPartition) *sarama.Broker {
	t.Helper()
	metrics.UseNilMetrics = true
	resp := kmsg.FetchResponse{Version: 11, Topics: []kmsg.FetchResponseTopic{{Topic: "topic", Partitions: []kmsg.FetchResponseTopicPartition{p}}}}
	conf := sarama.NewConfig()
	conf.Version, conf.ApiVersionsRequest = sarama.V3_6_0_0, false
	conf.Net.Proxy.Enable, conf.Net.Proxy.Dialer = true, &answerConn{body: resp.AppendTo(nil)}
	b := sarama.NewBroker("memory:1")
	if err := b.Open(conf); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// saramaBlock is what sarama makes of p.
func saramaBlock(t testing.TB, b *sarama.Broker) *sarama.FetchResponseBlock {
	t.Helper()
	resp, err := b.Fetch(&sarama.FetchRequest{Version: 11, MaxBytes: 1 << 30, SessionEpoch: -1})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetBlock("topic", 7)
}

// bySarama are the messages of p as sarama's consumer makes them of its decoder's, markers
// left out and aborted ones not.
func bySarama(t testing.TB, p kmsg.FetchResponseTopicPartition) (all []racecar.Message) {
	t.Helper()
	for _, records := range saramaBlock(t, saramaBroker(t, p)).RecordsSet {
		if set := records.MsgSet; set != nil {
			all = append(all, bySaramaSet(set)...)
			continue
		}
		b := records.RecordBatch
		if b.Control {
			continue
		}
		for _, r := range b.Records {
			m := racecar.Message{Topic: "topic", Partition: 7, Offset: b.FirstOffset + r.OffsetDelta, Key: r.Key, Value: r.Value, Timestamp: b.FirstTimestamp.Add(r.TimestampDelta)}
			if b.LogAppendTime {
				m.Timestamp = b.MaxTimestamp
			}
			for _, h := range r.Headers {
				m.Headers = append(m.Headers, racecar.Header{Key: string(h.Key), Value: h.Value})
			}
			all = append(all, m)
		}
	}
	return all
}

func bySaramaSet(set *sarama.MessageSet) (all []racecar.Message) {
	for _, block := range set.Messages {
		inner := block.Messages()
		for _, b := range inner {
			m := racecar.Message{Topic: "topic", Partition: 7, Offset: b.Offset, Key: b.Msg.Key, Value: b.Msg.Value, Timestamp: b.Msg.Timestamp}
			if b.Msg.Version >= 1 {
				m.Offset += block.Offset - inner[len(inner)-1].Offset
				if block.Msg.LogAppendTime {
					m.Timestamp = block.Msg.Timestamp
				}
			}
			all = append(all, m)
		}
	}
	return all
}

// byFranz are the messages of p as franz-go's client decodes them.
func byFranz(t testing.TB, p kmsg.FetchResponseTopicPartition, committed bool) (all []racecar.Message) {
	t.Helper()
	opts := kgo.ProcessFetchPartitionOpts{Topic: "topic", Partition: 7, IsolationLevel: kgo.ReadUncommitted()}
	if committed {
		opts.IsolationLevel = kgo.ReadCommitted()
	}
	fetched, _ := kgo.ProcessFetchPartition(opts, &p, kgo.DefaultDecompressor(), nil)
	if fetched.Err != nil {
		t.Fatal(fetched.Err)
	}
	for _, r := range fetched.Records {
		m := racecar.Message{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value, Timestamp: r.Timestamp}
		for _, h := range r.Headers {
			m.Headers = append(m.Headers, racecar.Header{Key: h.Key, Value: h.Value})
		}
		all = append(all, m)
	}
	return all
}

// byUs are the messages of p as this package decodes them.
func byUs(t testing.TB, p kmsg.FetchResponseTopicPartition, committed bool) (all []racecar.Message) {
	t.Helper()
	var d Decoder
	batches, err := d.Split("topic", 7, p.RecordBatches, 0)
	if err != nil {
		t.Fatal(err)
	}
	if committed {
		markAborted(batches, p.AbortedTransactions)
	}
	for _, b := range batches {
		all = append(all, messages(t, b, 0)...)
	}
	return all
}
