package kafka

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// FetchControl bounds what the fetches of a client bring, and is told of it. sarama has
// one setting, read when a client is made, in compressed bytes; how much memory an answer
// takes is known only when answers have been seen. Its methods are called concurrently.
type FetchControl interface {
	// Limit is asked before a fetch is sent how many bytes its answer may hold, as
	// they travel. It may wait a little, which holds up that broker's answers only.
	Limit() int32
	// Room is how much memory the messages of one answer may take. What is beyond is
	// left out and fetched again; one batch comes in any case.
	Room() int64
	// Received is told how large the batches of an answer were as they travelled, and
	// how much memory their messages take.
	Received(wire, decoded int64)
	// Fetched is told what an answer holds of a partition, before sarama has it.
	Fetched(TopicPartition, Fetched)
	// Undecodable is told of a batch that cannot be decoded, whenever it comes. With
	// skip sarama goes on behind it, else it gets nothing from there on.
	Undecodable(TopicPartition, BadBatch) (skip bool)
}

// Fetched is what an answer holds of a partition.
type Fetched struct {
	Last int64 // offset of the last message that consumers see; -1: there is none
	Next int64 // the offset behind all of it
	End  int64 // up to where there was something to be fetched
}

// BadBatch is one that cannot be decoded.
type BadBatch struct {
	First, Last int64 // its offsets, as far as it says so
	Messages    int64 // as far as it says so, at least 1
	Err         error // why; it has no topic, partition or offset
}

// ControlFetches has f asked before each fetch and told of each answer. To be set before
// the client is used.
func (c *Client) ControlFetches(f FetchControl) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fetches = f
}

// wrap is applied to connections other than those to coordinators.
func (c *Client) wrap(conn net.Conn) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fetches == nil {
		return conn
	}
	return &fetchConn{
		Conn: conn, timeout: c.readTimeout,
		versions: map[int32]int16{},
		answers:  fetchAnswers{control: c.fetches, committed: c.readCommitted, decoder: batchDecoder{limit: c.maxBatch}},
	}
}

// fetchConn lowers max_bytes in the fetch requests that pass, and sees to it that sarama
// can decode the answers: it decodes an answer as a whole, so that one batch it cannot
// decode takes away all partitions of the broker, again and again. sarama writes a request
// in one call, and reads in one goroutine.
type fetchConn struct {
	net.Conn
	timeout time.Duration
	answers fetchAnswers

	mu       sync.Mutex
	versions map[int32]int16 // of fetches under way, by correlation id

	frame   []byte // the answer read last
	pending []byte // what of it sarama has not read yet
	pass    int64  // so many bytes more are none of our business
}

// Read implements net.Conn.
func (f *fetchConn) Read(b []byte) (int, error) {
	for len(f.pending) == 0 {
		if f.pass > 0 {
			n, err := f.Conn.Read(b[:min(int64(len(b)), f.pass)])
			f.pass -= int64(n)
			return n, err
		}
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, f.pending)
	f.pending = f.pending[n:]
	return n, nil
}

// answerHead is an answer's size and correlation id.
const answerHead = 8

// next reads the head of an answer, and all of it when it is a fetch's.
func (f *fetchConn) next() error {
	f.frame = slices.Grow(f.frame[:0], answerHead)[:answerHead]
	if _, err := io.ReadFull(f.Conn, f.frame); err != nil {
		return err
	}
	size := int64(int32(binary.BigEndian.Uint32(f.frame))) + 4
	version, fetch := f.answered(int32(binary.BigEndian.Uint32(f.frame[4:])))
	if !fetch || size > int64(sarama.MaxResponseSize) {
		f.pending, f.pass = f.frame, max(0, size-answerHead)
		return nil
	}
	// sarama has the socket timeout for the head, in which the broker may wait for
	// messages, and once more for the rest.
	if err := f.SetReadDeadline(time.Now().Add(f.timeout)); err != nil {
		return err
	}
	f.frame = slices.Grow(f.frame, int(size-answerHead))[:max(size, answerHead)]
	if _, err := io.ReadFull(f.Conn, f.frame[answerHead:]); err != nil {
		return err
	}
	f.pending = f.answers.checked(f.frame, version)
	return nil
}

// answered reports whether a fetch has that correlation id, and its version.
func (f *fetchConn) answered(id int32) (version int16, fetch bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	version, fetch = f.versions[id]
	delete(f.versions, id)
	return version, fetch
}

// Write implements net.Conn.
func (f *fetchConn) Write(b []byte) (int, error) {
	at := maxBytesAt(b)
	if at < 0 {
		return f.Conn.Write(b)
	}
	limit := uint32(max(f.answers.control.Limit(), 1))
	f.mu.Lock()
	f.versions[int32(binary.BigEndian.Uint32(b[8:]))] = int16(binary.BigEndian.Uint16(b[6:]))
	f.mu.Unlock()
	if binary.BigEndian.Uint32(b[at:]) <= limit {
		return f.Conn.Write(b)
	}
	lower := append([]byte(nil), b...) // a Writer does not change what it is given
	binary.BigEndian.PutUint32(lower[at:], limit)
	return f.Conn.Write(lower)
}

// fetchAnswers makes of the answers to fetches what sarama decodes.
type fetchAnswers struct {
	control   FetchControl
	committed bool // read_committed
	decoder   batchDecoder
	cutOff    map[TopicPartition]cutOff
	out       []byte

	// The batches of the answer in hand that are not as they came, one behind the
	// other, and which they are of which partition.
	arena  []byte
	blocks []block

	// Of the answer in hand.
	wire, decoded int64
	full          bool // what comes behind is left out
}

// cutOff counts how often the first batch of an answer was cut off.
type cutOff struct {
	base  int64
	times int
}

// cutOffs is how often that may be before it is never going to be whole: sarama asks for
// more each time, and brokers send the first batch whole anyway.
const cutOffs = 10

// checked returns the answer as sarama is to see it, valid until the next call.
func (a *fetchAnswers) checked(frame []byte, version int16) []byte {
	body := frame[answerHead:]
	if version >= fetchFlexible {
		if len(body) == 0 || body[0] != 0 {
			return frame // a header with tagged fields, which nobody sends
		}
		body = body[1:]
	}
	resp := kmsg.FetchResponse{Version: version}
	if err := resp.ReadFrom(body); err != nil {
		return frame // sarama says what is wrong with it
	}
	a.wire, a.decoded, a.full, a.arena, a.blocks = 0, 0, false, a.arena[:0], a.blocks[:0]
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			a.partition(TopicPartition{Topic: t.Topic, Partition: t.Partitions[j].Partition}, &t.Partitions[j])
		}
	}
	a.control.Received(a.wire, a.decoded)
	if len(a.blocks) == 0 {
		return frame
	}
	for _, b := range a.blocks {
		b.p.RecordBatches = a.arena[b.from:b.to]
	}
	a.out = resp.AppendTo(append(a.out[:0], frame[:len(frame)-len(body)]...))
	binary.BigEndian.PutUint32(a.out, uint32(len(a.out)-4))
	return a.out
}

// partition goes through the batches of one partition.
func (a *fetchAnswers) partition(k TopicPartition, p *kmsg.FetchResponseTopicPartition) {
	if p.ErrorCode != 0 || len(p.RecordBatches) <= magicAt {
		return
	}
	told := Fetched{Last: -1, Next: wireBatch(p.RecordBatches).base(), End: p.HighWatermark}
	if a.committed && p.LastStableOffset >= 0 {
		told.End = p.LastStableOffset
	}
	var aborted []kmsg.FetchResponseTopicPartitionAbortedTransaction
	if a.committed {
		aborted = slices.Clone(p.AbortedTransactions)
	}
	w := blockWriter{came: p.RecordBatches, arena: &a.arena}
	if a.full {
		w.cut()
	}
	for rest := p.RecordBatches; len(rest) > 0 && !a.full; {
		b, behind, err := cutBatch(rest)
		if errors.Is(err, errOldFormat) || errors.Is(err, errCutOff) && !a.stuck(k, rest, len(rest) == len(p.RecordBatches)) {
			w.keep(len(rest))
			a.wire, a.decoded = a.wire+int64(len(rest)), a.decoded+int64(len(rest))
			break
		}
		var d decodedBatch
		if err == nil {
			d, err = a.decoder.decode(b)
		}
		if err != nil {
			bad := badBatch(rest, err, p.HighWatermark)
			if !a.control.Undecodable(k, bad) {
				w.cut()
				break
			}
			w.put(emptyWireBatch(bad.First, bad.Last), len(rest)-len(behind))
			told.Next, rest = bad.Last+1, behind
			continue
		}
		if a.decoded > 0 && a.decoded+d.cost > a.control.Room() {
			w.cut()
			a.full = true
			break
		}
		a.wire, a.decoded = a.wire+int64(len(b)), a.decoded+d.cost
		if b.attributes()&codecMask == 0 {
			w.keep(len(b))
		} else {
			w.put(d.plain, len(b))
		}
		told.Next = max(b.last(), d.last) + 1
		if i := abortedBy(aborted, b); b.control() && d.abort && i >= 0 {
			aborted = slices.Delete(aborted, i, i+1)
		} else if !b.control() && (i < 0 || !b.transactional()) && d.last >= b.base() {
			told.Last = d.last
		}
		rest = behind
	}
	if w.changed {
		a.blocks = append(a.blocks, block{p, w.start, len(a.arena)})
	}
	a.control.Fetched(k, told)
}

// abortedBy is the place of the aborted transaction of b's producer that b may belong to,
// else -1; see abortOf.
func abortedBy(aborted []kmsg.FetchResponseTopicPartitionAbortedTransaction, b wireBatch) int {
	return slices.IndexFunc(aborted, func(t kmsg.FetchResponseTopicPartitionAbortedTransaction) bool {
		return t.ProducerID == b.producer() && t.FirstOffset <= b.base()
	})
}

// badBatch says what is known of the batch that b begins with. Its last offset may be
// nonsense as well: it lies in the log in any case.
func badBatch(b []byte, err error, end int64) BadBatch {
	bad := BadBatch{First: wireBatch(b).base(), Messages: 1, Err: err}
	bad.Last = bad.First
	if len(b) >= recordsAt {
		bad.Last = max(bad.First, min(wireBatch(b).last(), end-1))
		bad.Messages = max(1, min(int64(wireBatch(b).count()), bad.Last-bad.First+1))
	}
	return bad
}

// stuck reports whether the batch that rest begins with was cut off too often; first says
// that the answer holds nothing else of its partition.
func (a *fetchAnswers) stuck(k TopicPartition, rest []byte, first bool) bool {
	if !first || len(rest) <= magicAt {
		return false
	}
	if a.cutOff == nil {
		a.cutOff = map[TopicPartition]cutOff{}
	}
	c := a.cutOff[k]
	if base := wireBatch(rest).base(); c.base != base {
		c = cutOff{base: base}
	}
	c.times++
	a.cutOff[k] = c
	return c.times > cutOffs
}

// block is what sarama gets of a partition, by its place in the arena.
type block struct {
	p        *kmsg.FetchResponseTopicPartition
	from, to int
}

// blockWriter makes the batches that sarama gets of those that came. They are copied only
// once they differ.
type blockWriter struct {
	came    []byte
	read    int // of what came
	arena   *[]byte
	start   int // in the arena
	changed bool
}

// keep keeps the next n bytes.
func (w *blockWriter) keep(n int) {
	if w.changed {
		*w.arena = append(*w.arena, w.came[w.read:w.read+n]...)
	}
	w.read += n
}

// put puts b in the place of the next n bytes.
func (w *blockWriter) put(b []byte, n int) {
	w.cut()
	*w.arena = append(*w.arena, b...)
	w.read += n
}

// cut leaves out what is not kept from here on.
func (w *blockWriter) cut() {
	if !w.changed {
		w.changed, w.start = true, len(*w.arena)
		*w.arena = append(*w.arena, w.came[:w.read]...)
	}
}

const (
	fetchKey = 1
	// Fetch has max_bytes from version 3 on; from version 15 on the fields before it
	// are others. sarama sends at most 12.
	fetchOldest, fetchNewest = 3, 14
	fetchFlexible            = 12 // the header ends with tagged fields from here on
)

// maxBytesAt returns where max_bytes lies in a whole request, -1 when it is no
// fetch, or not one that we know:
//
//	size int32, key int16, version int16, correlation id int32, client id string
//	(int16 length, -1: null), from version 12 on tagged fields (a count),
//	replica id, max wait, min bytes, max bytes: int32 each
func maxBytesAt(b []byte) int {
	if len(b) < 14 || int(binary.BigEndian.Uint32(b)) != len(b)-4 || binary.BigEndian.Uint16(b[4:]) != fetchKey {
		return -1
	}
	version := int(binary.BigEndian.Uint16(b[6:]))
	if version < fetchOldest || version > fetchNewest {
		return -1
	}
	at := 14 + max(0, int(int16(binary.BigEndian.Uint16(b[12:]))))
	if version >= fetchFlexible {
		if at >= len(b) || b[at] != 0 {
			return -1 // sarama has none
		}
		at++
	}
	at += 3 * 4
	if at+4 > len(b) {
		return -1
	}
	return at
}
