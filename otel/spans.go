package otel

import (
	"context"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/racecar-go/racecar/racecar"
)

// retriesKey is the attribute for the failed attempts at a message, for which the conventions
// have none.
const retriesKey = attribute.Key("racecar.retries")

// Attributes that are the same for each message.
var (
	processName = semconv.MessagingOperationName("process")
	sendName    = semconv.MessagingOperationName("send")

	consumer = trace.WithSpanKind(trace.SpanKindConsumer)
	producer = trace.WithSpanKind(trace.SpanKindProducer)
)

// ProcessMessage implements racecar.Tracer.
func (t *tracer) ProcessMessage(ctx context.Context, w racecar.Worker, m *racecar.Message) (context.Context, func(error)) {
	ctx, created := t.extract(ctx, m.Headers)
	options := []trace.SpanStartOption{consumer, trace.WithAttributes(t.aboutMessage(make([]attribute.KeyValue, 0, maxAttributes), w, m)...)}
	if created.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, created)
		options = append(options, trace.WithLinks(trace.Link{SpanContext: created}))
	}
	ctx, span := t.spans.Start(ctx, "process "+valid(m.Topic), options...)
	return ctx, func(err error) { finish(span, err) }
}

// aboutMessage adds the attributes of a call with one message.
func (t *tracer) aboutMessage(attributes []attribute.KeyValue, w racecar.Worker, m *racecar.Message) []attribute.KeyValue {
	attributes = append(t.consuming(attributes, w, m), semconv.MessagingKafkaOffset(int(m.Offset)))
	attributes = addMessage(attributes, m.Key, m.Value)
	if m.Retries > 0 {
		attributes = append(attributes, retriesKey.Int(m.Retries))
	}
	return attributes
}

// extract returns the span that produced a message, as its headers name it (an invalid one if
// they do not), and ctx with the rest of the context in the headers.
func (t *tracer) extract(ctx context.Context, hs []racecar.Header) (context.Context, trace.SpanContext) {
	if len(hs) == 0 {
		return ctx, trace.SpanContext{}
	}
	ctx = t.propagator.Extract(ctx, Carrier{&hs})
	c := trace.SpanContextFromContext(ctx)
	if !c.IsRemote() {
		c = trace.SpanContext{}
	}
	return ctx, c
}

// ProcessBatch implements racecar.Tracer.
func (t *tracer) ProcessBatch(ctx context.Context, w racecar.Worker, ms []*racecar.Message) (context.Context, func(error)) {
	var links []trace.Link
	for _, m := range ms {
		if _, created := t.extract(context.Background(), m.Headers); created.IsValid() {
			links = append(links, trace.Link{SpanContext: created, Attributes: []attribute.KeyValue{semconv.MessagingKafkaOffset(int(m.Offset))}})
		}
	}
	attributes := t.consuming(make([]attribute.KeyValue, 0, maxAttributes), w, ms[0])
	ctx, span := t.spans.Start(ctx, "process "+valid(ms[0].Topic), consumer, trace.WithLinks(links...),
		trace.WithAttributes(append(attributes, semconv.MessagingBatchMessageCount(len(ms)))...))
	return ctx, func(err error) { finish(span, err) }
}

// consuming adds the attributes of any call.
func (t *tracer) consuming(attributes []attribute.KeyValue, w racecar.Worker, m *racecar.Message) []attribute.KeyValue {
	return append(attributes,
		semconv.MessagingSystemKafka, processName, semconv.MessagingOperationTypeProcess, t.client,
		semconv.MessagingConsumerGroupName(valid(w.Group)),
		semconv.MessagingDestinationName(valid(m.Topic)),
		semconv.MessagingDestinationPartitionID(strconv.Itoa(int(m.Partition))))
}

// maxAttributes is how many attributes a span has at most when it begins.
const maxAttributes = 12

// addMessage adds the attributes of one message. A key that is not text has no canonical form
// and is omitted, as the conventions say.
func addMessage(attributes []attribute.KeyValue, key, value []byte) []attribute.KeyValue {
	attributes = append(attributes, semconv.MessagingMessageBodySize(len(value)))
	if key != nil && utf8.Valid(key) {
		attributes = append(attributes, semconv.MessagingKafkaMessageKey(string(key)))
	}
	if value == nil {
		attributes = append(attributes, semconv.MessagingKafkaMessageTombstone(true))
	}
	return attributes
}

// Produce implements racecar.Tracer.
func (t *tracer) Produce(ctx context.Context, m *racecar.ProducerMessage) func(partition int32, offset int64, err error) {
	// A context that the author has put into the headers stays.
	_, own := t.extract(context.Background(), m.Headers)
	ctx, span := t.startSend(ctx, m, own)
	if !own.IsValid() {
		m.Headers = m.Headers[:len(m.Headers):len(m.Headers)] // keeps the author's array unchanged
		t.propagator.Inject(ctx, Carrier{&m.Headers})
	}
	return func(partition int32, offset int64, err error) {
		if partition >= 0 {
			span.SetAttributes(semconv.MessagingDestinationPartitionID(strconv.Itoa(int(partition))))
		}
		if offset >= 0 {
			span.SetAttributes(semconv.MessagingKafkaOffset(int(offset)))
		}
		finish(span, err)
	}
}

// startSend begins the span of a message that is being produced. It is linked to own, the span
// that the author has put into the headers.
func (t *tracer) startSend(ctx context.Context, m *racecar.ProducerMessage, own trace.SpanContext) (context.Context, trace.Span) {
	options := []trace.SpanStartOption{producer, trace.WithAttributes(t.producing(make([]attribute.KeyValue, 0, maxAttributes), m)...)}
	if own.IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: own}))
	}
	return t.spans.Start(ctx, "send "+valid(m.Topic), options...)
}

// producing adds the attributes of a message that is being produced.
func (t *tracer) producing(attributes []attribute.KeyValue, m *racecar.ProducerMessage) []attribute.KeyValue {
	return addMessage(append(attributes,
		semconv.MessagingSystemKafka, sendName, semconv.MessagingOperationTypeSend, t.client, semconv.MessagingDestinationName(valid(m.Topic))), m.Key, m.Value)
}

// valid replaces bytes that are not UTF-8: a single such text in a protobuf makes the exporter
// drop all spans of its batch.
func valid(s string) string { return strings.ToValidUTF8(s, "\ufffd") }

// maxDescription is how many bytes of an error's text a span has at most.
const maxDescription = 4 << 10

func description(err error) string {
	text := err.Error()
	return valid(text[:min(len(text), maxDescription)])
}

// finish ends the span of something that has failed with err; nil: it succeeded.
func finish(span trace.Span, err error) {
	defer span.End() // also when the text of an author's error panics
	if err != nil {
		span.SetStatus(codes.Error, description(err))
		span.SetAttributes(semconv.ErrorType(err))
	}
}

// SpanIDs says which span ctx is in, for racecar.Logger.
func (t *tracer) SpanIDs(ctx context.Context) (traceID, spanID string) {
	c := trace.SpanContextFromContext(ctx)
	if !c.IsValid() {
		return "", ""
	}
	return c.TraceID().String(), c.SpanID().String()
}
