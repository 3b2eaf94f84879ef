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

// StandaloneProducer sends messages from any program; no consumer need run in
// it. It is made by OpenProducer. Messages of one partition arrive in the order
// of the calls; each is tried for message_timeout. Its methods may be called
// from several goroutines. Close must be called, or what is buffered is lost.
type StandaloneProducer struct {
	inner    *producer.Producer
	log      *logs.Log
	reporter *reporter
	tracer   Tracer // nil: none
	closing  atomic.Bool
	closed   chan struct{} // closed when Close is done
}

// OpenProducer makes a producer. It connects to nobody yet: messages are
// buffered until a broker is there.
//
// Its configuration is made as that of racecar itself, from defaults,
// config/racecar.yml under the working directory, Configure and RACECAR_
// variables; the functions given have the last word. It logs to Config.Logger,
// or to logfile, or else to slog.Default.
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

// NewStandaloneProducer makes a producer from a complete configuration. Most
// programs call OpenProducer.
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

// Connect returns when a broker has answered; else, when ctx ends or a broker has
// turned us away for good, with the reason. Producing does not need it: it is for
// programs that want to know before they start.
func (p *StandaloneProducer) Connect(ctx context.Context) error { return p.inner.Connect(ctx) }

// ProduceSync sends m and returns when the brokers have it, or the error for
// which they do not. When ctx ends before that, the message may still be delivered; when
// it has ended already, nothing is sent.
func (p *StandaloneProducer) ProduceSync(ctx context.Context, m ProducerMessage) error {
	start := time.Now()
	traced := p.trace(ctx, &m)
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
	p.inner.Hurry()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return fmt.Errorf("message for topic %q is not acknowledged yet: %w", topic, context.Cause(ctx))
	}
}

// ProduceAsync queues m, unless ctx has ended, and returns; it blocks, bounded by ctx, only while the
// buffer is full (32 MiB, or queue.buffering.max.kbytes). Its error says why nothing was queued. A queued
// message that is finally not delivered is logged and told to Config.OnError,
// or to WaitForDelivery when ctx comes from there.
func (p *StandaloneProducer) ProduceAsync(ctx context.Context, m ProducerMessage) error {
	start := time.Now()
	wait, topic := waitOf(ctx, p).begin(), m.Topic
	traced := p.trace(ctx, &m)
	out := kafkaMessage(m)
	err := p.send(ctx, out, func(partition int32, offset int64, err error) {
		traced(partition, offset, err)
		p.reporter.delivered(topic, partition, offset, err)
		if !wait.end(err) && err != nil {
			p.reporter.failed(topic, partition, err)
		}
	})
	if err != nil {
		traced(-1, -1, err)
		wait.end(err)
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

// WaitForDelivery calls f and returns when everything that was given to
// ProduceAsync with f's ctx has been acknowledged or failed. It joins
// (errors.Join) f's error and those of all these messages, which are then
// reported nowhere else. When ctx ends first, its error is joined, and what
// fails later is reported as ProduceAsync says.
func (p *StandaloneProducer) WaitForDelivery(ctx context.Context, f func(ctx context.Context) error) error {
	w := &deliveryWait{idle: make(chan struct{}), open: 1}
	err := f(context.WithValue(ctx, waitKey{p}, w))
	w.end(nil) // f itself, so that idle is closed after it alone
	p.inner.Hurry()
	select {
	case <-w.idle:
	case <-ctx.Done():
	}
	failed, open := w.close()
	// An error of ProduceAsync that f returns is not to be told twice.
	failed = slices.DeleteFunc(failed, func(e error) bool { return err != nil && errors.Is(err, e) })
	if open > 0 {
		failed = append(failed, fmt.Errorf("%d messages are not acknowledged yet: %w", open, context.Cause(ctx)))
	}
	return errors.Join(append([]error{err}, failed...)...)
}

// Close takes no more messages and waits until all are delivered or ctx ends.
// What is not delivered then is reported as ProduceAsync says, and counted in
// the error. Another call waits, bounded by its ctx, until the first is done, and
// returns nil. OnError and observers must not call it, since it waits for them: it
// returns an error there and closes nothing.
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

// errCloseInCall is Close called by what it waits for.
var errCloseInCall = errors.New("a producer cannot be closed from OnError or an observer, for which Close waits: call it elsewhere")

// trace begins the span of a message, if there is a tracer.
func (p *StandaloneProducer) trace(ctx context.Context, m *ProducerMessage) (end func(int32, int64, error)) {
	if p.tracer == nil {
		return func(int32, int64, error) {}
	}
	return p.tracer.Produce(ctx, m)
}

// kafkaMessage copies m: the caller may reuse its buffers.
func kafkaMessage(m ProducerMessage) producer.Message {
	k := producer.Message{Topic: m.Topic, Partition: m.Partition, Key: m.Key, Value: m.Value,
		PartitionKey: m.PartitionKey, Timestamp: m.Timestamp}
	if len(m.Headers) > 0 {
		k.Headers = make([]producer.Header, len(m.Headers))
		for i, h := range m.Headers {
			k.Headers[i] = producer.Header(h)
		}
	}
	return k.Clone()
}

// waitKey is where a ctx carries the deliveryWait of a producer.
type waitKey struct{ p *StandaloneProducer }

// deliveryWait collects what becomes of messages. Its methods may be called on
// nil, which collects nothing.
type deliveryWait struct {
	mu     sync.Mutex
	open   int // messages not ended, and one for f
	errs   []error
	closed bool
	idle   chan struct{} // closed when open has come to 0
}

func waitOf(ctx context.Context, p *StandaloneProducer) *deliveryWait {
	w, _ := ctx.Value(waitKey{p}).(*deliveryWait)
	return w
}

// begin counts a message in and returns w, or nil when the waiting is over.
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

// end takes the end of a message. It reports whether somebody waits for it.
func (w *deliveryWait) end(err error) bool {
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

// close ends the collecting: whatever ends later is told to nobody here.
func (w *deliveryWait) close() (errs []error, open int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	return w.errs, w.open
}
