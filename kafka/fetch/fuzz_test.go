package fetch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime/metrics"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/racecar-go/racecar/racecar"
)

const fuzzLimit = 1 << 20

// allocated is how much memory was allocated since the process began.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// FuzzBatches: the batches of an answer of any bytes do not overlap. Each yields a *CorruptError,
// or messages with ascending offsets: the same ones at once, in pieces, and when the batch is
// opened again. Memory is bounded by the limit plus that of the decompressors.
func FuzzBatches(f *testing.F) {
	for _, codec := range codecs {
		f.Add(testBatch{base: 3, codec: codec, records: plain(5)}.bytes(f), int64(0), false)
		for _, magic := range []byte{0, 1} {
			inner := slices.Concat(entry(0, magic, 0, 7, nil, []byte("v")), entry(2, magic, 0, 7, []byte("k"), nil))
			f.Add(entry(2, magic, byte(codecBits(codec)), 9, nil, compress(f, codec, inner)), int64(1), false)
		}
	}
	f.Add(slices.Concat(testBatch{records: plain(2)}.bytes(f), testBatch{base: 2, attributes: controlMask, records: plain(1)}.bytes(f), entry(3, 1, 0, 7, nil, nil)), int64(1), true)
	f.Fuzz(func(t *testing.T, data []byte, from int64, resealed bool) {
		if resealed {
			data = bytes.Clone(data)
			reseal(data)
		}
		var d Decoder
		batches, err := d.Split("topic", 7, data, from)
		if err != nil && len(batches) > 0 {
			t.Errorf("batches and %v", err)
		}
		for _, b := range batches {
			if b.FirstOffset() < 0 || b.NextOffset() <= b.FirstOffset() || b.NextOffset() <= from || b.Count() < 0 || b.Size() < 0 {
				t.Fatalf("offsets %d to %d after %d, %d messages, size %d", b.FirstOffset(), b.NextOffset(), from, b.Count(), b.Size())
			}
			checkBatch(t, b, from)
			from = b.NextOffset()
		}
	})
}

// reseal makes the checksums of data right, so that a fuzzer gets behind them.
func reseal(data []byte) {
	for len(data) > magicAt {
		size := uncounted + int64(int32(binary.BigEndian.Uint32(data[lengthAt:])))
		if size <= magicAt || size > int64(len(data)) {
			return
		}
		setChecksum(data[:size])
		data = data[size:]
	}
}

func checkBatch(t *testing.T, b *Batch, from int64) {
	t.Helper()
	before := allocated()
	err := b.Open(fuzzLimit)
	if got := allocated() - before; got > 4*fuzzLimit+32<<20 {
		t.Errorf("%d bytes were allocated", got)
	}
	if err != nil {
		if _, ok := errors.AsType[*CorruptError](err); !ok || b.Decoded() != 0 {
			t.Errorf("%v, %d decoded bytes", err, b.Decoded())
		}
		return
	}
	all, err := b.Messages(from, 1<<30)
	if err != nil || len(all) > b.Count() {
		t.Fatalf("%d of %d messages, %v", len(all), b.Count(), err)
	}
	last, cost := max(from, b.FirstOffset())-1, int64(0)
	for _, m := range all {
		if m.Offset <= last || m.Offset >= b.NextOffset() {
			t.Errorf("offset %d after %d in a batch from %d to %d", m.Offset, last, b.FirstOffset(), b.NextOffset())
		}
		last = m.Offset
		cost += messageCost + int64(len(m.Headers))*headerCost
	}
	if cost > fuzzLimit || b.Decoded() > fuzzLimit+4096 {
		t.Errorf("%d bytes of messages, %d decoded", cost, b.Decoded())
	}
	var pieces []racecar.Message
	for position := from; ; {
		piece, err := b.Messages(position, 3)
		if err != nil || len(piece) > 3 {
			t.Fatalf("%d messages, %v", len(piece), err)
		}
		if len(piece) == 0 {
			break
		}
		pieces = append(pieces, piece...)
		position = piece[len(piece)-1].Offset + 1
	}
	if diff := cmp.Diff(all, pieces); diff != "" {
		t.Errorf("in pieces: %s", diff)
	}
	b.Discard()
	if err := b.Open(fuzzLimit); err != nil {
		t.Fatal(err)
	}
	if again, err := b.Messages(from, 1<<30); err != nil || !cmp.Equal(all, again) {
		t.Errorf("opened again: %v, %s", err, cmp.Diff(all, again))
	}
}
