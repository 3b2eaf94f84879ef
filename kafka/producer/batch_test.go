package producer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/test/seeds"
)

func testLimits() *limits { return &limits{bytes: 1 << 20, pool: &buffers{}} }

// decoded reads a batch as another client does.
func decoded(t *testing.T, wire []byte) (kmsg.RecordBatch, []kmsg.Record) {
	t.Helper()
	var b kmsg.RecordBatch
	if err := b.ReadFrom(wire); err != nil {
		t.Fatal(err)
	}
	if int(b.Length) != len(wire)-12 || b.Magic != 2 || uint32(b.CRC) != crc32.Checksum(wire[attributesAt:], crc32.MakeTable(crc32.Castagnoli)) {
		t.Fatalf("length %d of %d, magic %d, crc %x", b.Length, len(wire), b.Magic, uint32(b.CRC))
	}
	raw := b.Records
	if c := b.Attributes & 7; c != 0 {
		var err error
		if raw, err = kgo.DefaultDecompressor().Decompress(raw, kgo.CompressionCodecType(c)); err != nil {
			t.Fatal(err)
		}
	}
	records := make([]kmsg.Record, b.NumRecords)
	for i := range records {
		size, n := binary.Varint(raw)
		if err := records[i].ReadFrom(raw[:int(size)+n]); err != nil {
			t.Fatal(err)
		}
		raw = raw[int(size)+n:]
	}
	if len(raw) > 0 {
		t.Fatalf("%d bytes behind the last record", len(raw))
	}
	return b, records
}

// Another client reads the messages that Send encoded, with each codec, and also after the
// batch was split.
func TestBatch(t *testing.T) {
	messages := []Message{
		{},
		{Key: []byte("k"), Value: []byte("v"), Headers: []Header{{Key: "h", Value: []byte("1")}, {Key: "", Value: nil}, {Key: "h", Value: []byte{}}}},
		{Key: []byte{}, Value: []byte{}},
		{Value: bytes.Repeat([]byte("long "), 10_000)},
		{Value: make([]byte, 127)}, {Value: make([]byte, 128)}, {Key: make([]byte, 1<<14)},
	}
	at := func(i int) int64 { return 1_700_000_000_000 + []int64{0, 5, -7000, 100_000_000, 1, 2, 3}[i] }
	for name, c := range codecs {
		l := testLimits()
		b := &batch{}
		for i := range messages {
			b.add(l.pool, entry{}, at(i), &messages[i])
		}
		again := l.batches(b.records())
		for _, b := range append([]*batch{b}, again...) {
			var compress compressor
			if c.make != nil {
				var err error
				if compress, err = c.make(-1); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.seal(l.pool, c, compress); err != nil {
				t.Fatal(err)
			}
			b.setSequence(77, 3, 1000, true)
			head, records := decoded(t, b.encoded)
			if head.Attributes&7 != c.id || head.Attributes&transactionalBit == 0 || head.ProducerID != 77 || head.ProducerEpoch != 3 || head.FirstSequence != 1000 ||
				head.FirstTimestamp != at(0) || head.MaxTimestamp != at(3) || head.LastOffsetDelta != int32(len(messages)-1) {
				t.Errorf("%s: head %+v", name, head)
			}
			for i, r := range records {
				want := kmsg.Record{Length: r.Length, OffsetDelta: int32(i), TimestampDelta64: at(i) - at(0), Key: messages[i].Key, Value: messages[i].Value}
				for _, h := range messages[i].Headers {
					want.Headers = append(want.Headers, kmsg.Header{Key: h.Key, Value: h.Value})
				}
				r.TimestampDelta = 0
				if diff := cmp.Diff(want, r); diff != "" {
					t.Errorf("%s, record %d (-want +got):\n%s", name, i, diff)
				}
			}
		}
		if len(again) != 1 {
			t.Errorf("%s: %d batches", name, len(again))
		}
	}
}

// A retried batch has the same bytes; a new sequence number makes another batch.
func TestBatchIsNumberedOnce(t *testing.T) {
	q := queued(3, 0)
	b := q.take()
	if err := b.seal(q.limits.pool, codec{}, nil); err != nil {
		t.Fatal(err)
	}
	number := func() string {
		q.batch.setSequence(q.producer.id, q.producer.epoch, q.sequence, false)
		return string(q.batch.encoded)
	}
	first := number()
	q.producer.epoch = 99 // not by bumpEpoch
	if number() != first {
		t.Error("a repetition differs")
	}
	q.bumpEpoch()
	if second, _ := decoded(t, []byte(number())); second.ProducerEpoch != 100 || second.FirstSequence != 0 {
		t.Errorf("after the epoch went up: %+v", second)
	}
}

// A buffer has the requested size, after buffers of any size were returned.
func TestBuffers(t *testing.T) {
	b := &buffers{}
	for _, n := range []int{0, 1, 511, 512, 513, 5000, 1 << 20, 4<<20 + 1} {
		b.put(b.get(n))
		b.put(make([]byte, n))
		if buf := b.get(n); cap(buf) < n || len(buf) != 0 {
			t.Errorf("%d of %d bytes for %d", len(buf), cap(buf), n)
		}
	}
	if grown := b.grow(append(b.get(1), "content"...), 5000); string(grown) != "content" || cap(grown) != 8<<10 {
		t.Errorf("grew to %q of %d", grown, cap(grown))
	}
}

// FuzzRecords: a message survives being encoded and taken apart.
func FuzzRecords(f *testing.F) {
	f.Add([]byte("k"), []byte("v"), "h", int64(5), int64(-3))
	f.Fuzz(func(t *testing.T, key, value []byte, header string, at, after int64) {
		at, after = at%(1<<50), after%(1<<50)
		l := testLimits()
		l.bytes = 1 << 30
		m := Message{Key: key, Value: value, Headers: []Header{{Key: header, Value: key}}}
		b := &batch{}
		b.add(l.pool, entry{}, at, &Message{})
		b.add(l.pool, entry{deadline: time.Second}, at+after, &m)
		if size := len(appendBody(nil, &m)); size != bodySize(&m) || size > recordSize(&m) {
			t.Fatalf("body of %d bytes, said to be %d, of a record of at most %d", size, bodySize(&m), recordSize(&m))
		}
		r := b.records()[1]
		if r.timestamp != at+after || r.deadline != time.Second || !bytes.Equal(r.body, appendBody(nil, &m)) {
			t.Errorf("taken apart: %+v", r)
		}
	})
}

// Send copies the message into its batch, and allocates nothing for it.
func TestSendAllocates(t *testing.T) {
	seeds.Measure(t)
	p := producerOf(t)
	p.applyMetadata(metadata("127.0.0.1:1", "out", 4), nil, epoch0)
	send(t, p, "out", Message{})
	p.applyMetadata(metadata("127.0.0.1:1", "out", 4), nil, epoch0)
	m := Message{Topic: "out", Key: []byte("key"), Value: make([]byte, 200)}
	done := func(int32, int64, error) {}
	if n := testing.AllocsPerRun(20_000, func() {
		if err := p.Send(t.Context(), m, done); err != nil {
			t.Fatal(err)
		}
	}); n > 0.1 {
		t.Errorf("%v allocations a message", n)
	}
}

func BenchmarkSend(b *testing.B) {
	for _, size := range []int{20, 200, 2000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			l := testLimits()
			q := &partitionQueue{limits: l}
			m := Message{Value: make([]byte, size)}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				q.push(entry{}, 0, &m, recordSize(&m))
				if len(q.queue) > 1 {
					q.take()
					q.done()
				}
			}
		})
	}
}

// A batch whose compression failed is not taken for a complete one.
func TestFailedCompressionIsRepeated(t *testing.T) {
	pool, b := &buffers{}, &batch{}
	b.add(pool, entry{}, 1, &Message{Value: bytes.Repeat([]byte("v"), 1000)})
	fails := func(_, _ []byte) ([]byte, error) { return nil, errors.New("no memory") }
	if err := b.seal(pool, codecs["snappy"], fails); err == nil {
		t.Fatal("sealed")
	}
	compress, err := codecs["snappy"].make(-1)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.seal(pool, codecs["snappy"], compress); err != nil {
		t.Fatal(err)
	}
	b.setSequence(1, 0, 0, false)
	if _, records := decoded(t, b.encoded); len(records) != 1 {
		t.Errorf("%d records", len(records))
	}
}
