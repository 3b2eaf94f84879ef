package producer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/semaphore"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/locks"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/access"
)

// DefaultBufferBytes bounds what a Producer holds that is not acknowledged yet,
// queued and in flight together, unless Options says otherwise. It is
// modelled on librdkafka's queue.buffering.max.kbytes (1 GiB there) and Java's
// buffer.memory (32 MiB, as here: a worker is to stay small).
const DefaultBufferBytes = 32 << 20

// maxTopic is how long a topic's name may be.
const maxTopic = 249

// maxTimestamp is the last second that can be encoded: sarama computes in nanoseconds.
const maxTimestamp = math.MaxInt64/int64(time.Second) - 1

// messageOverhead is what a queued message costs beside its bytes.
const messageOverhead = 64

// Header is one record header. A key may occur more than once.
type Header struct {
	Key   string
	Value []byte
}

// Message is a message to be produced. Send copies it.
type Message struct {
	Topic string
	// Partition sends to that partition; nil lets the partitioner choose.
	Partition *int32
	Key       []byte // nil: none
	Value     []byte // nil: null, a tombstone
	// PartitionKey is hashed in place of Key when not nil.
	PartitionKey []byte
	Headers      []Header
	Timestamp    time.Time // zero: the time of Send
	// AnySize leaves it to the topic what is too large, whatever message.max.bytes says.
	AnySize bool
}

// Clone returns a copy that shares nothing with m, for who keeps it before Send. The
// bytes take one allocation.
func (m Message) Clone() Message {
	n := len(m.Key) + len(m.Value) + len(m.PartitionKey)
	for _, h := range m.Headers {
		n += len(h.Value)
	}
	buf := make([]byte, 0, n)
	clone := func(b []byte) []byte {
		if b == nil {
			return nil
		}
		buf = append(buf, b...)
		return buf[len(buf)-len(b) : len(buf) : len(buf)]
	}
	m.Key, m.Value, m.PartitionKey = clone(m.Key), clone(m.Value), clone(m.PartitionKey)
	m.Headers = slices.Clone(m.Headers)
	for i := range m.Headers {
		m.Headers[i].Value = clone(m.Headers[i].Value)
	}
	if m.Partition != nil {
		m.Partition = new(*m.Partition)
	}
	return m
}

// Done is told how the delivery of one message ended: with the partition and
// offset it got, or with an error that is a *DeliveryError. The offset is -1
// when the broker recognised a repetition whose offset it no longer knows; the
// partition is -1 when none was chosen.
//
// Within a partition the calls come in the order of Send, one after the other.
// Calls for different partitions may run at the same time. Done must not block:
// it must not wait for room in the same producer, nor call Flush or Close.
type Done func(partition int32, offset int64, err error)

// Options are the settings of a Producer that are no configuration keys.
type Options struct {
	// Logger is told once when brokers become unreachable or refuse to take
	// messages for now, and once when that is over. Required.
	Logger logrus.FieldLogger
	// BufferBytes bounds what is not acknowledged yet; 0: as configured
	// (queue.buffering.max.kbytes), else DefaultBufferBytes.
	BufferBytes int64
	// Access is shared with the process's other clients; nil: one of its own.
	Access *access.Access
}

// Producer sends messages with acks=all and idempotence, and reports the end of
// each one exactly once.
//
// What it promises: messages of one partition reach it in the order of Send; a
// message is tried again, behind the same sequence number, until the broker
// acknowledges or refuses it or its time (message_timeout, counted from Send)
// is up. What is refused or out of time is reported to its Done, and the later
// messages of its partition go on: whoever needs the gap closed sends it again.
// Messages in the hands of a broker when their time is up are reported when
// that request has ended, at most socket_timeout later.
//
// Why it is not sarama's AsyncProducer is said in docs/internals.md.
//
// Nothing is sent before the first Send: a Producer can be made, and its buffer
// filled, while no broker can be reached. All methods may be called from
// several goroutines. Close must be called.
type Producer struct {
	conf        *kafka.Config
	sarama      *sarama.Config // conf, with our own connections
	connections *access.Dialer
	compressors sync.Pool // of compressor
	log         logrus.FieldLogger
	timeout     time.Duration // message_timeout
	refresh     time.Duration // topic_metadata_refresh_interval
	retries     int           // as the user wrote it (retries); -1: as many as fit into timeout
	choose      Partitioner
	sticky      time.Duration // sticky.partitioning.linger.ms
	seeds       []string

	room     *semaphore.Weighted
	roomSize int64
	limits   limits
	codec    codec
	level    int       // of codec, as librdkafka counts them
	began    time.Time // deadlines are counted from here

	ctx    context.Context // ends with Close: connections made under it are cut
	cancel context.CancelFunc
	wg     sync.WaitGroup // the loops and the requests
	wake   chan struct{}  // the dispatch loop has something to look at
	ask    chan struct{}  // the control loop has something to ask a broker

	mu          locks.Mutex[locks.Producer] // guards all below
	started     bool
	closed      bool
	topics      map[string]*outTopic
	active      []*outPartition // those with messages
	links       map[int32]*brokerLink
	id          producerID // handed to partitions at their first batch
	idErr       error      // the last answer when asked for it; nil: it was given
	outstanding int        // messages whose Done was not called yet
	heldBytes   int64
	idle        chan struct{} // closed when outstanding falls to 0; nil when nobody waits
	flushing    int           // Flush calls waiting: no lingering
	reached     bool          // a broker answered when last asked
	lastErr     error         // why none did; nil: one did, or none was asked yet
	ratio       float64       // of the last request's bytes, compressed to not compressed
	silent      bool          // nobody answers, and the log says so
	news        chan struct{} // closed and replaced when one of the two before changes
	warned      map[string]time.Time
	txn         *transaction // nil: not transactional
}

// New makes a Producer for c. It starts nothing.
func New(ctx context.Context, c *config.Config, opts Options) (*Producer, error) {
	if opts.Access == nil {
		var err error
		if opts.Access, err = access.New(c, opts.Logger); err != nil {
			return nil, err
		}
	}
	conf, err := kafka.ProducerConfig(opts.Access)
	if err != nil {
		return nil, err
	}
	c = conf.Access.Config() // with the properties of `producer` in force
	p := &Producer{
		conf:    conf,
		retries: -1,
		sticky:  stickyFor,
		log:     opts.Logger,
		timeout: c.MessageTimeout,
		refresh: c.TopicMetadataRefreshInterval,
		limits:  limits{bytes: batchBytes(conf), messages: conf.Producer.Flush.MaxMessages, pool: &buffers{}},
		level:   -1,
		began:   time.Now(),
		wake:    make(chan struct{}, 1),
		ask:     make(chan struct{}, 1),
		topics:  map[string]*outTopic{},
		links:   map[int32]*brokerLink{},
		ratio:   1,
		news:    make(chan struct{}),
		warned:  map[string]time.Time{},
	}
	if err := p.configure(c, opts.BufferBytes); err != nil {
		return nil, err
	}
	// The connections outlive the caller's ctx: Close ends them.
	p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	p.connections = conf.Access.Dialer(p.ctx, nil)
	p.sarama = conf.Through(p.connections, 0)
	return p, nil
}

// configure takes over what has to be checked.
func (p *Producer) configure(c *config.Config, bufferBytes int64) (err error) {
	props, err := config.ProducerProperties(c.Producer)
	if err != nil {
		return &access.ConfigError{Key: "producer", Err: err}
	}
	if props.Retries != nil {
		p.retries = *props.Retries
	}
	if props.StickyLinger != nil {
		p.sticky = *props.StickyLinger
	}
	if props.CompressionLevel != nil {
		p.level = *props.CompressionLevel
	}
	p.roomSize = cmp.Or(bufferBytes, props.BufferBytes, DefaultBufferBytes)
	p.room = semaphore.NewWeighted(p.roomSize)
	if p.codec, err = codecOf(c.ProducerCompressionCodec, p.level); err != nil {
		return err
	}
	if p.choose, err = PartitionerByName(c.Partitioner); err != nil {
		return &access.ConfigError{Key: "partitioner", Problem: err.Error()}
	}
	p.seeds, err = p.conf.Access.Addresses()
	return err
}

// Send queues m. It blocks only while there is no room, bounded by ctx. When it
// returns nil, done is called exactly once, possibly before Send has returned;
// when it returns an error, nothing was queued and done is never called. A
// message that cannot be sent at all (too large, no topic) and a closed
// producer are *DeliveryError.
func (p *Producer) Send(ctx context.Context, m Message, done Done) error {
	size := recordSize(&m)
	if err := p.check(&m, size); err != nil {
		return err
	}
	room := p.needs(size)
	if !p.room.TryAcquire(room) {
		if err := p.waitForRoom(ctx, room); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.room.Release(room)
		return &DeliveryError{Kind: DeliveryClosed, Topic: m.Topic, Partition: -1}
	}
	if err := p.txn.refuses(); err != nil {
		p.room.Release(room)
		return err
	}
	now := time.Now()
	p.outstanding++
	p.heldBytes += room
	p.start()
	p.place(&m, entry{done: done, deadline: p.since(now) + p.timeout, room: int32(room)}, size, now)
	return nil
}

// since is now on the clock of deadlines.
func (p *Producer) since(now time.Time) time.Duration { return now.Sub(p.began) }

// check refuses what no broker would take.
func (p *Producer) check(m *Message, size int) error {
	return checkMessage(m, size, p.conf.Producer.MaxMessageBytes)
}

// CheckMessage refuses what a producer with configuration c refuses, whatever the brokers
// say: for doubles of tests.
func CheckMessage(m Message, c *config.Config) error {
	props, err := config.ProducerProperties(c.Producer)
	if err != nil {
		return err
	}
	return checkMessage(&m, recordSize(&m), cmp.Or(props.MaxMessageBytes, kafka.DefaultMaxMessage))
}

func checkMessage(o *Message, size, limit int) error {
	refuse := func(err error) error {
		return &DeliveryError{Kind: DeliveryRefused, Topic: o.Topic, Partition: -1, Err: err}
	}
	switch {
	case o.Topic == "":
		return refuse(errors.New("no topic is set"))
	case len(o.Topic) > maxTopic:
		return refuse(fmt.Errorf("the topic's name has %d characters, more than %d", len(o.Topic), maxTopic))
	case o.Partition != nil && *o.Partition < 0:
		return refuse(fmt.Errorf("partition %d is negative", *o.Partition))
	case !o.Timestamp.IsZero() && (o.Timestamp.Unix() < 0 || o.Timestamp.Unix() > maxTimestamp):
		return refuse(fmt.Errorf("the timestamp %s is not between the years 1970 and 2262", o.Timestamp.Format(time.RFC3339)))
	case size > math.MaxInt32/2:
		return refuse(fmt.Errorf("%d bytes are more than Kafka's protocol can carry", size))
	case size > limit && !o.AnySize:
		return refuse(fmt.Errorf("%d bytes are more than the %d of message.max.bytes", size, limit))
	}
	return nil
}

// waitForRoom blocks until need bytes are free, ctx ends or the producer closes.
func (p *Producer) waitForRoom(ctx context.Context, need int64) error {
	p.release() // what a transaction holds back takes the room
	wait, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(p.ctx, func() { cancel(errProducerClosed) })
	defer stop()
	if p.room.Acquire(wait, need) == nil {
		return nil
	}
	if cause := context.Cause(wait); errors.Is(cause, errProducerClosed) {
		return &DeliveryError{Kind: DeliveryClosed, Partition: -1}
	}
	messages, bytes := p.Buffered()
	return fmt.Errorf("no room to produce: %d messages (%d bytes) are not acknowledged yet: %w", messages, bytes, context.Cause(ctx))
}

// Buffered returns how many messages, and bytes of room, wait for their end.
func (p *Producer) Buffered() (messages int, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.outstanding, p.heldBytes
}

// Flush returns when every message was reported to its Done, those that are
// sent meanwhile included, or when ctx ends. It says nothing of how deliveries
// ended.
func (p *Producer) Flush(ctx context.Context) error {
	p.mu.Lock()
	if p.outstanding == 0 {
		p.mu.Unlock()
		return nil
	}
	if p.idle == nil {
		p.idle = make(chan struct{})
	}
	idle := p.idle
	p.flushing++
	p.mu.Unlock()
	poke(p.wake)
	defer func() {
		p.mu.Lock()
		p.flushing--
		p.mu.Unlock()
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		messages, _ := p.Buffered()
		return fmt.Errorf("%d messages are not acknowledged yet: %w", messages, context.Cause(ctx))
	}
}

// Hurry sends what is queued now without waiting for more (linger.ms): somebody
// waits for it.
func (p *Producer) Hurry() {
	p.mu.Lock()
	for _, q := range p.active {
		q.hurry = true
	}
	for _, t := range p.topics {
		t.hurry = len(t.waiting) > 0
	}
	p.mu.Unlock()
	poke(p.wake)
}

// Connect returns when a broker has answered, when one has turned us away for
// good (see Permanent), or when ctx ends, with the reason why none answers.
// Producing does not need it; it is for those who want to know before they start.
func (p *Producer) Connect(ctx context.Context) error {
	for {
		p.mu.Lock()
		closed, reached, last, news := p.closed, p.reached, p.lastErr, p.news
		if !closed {
			p.start()
		}
		p.mu.Unlock()
		if closed {
			return &DeliveryError{Kind: DeliveryClosed, Partition: -1}
		}
		if reached {
			return nil
		}
		if _, _, permanent := access.Permanent(last); permanent {
			return last
		}
		select {
		case <-news:
		case <-p.ctx.Done():
		case <-ctx.Done():
			if last == nil {
				last = fmt.Errorf("no answer yet from %s", strings.Join(p.seeds, ", "))
			}
			return fmt.Errorf("%w: %w", last, context.Cause(ctx))
		}
	}
}

// Close takes no new messages, waits until all are delivered or ctx ends, and
// reports what was not to its Done with kind DeliveryClosed. When it returns,
// all goroutines are gone and every Done was called. Its error says how many
// messages were left. A second call waits for nothing and returns nil.
func (p *Producer) Close(ctx context.Context) error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	p.mu.Unlock()
	err := p.Flush(ctx)
	p.cancel() // cuts the connections, so that requests in flight end now
	p.wg.Wait()
	for _, l := range p.links { // nobody else is left
		l.close()
	}
	p.mu.Lock()
	left := p.takeAll(DeliveryClosed)
	p.mu.Unlock()
	p.report(left)
	if err == nil {
		return nil
	}
	return fmt.Errorf("close producer: %w", err)
}

// start begins the loops at the first use. p.mu is held.
func (p *Producer) start() {
	if p.started {
		return
	}
	p.started = true
	p.wg.Add(2)
	go p.dispatchLoop()
	go p.controlLoop()
}

// report tells each message's Done how it ended, in order, and gives the room
// back. p.mu is not held.
func (p *Producer) report(ended []ending) {
	for _, e := range ended {
		var held int64
		for i, o := range e.entries {
			offset := e.offset
			if offset >= 0 {
				offset += int64(i)
			}
			if o.done != nil {
				o.done(e.part, offset, e.err)
			}
			held += int64(o.room)
		}
		p.room.Release(held)
		p.mu.Lock()
		p.heldBytes -= held
		if e.err != nil {
			p.doom(e.err)
		}
		if p.outstanding -= len(e.entries); p.outstanding == 0 && p.idle != nil {
			close(p.idle)
			p.idle = nil
		}
		p.mu.Unlock()
	}
}

// needs is the room that a message takes whose record has at most size bytes.
func (p *Producer) needs(size int) int64 { return min(int64(size)+messageOverhead, p.roomSize) }

// poke fills a channel of capacity one.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
