package fetch

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/racecar-go/racecar/test/harness"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

var recording = flag.Bool("record", false, "write what a real broker answers to testdata/answers")

const answers = "testdata/answers"

// What Apache Kafka has answered, and sets of the formats that it no longer writes, are the
// same messages to this package, to sarama and to franz-go.
func TestDecodersAgree(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(answers, "*"))
	if err != nil || len(files) < 13 {
		t.Fatalf("%d answers, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			resp := kmsg.FetchResponse{Version: 11}
			if err := resp.ReadFrom(raw); err != nil {
				t.Fatal(err)
			}
			agree(t, resp.Topics[0].Partitions[0])
		})
	}
	for _, magic := range []byte{0, 1} {
		for _, codec := range codecs[:4] {
			t.Run(fmt.Sprintf("format %d, %s", magic, codec), func(t *testing.T) {
				agree(t, kmsg.FetchResponseTopicPartition{Partition: 7, RecordBatches: messageSets(t, magic, codec)})
			})
		}
	}
}

// messageSets are entries with keys, tombstones, and gaps where compaction removed messages.
func messageSets(t *testing.T, magic byte, codec string) (all []byte) {
	for set := range int64(3) {
		first := 10 * set
		relative := first
		if magic == 1 && codec != "none" {
			relative = 0
		}
		inner := slices.Concat(
			entry(relative, magic, 0, 1000+set, nil, []byte("value")), entry(relative+1, magic, 0, 1001, []byte("key"), nil),
			entry(relative+2, magic, 0, 1002, []byte{}, []byte{}), entry(relative+5, magic, 0, 1003, []byte("key"), []byte(strings.Repeat("v", 300))))
		if codec != "none" {
			inner = entry(first+5, magic, byte(codecBits(codec)), 2000, nil, compress(t, codec, inner))
		}
		all = append(all, inner...)
	}
	return all
}

func agree(t *testing.T, p kmsg.FetchResponseTopicPartition) {
	t.Helper()
	p.Partition = 7
	all, committed := byUs(t, p, false), byUs(t, p, true)
	if len(committed) == 0 {
		t.Error("no messages")
	}
	if diff := cmp.Diff(bySarama(t, p), all); diff != "" {
		t.Errorf("sarama (-), this package (+): %s", diff)
	}
	if diff := cmp.Diff(byFranz(t, p, false), all); diff != "" {
		t.Errorf("franz-go (-), this package (+): %s", diff)
	}
	if diff := cmp.Diff(byFranz(t, p, true), committed); diff != "" {
		t.Errorf("read_committed: franz-go (-), this package (+): %s", diff)
	}
	if len(p.AbortedTransactions) > 0 && len(committed) == len(all) {
		t.Error("aborted messages were let through")
	}
}

// The same over what a real broker answers now; with -record it is written to testdata.
func TestDecodersAgreeOnKafka(t *testing.T) {
	b := testbroker.New(t)
	b.RealOnly()
	made := map[string]string{} // topics by what they are to show
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		made["client-"+codec] = codecTopic(t, b, codec, nil)
		if codec != "none" { // the broker compresses, as Java's client does
			made["java-"+codec] = codecTopic(t, b, "none", map[string]string{"compression.type": codec})
		}
	}
	made["log-append-time"] = codecTopic(t, b, "none", map[string]string{"message.timestamp.type": "LogAppendTime"})
	for _, codec := range []string{"none", "zstd"} {
		made["transactions-"+codec] = transactionsTopic(t, b, codec)
	}
	made["compacted"] = compactedTopic(t, b)
	if *recording {
		if err := os.MkdirAll(answers, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, topic := range made {
		t.Run(name, func(t *testing.T) {
			resp := fetchRaw(t, b, topic, 0)
			agree(t, resp.Topics[0].Partitions[0])
			if *recording {
				if err := os.WriteFile(filepath.Join(answers, name), resp.AppendTo(nil), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func client(t *testing.T, b *testbroker.Broker, codec string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	compression := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(b.Addrs()...), kgo.ProducerBatchCompression(compression[codec]),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxVersions(kversion.V2_8_0()), kgo.ProducerLinger(time.Second))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// batch produces records that differ in all that a record has, the first one of all without
// key and value.
func batch(t *testing.T, cl *kgo.Client, topic string, first, n int) {
	t.Helper()
	var records []*kgo.Record
	for i := first; i < first+n; i++ {
		r := &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "key-%d", i%4), Value: []byte(strings.Repeat(fmt.Sprint("value-", i), 10)),
			Headers: []kgo.RecordHeader{{Key: "trace", Value: fmt.Appendf(nil, "%d", i)}, {Key: "null"}, {Key: "", Value: []byte{}}}[:i%4]}
		switch i {
		case 0:
			r.Key, r.Value = nil, nil
		case 1:
			r.Key, r.Value = []byte{}, []byte{}
		}
		records = append(records, r)
	}
	if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func codecTopic(t *testing.T, b *testbroker.Broker, codec string, settings map[string]string) string {
	topic := b.Group()
	b.CreateTopicWith(topic, 1, settings)
	cl := client(t, b, codec)
	for range 3 {
		batch(t, cl, topic, 0, 8)
	}
	return topic
}

// transactionsTopic holds committed and aborted transactions of two producers, and messages
// outside of any between them.
func transactionsTopic(t *testing.T, b *testbroker.Broker, codec string) string {
	topic := b.Topic(1)
	one, two, outside := client(t, b, codec, kgo.TransactionalID(topic+"-1")), client(t, b, codec, kgo.TransactionalID(topic+"-2")), client(t, b, codec)
	end := []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryAbort, kgo.TryCommit, kgo.TryAbort, kgo.TryCommit}
	for i := range len(end) - 1 {
		for _, cl := range []*kgo.Client{one, two} {
			if err := cl.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			batch(t, cl, topic, 0, 3)
		}
		batch(t, outside, topic, 0, 2)
		for j, cl := range []*kgo.Client{two, one} {
			if err := cl.EndTransaction(t.Context(), end[i+j]); err != nil {
				t.Fatal(err)
			}
		}
	}
	return topic
}

// compactedTopic returns a topic in which the broker has removed records.
func compactedTopic(t *testing.T, b *testbroker.Broker) string {
	topic := b.Group()
	b.CreateTopicWith(topic, 1, map[string]string{"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.001", "segment.ms": "500", "max.compaction.lag.ms": "500", "delete.retention.ms": "100"})
	cl := client(t, b, "none")
	harness.Eventually(t, "compaction", func() error {
		batch(t, cl, topic, 1, 6)
		resp := fetchRaw(t, b, topic, 0)
		ms := byUs(t, resp.Topics[0].Partitions[0], false)
		for i, m := range ms {
			if i > 0 && m.Offset > ms[i-1].Offset+1 {
				return nil
			}
		}
		return errors.New("nothing was removed yet")
	})
	return topic
}

// fetchRaw returns what the broker answers about a topic's only partition from an offset.
func fetchRaw(t *testing.T, b *testbroker.Broker, topic string, from int64) *kmsg.FetchResponse {
	t.Helper()
	cl := client(t, b, "none")
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes, req.MaxWaitMillis, req.IsolationLevel, req.SessionEpoch = 10<<20, 100, 1, -1
	p := kmsg.NewFetchRequestTopicPartition()
	p.FetchOffset, p.PartitionMaxBytes = from, 10<<20
	req.Topics = []kmsg.FetchRequestTopic{{Topic: topic, Partitions: []kmsg.FetchRequestTopicPartition{p}}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	about := kmsg.NewPtrMetadataRequest()
	about.Topics = []kmsg.MetadataRequestTopic{{Topic: &topic}}
	metadata, err := about.RequestWith(ctx, cl)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := req.RequestWith(ctx, cl.Broker(int(metadata.Topics[0].Partitions[0].Leader)))
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
	}
	if err != nil {
		t.Fatal(err)
	}
	resp.Version = 11
	resp.ThrottleMillis, resp.SessionID = 0, 0
	return resp
}
