package worker

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/kafka/fetch"
	"github.com/racecar-go/racecar/racecar"
)

// rawBatch is a batch of so many messages with the values "<offset>", as brokers send it.
func rawBatch(first int64, n int, compressed bool) []byte {
	var records []byte
	for i := range n {
		r := kmsg.Record{OffsetDelta: int32(i), Value: fmt.Append(nil, first+int64(i))}
		r.Length = int32(len(r.AppendTo(nil)) - 1)
		records = r.AppendTo(records)
	}
	attributes := int16(0)
	if compressed {
		e, err := zstd.NewWriter(nil)
		if err != nil {
			panic(err)
		}
		attributes, records = 4, e.EncodeAll(records, nil)
	}
	b := (&kmsg.RecordBatch{
		FirstOffset: first, Magic: 2, Attributes: attributes, LastOffsetDelta: int32(n - 1), ProducerID: -1, NumRecords: int32(n), Records: records,
	}).AppendTo(nil)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// decodedItems are the batches of raw, as a source has them.
func decodedItems(topic string, raw []byte) (items []fetch.Item) {
	var d fetch.Decoder
	batches, err := d.Split(topic, 0, raw, 0)
	if err != nil {
		panic(err)
	}
	for _, b := range batches {
		items = append(items, fetch.Item{Batch: b})
	}
	return items
}

// fakeSource is a source that has all its batches, and fetches them again.
type fakeSource struct {
	mu       sync.Mutex
	raw      []byte       // all there is
	log      []fetch.Item // that
	next     int
	taken    int // and not released
	sought   []int64
	closed   bool
	caughtUp bool
	full     bool
	err      error
}

func (s *fakeSource) Start(context.Context) (fetch.Start, error) { return fetch.Start{}, nil }

func (s *fakeSource) Next() fetch.Item {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == len(s.log) {
		return fetch.Item{}
	}
	item := s.log[s.next]
	s.next++
	if item.Batch != nil {
		s.taken++
	}
	return item
}

func (s *fakeSource) Release(*fetch.Batch) { s.mu.Lock(); defer s.mu.Unlock(); s.taken-- }

func (s *fakeSource) SeekTo(offset int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sought = append(s.sought, offset)
	s.log = decodedItems("t", s.raw)
	s.next = slices.IndexFunc(s.log, func(i fetch.Item) bool { return i.Batch != nil && i.Batch.NextOffset() > offset })
}

func (s *fakeSource) Buffered() (messages int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.log[s.next:] {
		if i.Batch != nil {
			messages, bytes = messages+i.Batch.Count(), bytes+i.Batch.Size()
		}
	}
	return messages, bytes
}

func (s *fakeSource) Hold(bool)                               {}
func (s *fakeSource) Watermarks() (start, stable, high int64) { return 0, -1, -1 }
func (s *fakeSource) Fetched() (int64, bool)                  { return 0, s.caughtUp }
func (s *fakeSource) Full() bool                              { return s.full }
func (s *fakeSource) Err() error                              { return s.err }
func (s *fakeSource) Close()                                  { s.closed = true }

// testCursor is a cursor over batches.
func testCursor(batches ...[]byte) (*cursor, *fakeSource) {
	s := &fakeSource{raw: slices.Concat(batches...)}
	s.log = decodedItems("t", s.raw)
	return &cursor{source: s, opener: newOpener(1 << 20), unacknowledged: &atomic.Int64{}, epoch: &atomic.Int32{}}, s
}

func offsetsOfMessages(messages []racecar.Message) (offsets []int64) {
	for _, m := range messages {
		offsets = append(offsets, m.Offset)
	}
	return offsets
}

// read processes n messages and returns their offsets.
func (c *cursor) read(n int) (offsets []int64) {
	for len(offsets) < n {
		messages := c.peek(1)
		if len(messages) == 0 {
			break
		}
		offsets = append(offsets, messages[0].Offset)
		c.done(1)
	}
	return offsets
}

// Whatever was handed out is decoded again when the cursor goes back; what consumer code has
// written into is fetched again.
func TestRewindDecodesAgain(t *testing.T) {
	for name, compressed := range map[string]bool{"as received": false, "compressed": true} {
		t.Run(name, func(t *testing.T) {
			c, s := testCursor(rawBatch(0, 10, compressed), rawBatch(10, 10, compressed), rawBatch(20, 10, compressed))
			if got := c.read(15); !slices.Equal(got, offsetRange(0, 15)) {
				t.Fatalf("read %v", got)
			}
			c.rewind(5)
			if got := c.read(10); !slices.Equal(got, offsetRange(5, 15)) || len(s.sought) > 0 {
				t.Fatalf("after the first rewind: read %v, fetched again from %v", got, s.sought)
			}
			c.peek(1)[0].Value[0] = 'x'
			c.rewind(12)
			if got := string(c.peek(1)[0].Value); got != "12" {
				t.Errorf("message 12 has the value %q", got)
			}
			if again := len(s.sought) > 0; again == compressed || again && s.sought[0] != 12 {
				t.Errorf("fetched again from %v", s.sought)
			}
			if got := c.read(100); !slices.Equal(got, offsetRange(12, 30)) {
				t.Errorf("then read %v", got)
			}
			c.release(30)
			if s.taken != 0 || c.unacknowledged.Load() != 0 || len(c.batches) != 0 {
				t.Errorf("%d batches are not released, %d bytes are kept", s.taken, c.unacknowledged.Load())
			}
		})
	}
}

func offsetRange(from, to int64) (all []int64) {
	for ; from < to; from++ {
		all = append(all, from)
	}
	return all
}

// The cursor releases acknowledged batches and no others.
func TestReleaseKeepsWhatIsNotAcknowledged(t *testing.T) {
	c, s := testCursor(rawBatch(0, 10, false), rawBatch(10, 10, false), rawBatch(20, 10, false))
	c.read(25)
	for _, tt := range []struct {
		acknowledged int64
		taken        int
	}{{0, 3}, {9, 3}, {10, 2}, {19, 2}, {25, 1}} {
		if c.release(tt.acknowledged); s.taken != tt.taken {
			t.Errorf("acknowledged up to %d: %d batches are held, want %d", tt.acknowledged, s.taken, tt.taken)
		}
	}
	c.close()
	if s.taken != 0 || c.unacknowledged.Load() != 0 || !s.closed {
		t.Errorf("closed: %d batches are held, %d bytes are kept", s.taken, c.unacknowledged.Load())
	}
}

// A batch is as many messages as are asked for, from however many batches of the log.
func TestPeekReadsOverSeveralBatches(t *testing.T) {
	c, _ := testCursor(rawBatch(0, 3, false), rawBatch(3, 200, true), rawBatch(203, 3, false))
	if got := offsetsOfMessages(c.peek(205)[:205]); !slices.Equal(got, offsetRange(0, 205)) {
		t.Errorf("peeked %v", got)
	}
	c.done(204)
	if got := offsetsOfMessages(c.peek(100)); !slices.Equal(got, offsetRange(204, 206)) {
		t.Errorf("peeked %v", got)
	}
}

// A cursor can give back the batches of a paused partition, and reads them again.
func TestGiveBack(t *testing.T) {
	for read, want := range map[int]bool{0: true, 5: true, 10: true} {
		c, s := testCursor(rawBatch(0, 10, true), rawBatch(10, 10, true))
		c.read(read)
		c.peek(1)
		if got := c.giveBack(int64(read)); got != want || s.taken != 0 || c.bytes() != 0 || c.decoded() != 0 {
			t.Errorf("after %d messages: given back %v, %d batches are held", read, got, s.taken)
		}
		if got := c.read(100); !slices.Equal(got, offsetRange(int64(read), 20)) {
			t.Errorf("after %d messages: then read %v", read, got)
		}
	}
	c, _ := testCursor(rawBatch(0, 10, true), rawBatch(10, 10, true))
	c.read(15)
	if c.giveBack(5) {
		t.Error("given back though messages of the batch before are not acknowledged")
	}
}

// Discarded messages are decoded again.
func TestDiscard(t *testing.T) {
	c, s := testCursor(rawBatch(0, 300, true), rawBatch(300, 10, true))
	c.read(5)
	if c.decoded() == 0 {
		t.Error("nothing counts as decoded")
	}
	c.discard()
	if n := c.decoded(); n != 0 {
		t.Errorf("%d bytes are held decoded", n)
	}
	if got := c.read(1000); !slices.Equal(got, offsetRange(5, 310)) || len(s.sought) > 0 {
		t.Errorf("then read %v, fetched again from %v", got, s.sought)
	}
}

// Batches are opened by the opener or by the cursor, whoever is first.
func TestOpenAhead(t *testing.T) {
	large := func(first int64) []byte { return rawBatch(first, 20_000, true) }
	for name, runs := range map[string]bool{"opener runs": true, "opener is busy": false} {
		t.Run(name, func(t *testing.T) {
			c, _ := testCursor(large(0), large(20_000), large(40_000))
			c.opener = newOpener(64 << 20)
			done := make(chan struct{})
			defer close(done)
			if runs {
				go c.opener.run(done)
			}
			if got := c.read(100_000); !slices.Equal(got, offsetRange(0, 60_000)) {
				t.Errorf("read %d messages", len(got))
			}
		})
	}
}

// The cursor does not fetch messages again from a log that has jumped meanwhile: another
// topic has other messages at those offsets, and its first ones would be left out.
func TestSeekBehindAJump(t *testing.T) {
	for name, test := range map[string]struct {
		moved  fetch.Moved
		sought []int64
	}{
		"another topic":       {fetch.Moved{From: 4, To: 0, Reason: fetch.AnotherTopic}, nil},
		"retention":           {fetch.Moved{From: 4, To: 9, Reason: fetch.LogStartMoved}, nil},
		"cut off before it":   {fetch.Moved{From: 4, To: 1, Reason: fetch.Truncated}, nil},
		"cut off at or after": {fetch.Moved{From: 4, To: 2, Reason: fetch.Truncated}, []int64{2}},
	} {
		t.Run(name, func(t *testing.T) {
			c, s := testCursor(rawBatch(0, 4, false))
			s.log = append(s.log, fetch.Item{Moved: &test.moved})
			c.read(2)
			messages := c.peek(2)
			messages[0].Value[0] ^= 1 // by consumer code
			c.read(2)
			c.peek(1)
			if c.moved == nil {
				t.Fatal("the jump was not taken")
			}
			c.rewind(2)
			if !slices.Equal(s.sought, test.sought) {
				t.Errorf("sought %v, want %v", s.sought, test.sought)
			}
			if (c.moved != nil) != (test.sought == nil) {
				t.Errorf("moved %+v", c.moved)
			}
			if test.sought == nil {
				if more := c.peek(1); len(more) > 0 {
					t.Errorf("%v come before the jump", offsetsOfMessages(more))
				}
				if c.jump(); c.from != test.moved.To || s.taken != 0 {
					t.Errorf("continues at %d with %d batches", c.from, s.taken)
				}
			}
		})
	}
}

// Messages of a batch behind one without messages are decoded again, too.
func TestRewindOverABatchWithoutMessages(t *testing.T) {
	marker := rawBatch(10, 1, false)
	marker[22] |= 0x20 // a control batch
	binary.BigEndian.PutUint32(marker[17:], crc32.Checksum(marker[21:], crc32.MakeTable(crc32.Castagnoli)))
	for name, compressed := range map[string]bool{"as received": false, "compressed": true} {
		t.Run(name, func(t *testing.T) {
			c, _ := testCursor(rawBatch(0, 10, compressed), marker, rawBatch(11, 300, compressed))
			c.read(15)
			c.peek(1)[0].Value[0] = 'x' // by consumer code
			c.rewind(5)
			if got := c.read(10); !slices.Equal(got, append(offsetRange(5, 10), offsetRange(11, 16)...)) {
				t.Fatalf("read %v", got)
			}
			if got := string(c.peek(1)[0].Value); got != "16" {
				t.Errorf("message 16 has the value %q", got)
			}
			if got := c.read(1000); !slices.Equal(got, offsetRange(16, 311)) {
				t.Errorf("then read %v", got)
			}
		})
	}
}

// An undecodable batch is given back while its partition waits for an operator: the largest
// ones would take the memory that all partitions share.
func TestGiveBackWhatCannotBeDecoded(t *testing.T) {
	for name, test := range map[string]struct {
		resume func(*cursor)
		want   []int64
	}{"retry": {(*cursor).retry, nil}, "skip": {(*cursor).skip, offsetRange(20, 30)}} {
		t.Run(name, func(t *testing.T) {
			broken := rawBatch(10, 10, false)
			broken[70] ^= 1
			c, s := testCursor(rawBatch(0, 10, false), broken, rawBatch(20, 10, false))
			c.read(100)
			c.release(10)
			corrupt := c.corrupt
			if !c.giveBack(10) || s.taken != 0 || corrupt == nil || c.corrupt != corrupt || c.corruptMessages != 10 {
				t.Fatalf("%d batches are held, %d messages lost: %v", s.taken, c.corruptMessages, c.corrupt)
			}
			test.resume(c)
			if got := c.read(100); !slices.Equal(got, test.want) || (c.corrupt == nil) != (test.want != nil) {
				t.Errorf("then read %v, %v", got, c.corrupt)
			}
			c.close()
			if s.taken != 0 || c.unacknowledged.Load() != 0 {
				t.Errorf("%d batches are not released, %d bytes are kept", s.taken, c.unacknowledged.Load())
			}
		})
	}
}

// A batch that takes more than may be opened ahead is left to the executor, as is one that
// cannot be opened: with the whole limit, and once.
func TestBatchesThatAreNotOpenedAhead(t *testing.T) {
	messages := mostAhead/int(messageCost) + 1000
	corrupted := rawBatch(20_000, messages, true)
	corrupted[len(corrupted)-1] ^= 1
	for name, c := range map[string]struct {
		raw     []byte
		corrupt bool
	}{
		"too large": {rawBatch(20_000, messages, true), false},
		"corrupt":   {corrupted, true},
	} {
		t.Run(name, func(t *testing.T) {
			cur, _ := testCursor(rawBatch(0, 20_000, true), c.raw)
			cur.opener = newOpener(64 << 20)
			done := make(chan struct{})
			defer close(done)
			go cur.opener.run(done)
			first := cur.peek(1)
			ahead := cur.batches[1].ahead
			if len(first) == 0 || ahead == nil {
				t.Fatal("nothing is opened ahead")
			}
			<-ahead.done
			if ahead.held != 0 || cur.opener.held.Load() != 0 {
				t.Errorf("%d bytes are held of it, %d of all", ahead.held, cur.opener.held.Load())
			}
			want := offsetRange(0, int64(20_000+messages))
			if c.corrupt {
				want = want[:20_000]
			}
			if got := cur.read(1 << 20); !slices.Equal(got, want) {
				t.Errorf("read %d messages, want %d", len(got), len(want))
			}
			if c.corrupt != (cur.corrupt != nil) {
				t.Errorf("corrupt: %v", cur.corrupt)
			}
		})
	}
}

// A batch that is opened ahead counts until an executor gets to it, or it is dropped.
func TestOpenedAheadCounts(t *testing.T) {
	c, _ := testCursor(rawBatch(0, 20_000, true), rawBatch(20_000, 20_000, true), rawBatch(40_000, 20_000, true))
	c.opener = newOpener(64 << 20)
	done := make(chan struct{})
	defer close(done)
	go c.opener.run(done)
	c.openAhead(0)
	for _, b := range c.batches {
		<-b.ahead.done
	}
	if n := c.opener.held.Load(); n < 3*20_000 {
		t.Errorf("%d bytes are held", n)
	}
	c.read(20_000)
	c.discard()
	if n := c.opener.held.Load(); n != 0 {
		t.Errorf("%d bytes are held after the end", n)
	}
	if got := c.read(100_000); !slices.Equal(got, offsetRange(20_000, 60_000)) {
		t.Errorf("then read %d messages", len(got))
	}
}

// A batch of messages takes one slice, whatever record batches they are in.
func TestChunkOfSeveralBatches(t *testing.T) {
	c, _ := testCursor(rawBatch(0, 300, false), rawBatch(300, 300, false), rawBatch(600, 300, false), rawBatch(900, 300, false))
	messages := c.peek(1000)
	if len(messages) != 1000 || cap(messages) != 1000 || messages[999].Offset != 999 {
		t.Fatalf("%d messages of %d", len(messages), cap(messages))
	}
	if c.done(1000); len(c.peek(1000)) != 200 || cap(c.chunk) > 300 {
		t.Errorf("then %d messages of %d", len(c.chunk), cap(c.chunk))
	}
}
