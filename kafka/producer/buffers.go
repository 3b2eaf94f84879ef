package producer

import (
	"math/bits"
	"sync"
)

// The sizes of buffers are powers of two: a batch that grows moves to the next size.
const (
	smallestBuffer = 9  // 512 bytes
	largestBuffer  = 22 // 4 MiB; larger ones are not pooled
)

// buffers pools the memory of acknowledged batches, by size. The garbage collector frees
// buffers that nobody has used for a while.
type buffers [largestBuffer - smallestBuffer + 1]sync.Pool

// get returns an empty buffer with room for n bytes.
func (b *buffers) get(n int) []byte {
	size := max(bits.Len(uint(max(n, 1)-1)), smallestBuffer)
	if size > largestBuffer {
		return make([]byte, 0, n)
	}
	if buf, ok := b[size-smallestBuffer].Get().(*[]byte); ok {
		return *buf
	}
	return make([]byte, 0, 1<<size)
}

// put returns a buffer to the pool.
func (b *buffers) put(buf []byte) {
	size := bits.Len(uint(cap(buf))) - 1
	if size < smallestBuffer || size > largestBuffer || cap(buf) != 1<<size {
		return
	}
	buf = buf[:0]
	b[size-smallestBuffer].Put(&buf)
}

// grow returns buf with room for n bytes more.
func (b *buffers) grow(buf []byte, n int) []byte {
	if len(buf)+n <= cap(buf) {
		return buf
	}
	larger := append(b.get(len(buf)+n), buf...)
	b.put(buf)
	return larger
}
