package producer

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/racecar-go/racecar/kafka/access"
)

// compressor appends the compressed form of src to dst. It is used by one goroutine at
// a time.
type compressor func(dst, src []byte) ([]byte, error)

// codec is a compression codec.
type codec struct {
	id     int16 // in a batch's attributes
	levels bool  // it has levels
	// make returns a compressor of librdkafka's level; -1 is the default.
	make func(level int) (compressor, error)
}

// codecs are the values of producer_compression_codec.
var codecs = map[string]codec{
	"none":   {},
	"gzip":   {id: 1, levels: true, make: newGzip},
	"snappy": {id: 2, make: newSnappy},
	"lz4":    {id: 3, make: newLZ4},
	"zstd":   {id: 4, levels: true, make: newZstd},
}

// codecOf checks producer_compression_codec and compression.level.
func codecOf(name string, level int) (codec, error) {
	c, ok := codecs[name]
	switch {
	case name == "":
		return codecs["none"], nil
	case !ok:
		return codec{}, &access.ConfigError{Key: "producer_compression_codec",
			Problem: fmt.Sprintf("unknown codec %q: use one of %s", name, strings.Join(slices.Sorted(maps.Keys(codecs)), ", "))}
	case level > 0 && !c.levels && c.make != nil:
		return codec{}, &access.ConfigError{Key: "producer", Problem: fmt.Sprintf(
			"compression.level=%d is not supported with %s: leave it out, or use gzip or zstd", level, name)}
	}
	return c, nil
}

func newGzip(level int) (compressor, error) {
	w, err := gzip.NewWriterLevel(nil, min(level, gzip.BestCompression))
	return func(dst, src []byte) ([]byte, error) { return stream(w, dst, src) }, err
}

func newSnappy(int) (compressor, error) {
	return func(dst, src []byte) ([]byte, error) {
		n := s2.MaxEncodedLen(len(src))
		dst = slices.Grow(dst, n)
		return dst[:len(dst)+len(s2.EncodeSnappy(dst[len(dst):len(dst)+n], src))], nil
	}, nil
}

func newLZ4(int) (compressor, error) {
	w := lz4.NewWriter(nil)
	err := w.Apply(lz4.BlockSizeOption(lz4.Block64Kb)) // what the writer keeps is small
	return func(dst, src []byte) ([]byte, error) { return stream(w, dst, src) }, err
}

func newZstd(level int) (compressor, error) {
	speed := zstd.SpeedDefault
	if level >= 0 {
		speed = zstd.EncoderLevelFromZstd(level)
	}
	// The window is as large as the default limit of a batch: the usual 8 MiB would waste memory.
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(speed), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20), zstd.WithZeroFrames(true), zstd.WithEncoderCRC(false)) // a batch has its own
	return func(dst, src []byte) ([]byte, error) { return w.EncodeAll(src, dst), nil }, err
}

// stream compresses with a reusable writer.
func stream(w interface {
	io.WriteCloser
	Reset(io.Writer)
}, dst, src []byte) ([]byte, error) {
	out := bytes.NewBuffer(dst)
	w.Reset(out)
	if _, err := w.Write(src); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
