package producer_test

import (
	"testing"

	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// BenchmarkProduce is from Send to the last Done, 200 bytes a message and 8 partitions. On
// the embedded broker it counts that one's work as well: see KAFKA_ADDR.
func BenchmarkProduce(b *testing.B) {
	for _, codec := range []string{"none", "lz4", "zstd"} {
		b.Run(codec, func(b *testing.B) {
			broker := testbroker.New(b)
			topic := broker.Topic(8)
			c := settings(broker.Addrs()...)
			c.ProducerCompressionCodec = codec
			p := newProducer(b, c, producer.Options{Logger: silent()})
			m := producer.Message{Topic: topic, Value: make([]byte, 200)}
			failed := make(chan error, 1)
			done := func(_ int32, _ int64, err error) {
				if err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := p.Send(b.Context(), m, done); err != nil {
					b.Fatal(err)
				}
			}
			if err := p.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
			select {
			case err := <-failed:
				b.Fatal(err)
			default:
			}
		})
	}
}
