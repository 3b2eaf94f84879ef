package fetch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/snappy/xerial"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Decoder decodes batches; the zero value is ready. It keeps decompressors for the next batch
// and is safe for concurrent use.
type Decoder struct{ idle sync.Pool } // of *decompressor

// decompressor decompresses one batch after the other.
type decompressor struct {
	gzip    gzip.Reader
	lz4     *lz4.Reader
	zstd    *zstd.Decoder
	scratch []byte
}

const (
	// A batch of unknown size is decompressed into a scratch and copied, or, if it is larger
	// than that, decompressed twice, the first time to learn its size.
	largestScratch = 4 << 20
	// Zstandard's highest level has this window. No memory is allocated for it unless the
	// batch is larger than the scratch.
	largestWindow = 128 << 20
)

// decompress returns memory of the right size, which nobody else uses. The error is tooLarge
// before more than limit bytes have been allocated.
func (d *Decoder) decompress(codec byte, src []byte, limit int64) (out []byte, err error) {
	c, _ := d.idle.Get().(*decompressor)
	if c == nil {
		c = &decompressor{lz4: lz4.NewReader(nil)}
	}
	defer d.idle.Put(c)
	switch codec {
	case 1:
		out, err = c.stream(limit, func() (io.Reader, error) { return &c.gzip, c.gzip.Reset(bytes.NewReader(src)) })
	case 2:
		out, err = unsnappy(src, limit)
	case 3:
		out, err = c.stream(limit, func() (io.Reader, error) { c.lz4.Reset(bytes.NewReader(src)); return c.lz4, nil })
	case 4:
		out, err = c.unzstd(src, limit)
	default:
		return nil, fmt.Errorf("its codec is %d, which is unknown", codec)
	}
	if _, large := errors.AsType[tooLarge](err); err != nil && !large {
		err = fmt.Errorf("decompressing it: %w", err)
	}
	return out, err
}

// stream reads all that a reader returns; open begins again.
func (c *decompressor) stream(limit int64, open func() (io.Reader, error)) ([]byte, error) {
	r, err := open()
	if err != nil {
		return nil, err
	}
	scratch := bytes.NewBuffer(c.scratch[:0])
	n, err := scratch.ReadFrom(io.LimitReader(r, min(limit, largestScratch)+1))
	c.scratch = scratch.Bytes()
	if err != nil || n <= min(limit, largestScratch) {
		return bytes.Clone(c.scratch), err
	}
	rest, err := io.Copy(io.Discard, io.LimitReader(r, limit-n+1))
	if n += rest; err != nil || n > limit {
		return nil, errors.Join(err, tooLarge(limit))
	}
	if r, err = open(); err != nil {
		return nil, err
	}
	out := make([]byte, n)
	_, err = io.ReadFull(r, out)
	return out, err
}

// unsnappy decodes raw snappy and the framing of Java's client; both say how large they are.
func unsnappy(src []byte, limit int64) ([]byte, error) {
	var size int64
	blocks := [][]byte{src}
	if framed, ok := bytes.CutPrefix(src, []byte("\x82SNAPPY\x00")); ok {
		blocks = blocks[:0]
		for rest := framed[min(8, len(framed)):]; len(rest) > 4; { // two versions are left out
			n := min(int64(binary.BigEndian.Uint32(rest)), int64(len(rest)-4))
			blocks, rest = append(blocks, rest[4:4+n]), rest[4+n:]
		}
	}
	for _, b := range blocks {
		n, err := s2.DecodedLen(b)
		if err != nil {
			return nil, err
		}
		if int64(n) > 64*int64(len(b)) { // no element of a block decodes to more
			return nil, xerial.ErrMalformed
		}
		if size += int64(n); size > limit {
			return nil, tooLarge(limit)
		}
	}
	return xerial.DecodeCapped(make([]byte, 0, size), src)
}

// unzstd decodes frames, of which the first mostly says how large it is, and is the only one.
func (c *decompressor) unzstd(src []byte, limit int64) (out []byte, err error) {
	if c.zstd == nil {
		// It needs no Close: it has goroutines only while it streams.
		if c.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxWindow(largestWindow)); err != nil {
			return nil, err
		}
	}
	var head zstd.Header
	if err := head.Decode(src); err != nil {
		return nil, err
	}
	if head.HasFCS {
		if head.FrameContentSize > uint64(limit) {
			return nil, tooLarge(limit)
		}
		out, err = c.zstd.DecodeAll(src, make([]byte, 0, head.FrameContentSize))
	} else {
		if c.scratch == nil {
			c.scratch = make([]byte, 0, min(limit, largestScratch))
		}
		out, err = c.zstd.DecodeAll(src, c.scratch[:0])
		out = bytes.Clone(out)
	}
	if !errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return out, err
	}
	window := max(zstd.MinWindowSize, min(uint64(limit), largestWindow))
	return c.stream(limit, func() (io.Reader, error) {
		return zstd.NewReader(bytes.NewReader(src), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(window))
	})
}
