package fetch

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/snappy/xerial"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// testBatch is a record batch to encode; what is zero is as a plain producer sends it.
type testBatch struct {
	base       int64
	last       int32 // offset delta; 0: the last record's
	count      int32 // 0: as many as there are records
	attributes int16 // without the codec
	codec      string
	producer   int64
	maxTime    int64
	records    []kmsg.Record
	raw        []byte // instead of records
}

// codecs are by name; attributes are the position but for framed and streamed ones.
var codecs = []string{"none", "gzip", "snappy", "lz4", "zstd", "snappy-xerial", "zstd-stream"}

func codecBits(name string) int16 {
	switch name {
	case "", "none":
		return 0
	case "gzip":
		return 1
	case "snappy", "snappy-xerial":
		return 2
	case "lz4":
		return 3
	}
	return 4
}

func compress(t testing.TB, codec string, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var err error
	switch codec {
	case "", "none":
		return b
	case "gzip":
		w := gzip.NewWriter(&out)
		if _, err = w.Write(b); err == nil {
			err = w.Close()
		}
	case "snappy":
		return s2.EncodeSnappy(nil, b)
	case "snappy-xerial":
		return xerial.Encode(nil, b)
	case "lz4":
		w := lz4.NewWriter(&out)
		if _, err = w.Write(b); err == nil {
			err = w.Close()
		}
	case "zstd":
		var w *zstd.Encoder
		if w, err = zstd.NewWriter(nil); err == nil {
			return w.EncodeAll(b, nil)
		}
	case "zstd-stream": // as Java's client, which does not write the size
		var w *zstd.Encoder
		if w, err = zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1)); err == nil {
			if _, err = w.Write(b); err == nil {
				if err = w.Flush(); err == nil {
					err = w.Close()
				}
			}
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (b testBatch) bytes(t testing.TB) []byte {
	t.Helper()
	var records []byte
	for _, r := range b.records {
		r.Length = int32(len(r.AppendTo(nil)) - 1) // a length of 0 takes one byte
		records = r.AppendTo(records)
	}
	if b.raw != nil {
		records = b.raw
	}
	if b.count == 0 {
		b.count = int32(len(b.records))
	}
	if b.last == 0 && len(b.records) > 0 {
		b.last = b.records[len(b.records)-1].OffsetDelta
	}
	out := (&kmsg.RecordBatch{
		FirstOffset: b.base, PartitionLeaderEpoch: 3, Magic: 2, Attributes: b.attributes | codecBits(b.codec), LastOffsetDelta: b.last,
		FirstTimestamp: 1_700_000_000_000, MaxTimestamp: b.maxTime, ProducerID: b.producer, NumRecords: b.count,
		Records: compress(t, b.codec, records),
	}).AppendTo(nil)
	return seal(out)
}

// seal sets the length and checksum of a batch or of an entry of a message set.
func seal(b []byte) []byte {
	binary.BigEndian.PutUint32(b[lengthAt:], uint32(len(b)-uncounted))
	setChecksum(b)
	return b
}

func setChecksum(b []byte) {
	if b[magicAt] < 2 {
		binary.BigEndian.PutUint32(b[uncounted:], crc32.ChecksumIEEE(b[magicAt:]))
	} else if len(b) >= recordsAt {
		binary.BigEndian.PutUint32(b[crcAt:], crc32.Checksum(b[attributesAt:], castagnoli))
	}
}

// entry is an entry of a message set.
func entry(offset int64, magic, attributes byte, timestamp int64, key, value []byte) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(offset))
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, magic, attributes)
	if magic == 1 {
		b = binary.BigEndian.AppendUint64(b, uint64(timestamp))
	}
	for _, field := range [][]byte{key, value} {
		if field == nil {
			b = binary.BigEndian.AppendUint32(b, 1<<32-1)
		} else {
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(field))), field...)
		}
	}
	return seal(b)
}

// plain are n records with keys, values and headers.
func plain(n int) []kmsg.Record {
	records := make([]kmsg.Record, n)
	for i := range records {
		records[i] = kmsg.Record{
			OffsetDelta: int32(i), TimestampDelta64: int64(i), Key: []byte{byte(i)}, Value: bytes.Repeat([]byte{'v', byte(i)}, 20),
			Headers: []kmsg.Header{{Key: "trace", Value: []byte{byte(i)}}, {Key: "null"}, {Key: "empty", Value: []byte{}}},
		}
	}
	if n > 3 {
		records[0].Key, records[1].Key, records[2].Value, records[3].Value = nil, []byte{}, nil, []byte{}
		records[1].Headers, records[3].Headers = nil, records[3].Headers[:1]
	}
	return records
}
