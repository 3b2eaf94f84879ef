package producer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/semaphore"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/locks"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/access"
)

// DefaultBufferBytes bounds the unacknowledged messages of a Producer, queued and in
// flight together, unless Options says otherwise. Java's buffer.memory has the same
// default, librdkafka's queue.buffering.max.kbytes is 1 GiB.
const DefaultBufferBytes = 32 << 20

// messageOverhead is the memory that a queued message takes in addition to its record.
const messageOverhead = 64

// Options are the settings of a Producer that are not in the configuration.
type Options struct {
	// Logger gets one line when brokers become unreachable or do not accept messages for
	// now, and one when that is over. Required.
	Logger logrus.FieldLogger
	// BufferBytes bounds the unacknowledged messages; 0: as configured
	// (queue.buffering.max.kbytes), else DefaultBufferBytes.
	BufferBytes int64
	// Access is shared with the process's other clients; nil: New makes one.
	Access *access.Access
}

// Producer sends messages with acks=all and idempotence, and reports the result of each
// one exactly once.
//
// It guarantees that the messages of a partition arrive in the order of Send. It retries a
// message, with the same sequence number, until the broker acknowledges or refuses it, or
// until message_timeout after Send. It reports refused and timed-out messages to their
// Done and continues with the partition's later messages: a caller that must not have a
// gap sends the message again. If a message times out while it is in flight, Done is
// called when that request ends, at most socket_timeout later.
//
// docs/internals.md says why it is not sarama's AsyncProducer.
//
// A Producer sends nothing before the first Send, so it can be made, and its buffer
// filled, while no broker is reachable. It is safe for concurrent use. Close must be
// called.
type Producer struct {
	conf        *kafka.Config
	connections *access.Dialer
	compressors sync.Pool // of compressor
	log         logrus.FieldLogger
	timeout     time.Duration // message_timeout
	refresh     time.Duration // topic_metadata_refresh_interval
	retries     int           // as the user wrote it (retries); -1: as many as fit into timeout
	choose      Partitioner
	sticky      time.Duration // sticky.partitioning.linger.ms
	seeds       []string

	buffer      *semaphore.Weighted
	bufferBytes int64
	limits      limits
	codec       codec
	level       int       // of codec, as librdkafka counts them
	began       time.Time // deadlines are counted from here

	ctx    context.Context // ends with Close: connections made under it are cut
	cancel context.CancelFunc
	wg     sync.WaitGroup // the loops and the requests
	wake   chan struct{}  // wakes the dispatch loop
	ask    chan struct{}  // wakes the control loop

	mu          locks.Mutex[locks.Producer] // guards all below
	started     bool
	closed      bool
	topics      map[string]*topicQueue
	active      []*partitionQueue // those with messages
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

// New makes a Producer for c. It connects to nothing and starts no goroutine.
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
		topics:  map[string]*topicQueue{},
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
	return p, nil
}

// configure applies the settings that can be wrong.
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
	p.bufferBytes = cmp.Or(bufferBytes, props.BufferBytes, DefaultBufferBytes)
	p.buffer = semaphore.NewWeighted(p.bufferBytes)
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
	room := p.bufferedSize(size)
	if !p.buffer.TryAcquire(room) {
		if err := p.waitForBuffer(ctx, room); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.buffer.Release(room)
		return &DeliveryError{Kind: DeliveryClosed, Topic: m.Topic, Partition: -1}
	}
	if err := p.txn.refuses(); err != nil {
		p.buffer.Release(room)
		return err
	}
	now := time.Now()
	p.outstanding++
	p.heldBytes += room
	p.start()
	p.enqueue(&m, entry{done: done, deadline: p.since(now) + p.timeout, buffered: int32(room)}, size, now)
	return nil
}

// since converts now to the clock of deadlines.
func (p *Producer) since(now time.Time) time.Duration { return now.Sub(p.began) }

// check rejects messages that no broker would accept.
func (p *Producer) check(m *Message, size int) error {
	return checkMessage(m, size, p.conf.Producer.MaxMessageBytes)
}

// waitForBuffer blocks until need bytes are free, ctx ends or the producer closes.
func (p *Producer) waitForBuffer(ctx context.Context, need int64) error {
	p.startSending() // the messages that a transaction holds back fill the buffer
	wait, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(p.ctx, func() { cancel(errProducerClosed) })
	defer stop()
	if p.buffer.Acquire(wait, need) == nil {
		return nil
	}
	if cause := context.Cause(wait); errors.Is(cause, errProducerClosed) {
		return &DeliveryError{Kind: DeliveryClosed, Partition: -1}
	}
	messages, bytes := p.Buffered()
	return fmt.Errorf("no room to produce: %d messages (%d bytes) are not acknowledged yet: %w", messages, bytes, context.Cause(ctx))
}

// Buffered returns the number of unacknowledged messages, and the room that they take.
func (p *Producer) Buffered() (messages int, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.outstanding, p.heldBytes
}

// Flush waits until Done was called for every message, including messages sent in the
// meantime, or ctx ends. It does not return the results.
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
	signal(p.wake)
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

// SkipLinger sends the queued messages without waiting for more (linger.ms).
func (p *Producer) SkipLinger() {
	p.mu.Lock()
	for _, q := range p.active {
		q.skipLinger = true
	}
	for _, t := range p.topics {
		t.skipLinger = len(t.waiting) > 0
	}
	p.mu.Unlock()
	signal(p.wake)
}

// Connect waits until a broker has answered, has refused us permanently (see
// access.Permanent), or ctx ends; then its error says why no broker answers. Producing
// does not need it.
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

// Close accepts no new messages, waits until all are delivered or ctx ends, and reports
// the remaining ones to their Done with kind DeliveryClosed. When it returns, all
// goroutines have ended and every Done was called. Its error has the number of remaining
// messages. A second call returns nil at once.
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

// start starts the loops at the first use. p.mu is held.
func (p *Producer) start() {
	if p.started {
		return
	}
	p.started = true
	p.wg.Add(2)
	go p.dispatchLoop()
	go p.controlLoop()
}

// report calls each message's Done, in order, and frees the room. p.mu is not held.
func (p *Producer) report(ended []result) {
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
			held += int64(o.buffered)
		}
		p.buffer.Release(held)
		p.mu.Lock()
		p.heldBytes -= held
		if e.err != nil {
			p.failTxn(e.err)
		}
		if p.outstanding -= len(e.entries); p.outstanding == 0 && p.idle != nil {
			close(p.idle)
			p.idle = nil
		}
		p.mu.Unlock()
	}
}

// bufferedSize is the room that a message takes whose record has at most size bytes.
func (p *Producer) bufferedSize(size int) int64 {
	return min(int64(size)+messageOverhead, p.bufferBytes)
}
