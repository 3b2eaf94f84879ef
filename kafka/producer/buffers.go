package producer

import (
	"math/bits"
	"sync"
)

// Buffers have sizes of powers of two, so that a batch grows by moving into the next
// one, and one that is given back suits others.
const (
	smallestBuffer = 9  // 512 bytes
	largestBuffer  = 22 // 4 MiB; larger ones are made and left to the garbage collector
)

// buffers keeps the memory of batches that are acknowledged for those that come, by size.
// What nobody takes for a while the garbage collector gets.
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

// put takes a buffer back that nobody uses any more.
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
