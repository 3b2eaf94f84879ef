package otel

import (
	"context"
	"strconv"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/racecar-go/racecar/racecar"
)

// retriesKey is ours: how often the message failed before. The conventions have
// nothing for it.
const retriesKey = attribute.Key("racecar.retries")

// What is the same for each message.
var (
	processName = semconv.MessagingOperationName("process")
	sendName    = semconv.MessagingOperationName("send")

	consumer = trace.WithSpanKind(trace.SpanKindConsumer)
)

// ProcessMessage implements racecar.Tracer.
func (t *tracer) ProcessMessage(ctx context.Context, w racecar.Worker, m *racecar.Message) (context.Context, func(error)) {
	attributes := append(t.consuming(w, m), semconv.MessagingKafkaOffset(int(m.Offset)))
	attributes = addMessage(attributes, m.Key, m.Value)
	if m.Retries > 0 {
		attributes = append(attributes, retriesKey.Int(m.Retries))
	}
	options := append(make([]trace.SpanStartOption, 0, 3), consumer, trace.WithAttributes(attributes...))
	if len(m.Headers) > 0 { // else there is nothing to extract
		ctx = t.propagator.Extract(ctx, headers{&m.Headers})
		if created := trace.SpanContextFromContext(ctx); created.IsRemote() {
			options = append(options, trace.WithLinks(trace.Link{SpanContext: created}))
		}
	}
	ctx, span := t.spans.Start(ctx, "process "+m.Topic, options...)
	return ctx, func(err error) { end(span, err) }
}

// ProcessBatch implements racecar.Tracer.
func (t *tracer) ProcessBatch(ctx context.Context, w racecar.Worker, ms []*racecar.Message) (context.Context, func(error)) {
	var links []trace.Link
	for _, m := range ms {
		if len(m.Headers) == 0 {
			continue
		}
		created := trace.SpanContextFromContext(t.propagator.Extract(context.Background(), headers{&m.Headers}))
		if created.IsValid() {
			links = append(links, trace.Link{SpanContext: created, Attributes: []attribute.KeyValue{semconv.MessagingKafkaOffset(int(m.Offset))}})
		}
	}
	ctx, span := t.spans.Start(ctx, "process "+ms[0].Topic, consumer, trace.WithLinks(links...),
		trace.WithAttributes(append(t.consuming(w, ms[0]), semconv.MessagingBatchMessageCount(len(ms)))...))
	return ctx, func(err error) { end(span, err) }
}

// consuming are the attributes of a call, whatever it is handed.
func (t *tracer) consuming(w racecar.Worker, m *racecar.Message) []attribute.KeyValue {
	return append(make([]attribute.KeyValue, 0, maxAttributes),
		semconv.MessagingSystemKafka, processName, semconv.MessagingOperationTypeProcess, t.client,
		semconv.MessagingConsumerGroupName(w.Group),
		semconv.MessagingDestinationName(m.Topic),
		semconv.MessagingDestinationPartitionID(strconv.Itoa(int(m.Partition))))
}

// maxAttributes is how many attributes a span has at most when it begins.
const maxAttributes = 12

// addMessage adds the attributes of one message. A key that is no text has no
// canonical form and is left out, as the conventions say.
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
	attributes := append(make([]attribute.KeyValue, 0, maxAttributes),
		semconv.MessagingSystemKafka, sendName, semconv.MessagingOperationTypeSend, t.client, semconv.MessagingDestinationName(m.Topic))
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(addMessage(attributes, m.Key, m.Value)...)}
	// A context that the author has put there is the message's own and stays.
	own := trace.SpanContextFromContext(t.propagator.Extract(context.Background(), headers{&m.Headers}))
	if own.IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: own}))
	}
	ctx, span := t.spans.Start(ctx, "send "+m.Topic, options...)
	if !own.IsValid() {
		m.Headers = m.Headers[:len(m.Headers):len(m.Headers)] // the author's array is not written to
		t.propagator.Inject(ctx, headers{&m.Headers})
	}
	return func(partition int32, offset int64, err error) {
		if partition >= 0 {
			span.SetAttributes(semconv.MessagingDestinationPartitionID(strconv.Itoa(int(partition))))
		}
		if offset >= 0 {
			span.SetAttributes(semconv.MessagingKafkaOffset(int(offset)))
		}
		end(span, err)
	}
}

func end(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
		span.SetAttributes(semconv.ErrorType(err))
	}
	span.End()
}

// headers lets a propagator read and add a message's headers.
type headers struct{ of *[]racecar.Header }

// Get implements propagation.TextMapCarrier: of several headers of that name the
// last one counts, as for Kafka's own lastHeader.
func (h headers) Get(key string) string {
	for i := len(*h.of) - 1; i >= 0; i-- {
		if (*h.of)[i].Key == key {
			return string((*h.of)[i].Value)
		}
	}
	return ""
}

// Set implements propagation.TextMapCarrier.
func (h headers) Set(key, value string) {
	*h.of = append(*h.of, racecar.Header{Key: key, Value: []byte(value)})
}

// Keys implements propagation.TextMapCarrier.
func (h headers) Keys() []string {
	keys := make([]string, len(*h.of))
	for i, header := range *h.of {
		keys[i] = header.Key
	}
	return keys
}
