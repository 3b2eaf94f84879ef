package racecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/dispatch"
	"github.com/racecar-go/racecar/internal/logs"
	"github.com/racecar-go/racecar/internal/producerevent"
	"github.com/racecar-go/racecar/kafka/producer"
)

// StandaloneProducer sends messages from any program, without a consumer in it. OpenProducer
// makes one. Messages to one partition arrive in the order of the calls. Each is retried
// until message_timeout (5 minutes by default) is over. The methods may be called from several
// goroutines. Close must be called, or buffered messages are lost.
type StandaloneProducer struct {
	inner    *producer.Producer
	log      *logs.Log
	reporter *reporter
	tracer   Tracer // nil: none
	closing  atomic.Bool
	closed   chan struct{} // closed when Close has finished
}

// OpenProducer makes a producer without connecting: messages are buffered until a broker
// is available.
//
// The producer's configuration comes from the same sources as a consumer's: the defaults,
// config/racecar.yml in the working directory, Configure, and RACECAR_ variables. The
// functions in change run last. The producer logs to Config.Logger, or to logfile, or to
// slog.Default if neither is set. The error lists every mistake in the configuration.
// The producer lives until Close; it keeps ctx's values, not its end.
func OpenProducer(ctx context.Context, change ...func(*Config) error) (*StandaloneProducer, error) {
	loaded, err := config.Load(config.Options{Environ: os.Environ(), Configure: program.Configures()})
	if err != nil {
		return nil, err
	}
	c := loaded.Config
	for _, f := range change {
		if err := f(&c); err != nil {
			return nil, err
		}
	}
	p, err := NewStandaloneProducer(ctx, &c)
	if err != nil {
		return nil, err
	}
	for _, w := range loaded.Warnings {
		p.log.Warn(w)
	}
	return p, nil
}

// NewStandaloneProducer makes a producer from a complete configuration, such as
// Runtime.Config; it reads no file and no variable. Most programs call OpenProducer.
func NewStandaloneProducer(ctx context.Context, c *Config) (*StandaloneProducer, error) {
	own := *c
	if own.Logger == nil && own.Logfile == "" {
		own.Logger = slog.Default() // a library writes to no stream by itself
	}
	log, err := logs.Open(&own, os.Stdout)
	if err != nil {
		return nil, err
	}
	tracer, err := program.StartTracer(&own, logs.Slog(log.WithField("component", "otel")))
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	inner, err := producer.New(ctx, &own, producer.Options{Logger: log})
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return &StandaloneProducer{inner: inner, log: log, reporter: newReporter(own.OnError, program.Observers(), log), tracer: tracer,
		closed: make(chan struct{})}, nil
}

// Connect waits until a broker has answered, for programs that want to know before they
// start; producing does not need it. It returns an error when ctx ends, or when a broker
// refuses access permanently.
func (p *StandaloneProducer) Connect(ctx context.Context) error { return p.inner.Connect(ctx) }

// ProduceSync sends m and waits until the brokers acknowledge it (upstream:
// produce_sync). It returns the error for which the message was not delivered. When ctx ends
// first, the message may still be delivered; if ctx has ended already, nothing is sent.
func (p *StandaloneProducer) ProduceSync(ctx context.Context, m ProducerMessage) error {
	start := time.Now()
	m, traced := p.trace(ctx, m)
	out := kafkaMessage(m)
	err := p.produceSync(ctx, out, traced)
	if p.reporter.observed() {
		buffered, _ := p.inner.Buffered()
		p.reporter.emit(producerevent.Report{Name: "produce_sync", Topic: m.Topic, Key: out.Key, MessageSize: len(m.Value),
			BufferSize: buffered, Duration: time.Since(start), Err: err})
	}
	return err
}

func (p *StandaloneProducer) produceSync(ctx context.Context, m producer.Message, traced func(int32, int64, error)) error {
	ended, topic := make(chan error, 1), m.Topic
	err := p.send(ctx, m, func(partition int32, offset int64, err error) {
		traced(partition, offset, err)
		p.reporter.delivered(topic, partition, offset, err)
		ended <- err
	})
	if err != nil {
		traced(-1, -1, err)
		return err
	}
	p.inner.SkipLinger()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return fmt.Errorf("message for topic %q is not acknowledged yet: %w", topic, context.Cause(ctx))
	}
}

// ProduceAsync queues m and returns (upstream: produce_async). It blocks only while the
// buffer is full (32 MiB, or queue.buffering.max.kbytes), until ctx ends. The error says why
// nothing was queued: m is invalid, ctx has ended, or the producer is closed. A queued message
// that cannot be delivered is logged and reported to Config.OnError; if ctx comes from
// WaitForDelivery, that returns the error instead.
func (p *StandaloneProducer) ProduceAsync(ctx context.Context, m ProducerMessage) error {
	start := time.Now()
	wait, topic := waitOf(ctx, p).begin(), m.Topic
	m, traced := p.trace(ctx, m)
	out := kafkaMessage(m)
	err := p.send(ctx, out, func(partition int32, offset int64, err error) {
		traced(partition, offset, err)
		p.reporter.delivered(topic, partition, offset, err)
		if !wait.finish(err) && err != nil {
			p.reporter.failed(topic, partition, err)
		}
	})
	if err != nil {
		traced(-1, -1, err)
		wait.finish(err)
	}
	if p.reporter.observed() {
		buffered, _ := p.inner.Buffered()
		p.reporter.emit(producerevent.Report{Name: "produce_async", Topic: m.Topic, Key: out.Key, MessageSize: len(m.Value),
			BufferSize: buffered, Duration: time.Since(start), Err: err})
	}
	return err
}

// send queues m, unless ctx has ended.
func (p *StandaloneProducer) send(ctx context.Context, m producer.Message, done producer.Done) error {
	if ctx.Err() != nil {
		return fmt.Errorf("nothing was queued: %w", context.Cause(ctx))
	}
	return p.inner.Send(ctx, m, done)
}

// WaitForDelivery calls f and waits until every message that was given to ProduceAsync with
// f's ctx is acknowledged or has failed (upstream: wait_for_delivery). It returns the errors
// of f and of all these messages, joined (errors.Join); they are not reported elsewhere.
// When ctx ends first, its error is joined too, and messages that fail later are reported as
// ProduceAsync says.
func (p *StandaloneProducer) WaitForDelivery(ctx context.Context, f func(ctx context.Context) error) error {
	w := &deliveryWait{idle: make(chan struct{}), open: 1}
	err := f(context.WithValue(ctx, waitKey{p}, w))
	w.finish(nil) // f itself: idle is not closed before it has returned
	p.inner.SkipLinger()
	select {
	case <-w.idle:
	case <-ctx.Done():
	}
	failed, open := w.close()
	// f may have returned an error of ProduceAsync: it is not joined a second time.
	failed = slices.DeleteFunc(failed, func(e error) bool { return err != nil && errors.Is(err, e) })
	if open > 0 {
		failed = append(failed, fmt.Errorf("%d messages are not acknowledged yet: %w", open, context.Cause(ctx)))
	}
	return errors.Join(append([]error{err}, failed...)...)
}

// Close refuses further messages and waits until all queued ones are delivered or ctx ends.
// Messages that are not delivered by then are reported as ProduceAsync says, and the error
// counts them. A further call waits, until its ctx ends, for the first one to finish and
// returns nil. OnError and subscribers to events must not call Close, which waits for them:
// it returns an error there and closes nothing.
func (p *StandaloneProducer) Close(ctx context.Context) error {
	if dispatch.InCall() {
		return errCloseInCall
	}
	if p.closing.Swap(true) {
		select {
		case <-p.closed:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("the producer is being closed by another call: %w", context.Cause(ctx))
		}
	}
	defer close(p.closed)
	err := errors.Join(p.inner.Close(ctx), p.reporter.close(ctx))
	if p.tracer != nil {
		err = errors.Join(err, p.tracer.Flush(ctx))
	}
	return errors.Join(err, p.log.Close())
}

// errCloseInCall is the error of Close in a function that Close waits for.
var errCloseInCall = errors.New("a producer cannot be closed from OnError or a subscriber to events, since Close waits for them: call it elsewhere")

// trace begins the span of a message, if there is a tracer. It returns the message with
// what the tracer added; without one m stays on the stack.
func (p *StandaloneProducer) trace(ctx context.Context, m ProducerMessage) (traced ProducerMessage, end func(int32, int64, error)) {
	if p.tracer == nil {
		return m, func(int32, int64, error) {}
	}
	own := m
	end = p.tracer.Produce(ctx, &own)
	return own, end
}

// kafkaMessage is m as the inner producer takes it, which copies it in Send.
func kafkaMessage(m ProducerMessage) producer.Message {
	k := producer.Message{Topic: m.Topic, Partition: m.Partition, Key: m.Key, Value: m.Value,
		PartitionKey: m.PartitionKey, Timestamp: m.Timestamp}
	if len(m.Headers) > 0 {
		k.Headers = make([]producer.Header, len(m.Headers))
		for i, h := range m.Headers {
			k.Headers[i] = producer.Header(h)
		}
	}
	return k
}

// waitKey is the key of a ctx for the deliveryWait of a producer.
type waitKey struct{ p *StandaloneProducer }

// deliveryWait collects the errors of messages. Its methods may be called on nil, which
// collects nothing.
type deliveryWait struct {
	mu     sync.Mutex
	open   int // messages that are not finished, and one for f
	errs   []error
	closed bool
	idle   chan struct{} // closed when open reaches 0
}

func waitOf(ctx context.Context, p *StandaloneProducer) *deliveryWait {
	w, _ := ctx.Value(waitKey{p}).(*deliveryWait)
	return w
}

// begin adds a message and returns w, or nil if nobody waits any more.
func (w *deliveryWait) begin() *deliveryWait {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.open == 0 {
		return nil
	}
	w.open++
	return w
}

// finish takes the result of a message and reports whether somebody waits for it.
func (w *deliveryWait) finish(err error) bool {
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	if err != nil {
		w.errs = append(w.errs, err)
	}
	if w.open--; w.open == 0 {
		close(w.idle)
	}
	return true
}

// close stops collecting and returns the errors and how many messages are not finished.
func (w *deliveryWait) close() (errs []error, open int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	return w.errs, w.open
}
