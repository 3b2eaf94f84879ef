package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// watchedControl bounds nothing and remembers what it is told.
type watchedControl struct {
	room int64

	mu      sync.Mutex
	bad     map[TopicPartition]BadBatch
	skip    bool
	fetched map[TopicPartition]Fetched
}

func newWatchedControl() *watchedControl {
	return &watchedControl{room: 1 << 30, bad: map[TopicPartition]BadBatch{}, fetched: map[TopicPartition]Fetched{}}
}

func (*watchedControl) Limit() int32          { return 1 << 30 }
func (*watchedControl) Received(int64, int64) {}
func (w *watchedControl) Room() int64         { return w.room }
func (w *watchedControl) Fetched(k TopicPartition, f Fetched) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fetched[k] = f
}

func (w *watchedControl) Undecodable(k TopicPartition, b BadBatch) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bad[k] = b
	return w.skip
}

func (w *watchedControl) badIn(k TopicPartition) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bad[k].Err
}

// consumed starts a consumer of all partitions, with control, and returns what comes.
func consumed(t *testing.T, b *testbroker.Broker, control FetchControl, topic string, partitions int) chan *sarama.ConsumerMessage {
	t.Helper()
	c := settings(b.Addrs()...)
	c.MaxBytes = 10 << 20
	conf, err := consumerConfig(c, ConsumerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := NewClient(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	client.ControlFetches(control)
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	all := make(chan *sarama.ConsumerMessage, 1<<16)
	var running sync.WaitGroup
	t.Cleanup(func() {
		running.Wait()
		_ = client.Close()
	})
	for n := range partitions {
		claim, err := consumer.ConsumePartition(topic, int32(n), sarama.OffsetOldest)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for err := range claim.Errors() {
				t.Logf("%v", err)
			}
		}()
		running.Go(func() {
			for m := range claim.Messages() {
				all <- m
			}
		})
		t.Cleanup(claim.AsyncClose)
	}
	return all
}

// next waits for a message.
func next(t *testing.T, all <-chan *sarama.ConsumerMessage) *sarama.ConsumerMessage {
	t.Helper()
	select {
	case m := <-all:
		return m
	case <-time.After(20 * time.Second):
		t.Fatal("waited in vain for a message")
		return nil
	}
}

func zstded(t testing.TB, b []byte) []byte {
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return e.EncodeAll(b, nil)
}

// A batch that cannot be decoded, or takes too much memory once it is, stops its own
// partition and no other of its broker; an operator can have it skipped.
func TestUndecodableBatches(t *testing.T) {
	for name, test := range map[string]struct {
		batch func(t *testing.T) testbroker.RawBatch
		want  string
		real  bool // Apache Kafka takes it
	}{
		"no zstd": {func(*testing.T) testbroker.RawBatch {
			return testbroker.RawBatch{Count: 1, Attributes: 4, Records: []byte("this is no zstd frame, is it?")}
		}, "decompressing it: ", false},
		"no gzip": {func(*testing.T) testbroker.RawBatch {
			return testbroker.RawBatch{Count: 1, Attributes: 1, Records: []byte("this is no gzip, is it?")}
		}, "decompressing it: ", false},
		"no snappy": {func(*testing.T) testbroker.RawBatch {
			return testbroker.RawBatch{Count: 1, Attributes: 2, Records: bytes.Repeat([]byte{255}, 30)}
		}, "decompressing it: ", false},
		"no lz4": {func(*testing.T) testbroker.RawBatch {
			return testbroker.RawBatch{Count: 1, Attributes: 3, Records: []byte("this is no lz4 frame, is it?")}
		}, "decompressing it: ", false},
		"fewer records than it says": {func(*testing.T) testbroker.RawBatch {
			return testbroker.RawBatch{Count: 3, Records: testbroker.RawRecord(0, []byte("x"), 0)}
		}, "record 2 of 3: it does not have the format of a record", false},
		"more records than it says": {func(*testing.T) testbroker.RawBatch {
			return testbroker.RawBatch{Count: 1, Records: bytes.Repeat(testbroker.RawRecord(0, []byte("x"), 0), 2)}
		}, "8 bytes follow its 1 records", false},
		"offsets that go back": {func(*testing.T) testbroker.RawBatch {
			return testbroker.RawBatch{Count: 2, Records: bytes.Repeat(testbroker.RawRecord(0, []byte("x"), 0), 2)}
		}, "record 2 of 2: its offset is not above the one before it", false},
		"300 MB in 32 kB": {func(t *testing.T) testbroker.RawBatch {
			return testbroker.RawBatch{Count: 1, Attributes: 4, Records: zstded(t, testbroker.RawRecord(0, make([]byte, 300<<20), 0))}
		}, "decoded it takes more than 67108864 bytes (max_batch_bytes)", false},
		"two million empty headers": {func(t *testing.T) testbroker.RawBatch {
			return testbroker.RawBatch{Count: 1, Attributes: 4, Records: zstded(t, testbroker.RawRecord(0, nil, 2_000_000))}
		}, "decoded it takes more than 67108864 bytes (max_batch_bytes)", true},
		"300,000 empty records": {func(t *testing.T) testbroker.RawBatch {
			var records []byte
			for i := range 300_000 {
				records = append(records, testbroker.RawRecord(i, nil, 0)...)
			}
			return testbroker.RawBatch{Count: 300_000, Attributes: 4, Records: zstded(t, records)}
		}, "decoded it takes more than 67108864 bytes (max_batch_bytes)", true},
	} {
		t.Run(name, func(t *testing.T) {
			b := testbroker.New(t)
			if b.Real() && !test.real {
				t.Skip("Apache Kafka refuses such a batch")
			}
			topic := b.Topic(2)
			b.Produce(topic, 0, "before")
			b.ProduceRaw(topic, 0, test.batch(t))
			b.Produce(topic, 0, "behind")
			for range 5 {
				b.Produce(topic, 1, "beside")
			}
			control, bad := newWatchedControl(), TopicPartition{Topic: topic, Partition: 0}
			all := consumed(t, b, control, topic, 2)
			got := map[string]int{}
			for range 6 {
				got[string(next(t, all).Value)]++
			}
			if got["before"] != 1 || got["beside"] != 5 {
				t.Errorf("got %v", got)
			}
			eventually(t, func() error {
				if control.badIn(bad) == nil {
					return errors.New("nothing said")
				}
				return nil
			})
			if err := control.badIn(bad); !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("said %q, want %q", err, test.want)
			}
			control.mu.Lock()
			first, last := control.bad[bad].First, control.bad[bad].Last
			control.skip = true
			control.mu.Unlock()
			m := next(t, all)
			if string(m.Value) != "behind" || first != 1 || m.Offset != last+1 {
				t.Errorf("offsets %d to %d are bad; behind them came %q at %d", first, last, m.Value, m.Offset)
			}
		})
	}
}

// What brokers refuse may lie in a log all the same: disks fail.
func TestBatchesThatAreDamaged(t *testing.T) {
	record := testbroker.RawRecord(0, []byte("x"), 0)
	edited := func(at int, b byte) []byte {
		raw := testbroker.RawBatch{Count: 1, Records: record}.Bytes()
		raw[at] = b
		return raw
	}
	for name, test := range map[string]struct {
		raw  []byte
		want string
	}{
		"good":             {testbroker.RawBatch{Count: 1, Records: record}.Bytes(), "<nil>"},
		"unknown codec":    {testbroker.RawBatch{Count: 1, Attributes: 5, Records: record}.Bytes(), "its compression is 5, which is unknown"},
		"wrong checksum":   {testbroker.RawBatch{Count: 1, Records: record, BadSum: true}.Bytes(), "its checksum does not match its content"},
		"no records":       {testbroker.RawBatch{Count: -2}.Bytes(), "it says that it has -2 records"},
		"unknown format":   {edited(magicAt, 3), "its format is 3, which is unknown"},
		"old format":       {edited(magicAt, 1), errOldFormat.Error()},
		"no length":        {edited(lengthAt+3, 5), "it says that it has 17 bytes, less than any batch"},
		"a negative one":   {edited(lengthAt, 255), "it says that it has -"},
		"cut off":          {edited(lengthAt, 1), errCutOff.Error()},
		"only its offset":  {edited(0, 0)[:8], errCutOff.Error()},
		"all of its heads": {edited(0, 0)[:recordsAt], errCutOff.Error()},
	} {
		b, _, err := cutBatch(test.raw)
		if err == nil {
			_, err = (&batchDecoder{limit: defaultMaxBatch}).decode(b)
		}
		if got := fmt.Sprint(err); !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

// An answer whose first batch is cut off again and again is never going to be whole.
func TestBatchThatStaysCutOff(t *testing.T) {
	control := newWatchedControl()
	a := fetchAnswers{control: control, decoder: batchDecoder{limit: defaultMaxBatch}}
	k := TopicPartition{Topic: "a"}
	raw := testbroker.RawBatch{Count: 1, Records: testbroker.RawRecord(0, []byte("x"), 0)}.Bytes()
	for i := range cutOffs + 1 {
		if control.badIn(k) != nil {
			t.Fatalf("given up after %d answers", i)
		}
		p := kmsg.FetchResponseTopicPartition{HighWatermark: 1, RecordBatches: raw[:len(raw)-1]}
		a.partition(k, &p)
		if got := len(p.RecordBatches); i < cutOffs && got != len(raw)-1 {
			t.Errorf("sarama gets %d bytes", got)
		}
	}
	if !errors.Is(control.badIn(k), errCutOff) {
		t.Errorf("said %v", control.badIn(k))
	}
}

func eventually(t *testing.T, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}

// A batch may have more records than bytes, compressed: sarama takes such a one for cut
// off and fetches it for ever.
func TestMoreRecordsThanBytes(t *testing.T) {
	for codec, compression := range map[string]kgo.CompressionCodec{
		"gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		t.Run(codec, func(t *testing.T) {
			const messages = 10_000
			b := testbroker.New(t)
			topic := b.Topic(1)
			cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.ProducerBatchCompression(compression), kgo.ProducerLinger(time.Second))
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			var rs []*kgo.Record
			for range messages {
				rs = append(rs, &kgo.Record{Topic: topic, Value: []byte("equal")})
			}
			if err := cl.ProduceSync(t.Context(), rs...).FirstErr(); err != nil {
				t.Fatal(err)
			}
			all := consumed(t, b, newWatchedControl(), topic, 1)
			for i := range messages {
				if m := next(t, all); m.Offset != int64(i) || string(m.Value) != "equal" {
					t.Fatalf("message %d is %q at %d", i, m.Value, m.Offset)
				}
			}
		})
	}
}

// What the messages of an answer take in memory is bounded, compressed or not; what does
// not fit is fetched again.
func TestFetchedMessagesAreBounded(t *testing.T) {
	for _, compression := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.ZstdCompression()} {
		const partitions, batches, size = 4, 5, 100_000
		b := testbroker.New(t)
		topic := b.Topic(partitions)
		cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.ProducerBatchCompression(compression), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		for i := range batches * partitions {
			value := bytes.Repeat([]byte{byte(i)}, size)
			if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: int32(i % partitions), Value: value}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		control := &roomControl{watchedControl: newWatchedControl()}
		control.room = 250_000
		all := consumed(t, b, control, topic, partitions)
		seen := map[string]bool{}
		for range batches * partitions {
			m := next(t, all)
			seen[fmt.Sprint(m.Partition, m.Offset)] = true
		}
		if len(seen) != batches*partitions {
			t.Errorf("%d of %d messages", len(seen), batches*partitions)
		}
		control.mu.Lock()
		if control.most < size || control.most > control.room {
			t.Errorf("an answer held %d bytes, %d are allowed", control.most, control.room)
		}
		control.mu.Unlock()
	}
}

// roomControl remembers the largest answer.
type roomControl struct {
	*watchedControl
	most int64
}

func (r *roomControl) Received(_, decoded int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.most = max(r.most, decoded)
}

// The control learns what of a partition there is to come: markers of transactions and
// aborted messages are nothing.
func TestFetchedTellsMessagesFromMarkers(t *testing.T) {
	b := testbroker.New(t)
	topic := b.Topic(1)
	k := TopicPartition{Topic: topic}
	kc, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.TransactionalID(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer kc.Close()
	transaction := func(end kgo.TransactionEndTry) {
		t.Helper()
		if err := kc.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := kc.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := kc.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	transaction(kgo.TryCommit) // 0, its marker 1
	transaction(kgo.TryAbort)  // 2, 3
	control := newWatchedControl()
	all := consumed(t, b, control, topic, 1)
	if m := next(t, all); m.Offset != 0 {
		t.Errorf("message at %d", m.Offset)
	}
	is := func(want Fetched) {
		t.Helper()
		eventually(t, func() error {
			control.mu.Lock()
			defer control.mu.Unlock()
			if got := control.fetched[k]; got != want {
				return fmt.Errorf("%+v, want %+v", got, want)
			}
			return nil
		})
	}
	is(Fetched{Last: 0, Next: 4, End: 4})
	transaction(kgo.TryCommit) // 4, 5
	is(Fetched{Last: 4, Next: 6, End: 6})
}

// Whatever bytes a batch has, it is decoded or refused; what was decoded takes no more
// memory than is allowed, and is the same when it is decoded again.
func FuzzDecodeBatch(f *testing.F) {
	one := testbroker.RawRecord(0, []byte("value"), 2)
	for codec, records := range [][]byte{one, nil, nil, nil, zstded(f, one)} {
		f.Add(testbroker.RawBatch{Count: 1, Attributes: int16(codec), Records: records}.Bytes())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		const limit = 1 << 20
		d := batchDecoder{limit: limit}
		b, rest, err := cutBatch(raw)
		if err != nil {
			return
		}
		if len(b)+len(rest) != len(raw) {
			t.Fatalf("%d and %d bytes of %d", len(b), len(rest), len(raw))
		}
		b = bytes.Clone(b)
		b.sealed() // else nearly all end at their checksum
		got, err := d.decode(b)
		if err != nil {
			return
		}
		if got.cost > limit || len(got.plain) > limit+recordsAt {
			t.Errorf("it costs %d, its records have %d bytes", got.cost, len(got.plain))
		}
		again, err := d.decode(got.plain)
		if err != nil || again.cost != got.cost || again.last != got.last {
			t.Errorf("decoded again: %v, %+v instead of %+v", err, again, got)
		}
	})
}
