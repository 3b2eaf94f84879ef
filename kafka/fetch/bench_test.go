package fetch

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sys/unix"
)

// cpuTime is what the process has used so far, collecting garbage included, in nanoseconds.
func cpuTime(b *testing.B) int64 {
	var use unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return use.Utime.Nano() + use.Stime.Nano()
}

// BenchmarkDecode decodes batches of 1,000 messages of 200 bytes each; sarama's figures have
// the copying of an answer from memory in them.
func BenchmarkDecode(b *testing.B) {
	const n = 1000
	random := rand.New(rand.NewPCG(1, 2))
	records := make([]kmsg.Record, n)
	for i := range records {
		value := fmt.Appendf(nil, `{"id":%d,"user":"%x","text":"`, random.Uint32(), random.Uint64())
		for len(value) < 200 {
			value = append(value, []string{"the ", "quick ", "brown ", "fox ", "jumps "}[random.IntN(5)]...)
		}
		records[i] = kmsg.Record{OffsetDelta: int32(i), TimestampDelta64: int64(i), Value: bytes.Clone(value[:200])}
	}
	headers := make([]kmsg.Record, n)
	for i := range headers {
		headers[i] = records[i]
		headers[i].Headers = []kmsg.Header{{Key: "traceparent", Value: []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")}, {Key: "type", Value: []byte("order")}}
	}
	for _, test := range []struct {
		name, codec string
		records     []kmsg.Record
	}{{"none", "none", records}, {"headers", "none", headers}, {"lz4", "lz4", records}, {"zstd", "zstd", records}, {"java-zstd", "zstd-stream", records}} {
		p := kmsg.FetchResponseTopicPartition{Partition: 7, RecordBatches: testBatch{codec: test.codec, records: test.records}.bytes(b)}
		run := func(name string, decode func()) {
			b.Run(name+"/"+test.name, func(b *testing.B) {
				b.ReportAllocs()
				began := cpuTime(b)
				for b.Loop() {
					decode()
				}
				b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N)/n, "cpu-ns/message")
			})
		}
		var d Decoder
		run("racecar", func() {
			batches, err := d.Split("topic", 7, p.RecordBatches, 0)
			if err == nil {
				err = batches[0].Open(testLimit)
			}
			for from := int64(0); from < n && err == nil; from += 125 {
				_, err = batches[0].Messages(from, 125)
			}
			if err != nil {
				b.Fatal(err)
			}
		})
		broker := saramaBroker(b, p)
		run("sarama", func() {
			if got := len(saramaBlock(b, broker).RecordsSet[0].RecordBatch.Records); got != n {
				b.Fatal(got)
			}
		})
		decompressor := kgo.DefaultDecompressor()
		run("franz-go", func() {
			fetched, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Topic: "topic", Partition: 7}, &p, decompressor, nil)
			if len(fetched.Records) != n {
				b.Fatal(len(fetched.Records), fetched.Err)
			}
		})
	}
}
