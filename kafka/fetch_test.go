package kafka

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// fixedControl allows a fixed size and counts.
type fixedControl struct {
	limit    int32
	asked    atomic.Int64
	received atomic.Int64
}

func (f *fixedControl) Limit() int32           { f.asked.Add(1); return f.limit }
func (f *fixedControl) Received(wire, _ int64) { f.received.Add(wire) }

func (*fixedControl) Room() int64                               { return 1 << 30 }
func (*fixedControl) Fetched(TopicPartition, Fetched)           {}
func (*fixedControl) Undecodable(TopicPartition, BadBatch) bool { return false }

// What the broker is asked for is what the control allows, in each version.
func TestFetchesAreLimited(t *testing.T) {
	for _, version := range []sarama.KafkaVersion{sarama.V0_11_0_0, sarama.V2_4_0_0, sarama.MaxVersion} {
		b := testbroker.New(t)
		topic := b.Topic(1)
		b.Produce(topic, 0, "a", "b", "c")
		cluster := b.Embedded()
		var mu sync.Mutex
		var asked []int32
		cluster.ControlKey(fetchKey, func(req kmsg.Request) (kmsg.Response, error, bool) {
			cluster.KeepControl()
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, req.(*kmsg.FetchRequest).MaxBytes)
			return nil, nil, false
		})
		c := settings(b.Addrs()...)
		conf, err := consumerConfig(c, ConsumerOptions{})
		if err != nil {
			t.Fatal(err)
		}
		conf.Version = version
		client, err := NewClient(t.Context(), conf)
		if err != nil {
			t.Fatal(err)
		}
		control := &fixedControl{limit: 4321}
		client.ControlFetches(control)
		consumer, err := sarama.NewConsumerFromClient(client)
		if err != nil {
			t.Fatal(err)
		}
		claim, err := consumer.ConsumePartition(topic, 0, sarama.OffsetOldest)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			<-claim.Messages()
		}
		_ = claim.Close()
		_ = client.Close()
		mu.Lock()
		for _, n := range asked {
			if n != 4321 {
				t.Errorf("%v: asked for %d bytes", version, n)
			}
		}
		if len(asked) == 0 || control.asked.Load() < int64(len(asked)) || control.received.Load() < 100 {
			t.Errorf("%v: %d fetches, asked %d times, %d bytes received", version, len(asked), control.asked.Load(), control.received.Load())
		}
		mu.Unlock()
	}
}

// Whatever passes that is no fetch is left as it is, whatever it looks like.
func FuzzMaxBytesAt(f *testing.F) {
	f.Add([]byte{0, 0, 0, 10, 0, 1, 0, 12, 0, 0, 0, 1, 255, 255})
	f.Add([]byte{0, 0, 0, 27, 0, 1, 0, 4, 0, 0, 0, 1, 0, 1, 'c', 255, 255, 255, 255, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 16, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		at := maxBytesAt(b)
		if at >= 0 && (at < 14 || at+4 > len(b)) {
			t.Errorf("at %d of %d bytes", at, len(b))
		}
		ours, theirs := net.Pipe()
		defer theirs.Close()
		defer ours.Close()
		got := make(chan []byte, 1)
		go func() {
			buf := make([]byte, len(b))
			n := 0
			for n < len(b) {
				m, err := theirs.Read(buf[n:])
				if err != nil {
					break
				}
				n += m
			}
			got <- buf[:n]
		}()
		before := append([]byte(nil), b...)
		if _, err := (&fetchConn{Conn: ours, versions: map[int32]int16{}, answers: fetchAnswers{control: &fixedControl{limit: 100}}}).Write(b); err != nil {
			t.Fatal(err)
		}
		if string(before) != string(b) {
			t.Error("the caller's bytes were changed")
		}
		sent := <-got
		for i := range sent {
			if sent[i] != b[i] && (at < 0 || i < at || i >= at+4) {
				t.Errorf("byte %d was changed, max_bytes is at %d", i, at)
			}
		}
	})
}
