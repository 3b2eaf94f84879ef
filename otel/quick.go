package otel

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	rt "runtime/trace"
	"strings"
	"time"

	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// quick begins spans that are surely sampled and have the usual limits. All others
// are begun by the SDK.
type quick struct {
	provider  *sdk.TracerProvider
	processor sdk.SpanProcessor // of provider as well
	// What a span of the SDK tells that is the same for all of its kind.
	process, send sdk.ReadOnlySpan
	// replacing makes spans of the SDK that have the ids they are told.
	replacing trace.Tracer
}

// sampling says of which spans it is certain what becomes of them: of roots, of
// children of a sampled span, and of children of one that is not.
type sampling struct{ root, sampled, unsampled verdict }

type verdict int

const (
	ask verdict = iota // the SDK
	record
	drop
)

// samplings by OTEL_TRACES_SAMPLER, which the SDK reads in the same way; it decides
// on what is not here.
var samplings = map[string]sampling{
	"":                         {record, record, drop},
	"parentbased_always_on":    {record, record, drop},
	"parentbased_always_off":   {drop, record, drop},
	"parentbased_traceidratio": {ask, record, drop},
	"always_on":                {record, record, record},
	"always_off":               {drop, drop, drop},
}

// of says what becomes of a child of that span.
func (s sampling) of(parent trace.SpanContext) verdict {
	switch {
	case !parent.IsValid():
		return s.root
	case parent.IsSampled():
		return s.sampled
	default:
		return s.unsampled
	}
}

// newSampling reads OTEL_TRACES_SAMPLER.
func newSampling() sampling {
	return samplings[strings.ToLower(strings.TrimSpace(os.Getenv("OTEL_TRACES_SAMPLER")))]
}

// newQuick returns nil where the variables ask for what only the SDK can do.
func newQuick(provider *sdk.TracerProvider, processor sdk.SpanProcessor, from *resource.Resource) *quick {
	usual := sdk.SpanLimits{
		AttributeValueLengthLimit: sdk.DefaultAttributeValueLengthLimit, AttributeValueDepthLimit: sdk.DefaultAttributeValueDepthLimit,
		AttributeCountLimit: sdk.DefaultAttributeCountLimit, EventCountLimit: sdk.DefaultEventCountLimit, LinkCountLimit: sdk.DefaultLinkCountLimit,
		AttributePerEventCountLimit: sdk.DefaultAttributePerEventCountLimit, AttributePerLinkCountLimit: sdk.DefaultAttributePerLinkCountLimit,
	}
	if sdk.NewSpanLimits() != usual || os.Getenv("OTEL_GO_X_OBSERVABILITY") != "" { // the SDK counts its spans
		return nil
	}
	q := &quick{provider: provider, processor: processor}
	q.process = example(from, trace.SpanKindConsumer)
	q.send = example(from, trace.SpanKindProducer)
	q.replacing = sdk.NewTracerProvider(sdk.WithSpanProcessor(processor), sdk.WithResource(from),
		sdk.WithSampler(sdk.AlwaysSample()), sdk.WithIDGenerator(told{})).Tracer(scope)
	return q
}

// example is an ended span of the SDK.
func example(from *resource.Resource, kind trace.SpanKind) sdk.ReadOnlySpan {
	r := tracetest.NewSpanRecorder()
	p := sdk.NewTracerProvider(sdk.WithSpanProcessor(r), sdk.WithResource(from), sdk.WithSampler(sdk.AlwaysSample()))
	_, s := p.Tracer(scope).Start(context.Background(), "", trace.WithSpanKind(kind))
	s.End()
	return r.Ended()[0]
}

// begin begins a span of that kind in ctx, whose parent is parent and which is to
// be sampled; nil: let the SDK do it. Name, attributes and links are yet to be added.
func (q *quick) begin(ctx context.Context, kind trace.SpanKind, parent trace.SpanContext) *span {
	if q == nil || rt.IsEnabled() { // the SDK adds tasks to execution traces
		return nil
	}
	id := trace.SpanContextConfig{TraceID: parent.TraceID(), TraceFlags: parent.TraceFlags() | trace.FlagsSampled, TraceState: parent.TraceState()}
	for !id.TraceID.IsValid() {
		binary.NativeEndian.PutUint64(id.TraceID[:8], rand.Uint64())
		binary.NativeEndian.PutUint64(id.TraceID[8:], rand.Uint64())
	}
	for !id.SpanID.IsValid() {
		binary.NativeEndian.PutUint64(id.SpanID[:], rand.Uint64())
	}
	s := &span{quick: q, ctx: ctx}
	s.data.ReadOnlySpan = q.process
	if kind == trace.SpanKindProducer {
		s.data.ReadOnlySpan = q.send
	}
	s.data.context, s.data.parent = trace.NewSpanContext(id), parent
	s.data.attributes = s.room[:0]
	s.data.start = time.Now()
	return s
}

// replace begins a span of the SDK that stands for s.
func (q *quick) replace(s *span) trace.Span {
	ctx := context.WithValue(s.ctx, idsKey{}, s.data.context)
	if s.data.parent.IsRemote() {
		ctx = trace.ContextWithSpanContext(ctx, s.data.parent)
	}
	options := []trace.SpanStartOption{trace.WithSpanKind(s.data.SpanKind()), trace.WithTimestamp(s.data.start), trace.WithAttributes(s.data.attributes...)}
	for _, l := range s.data.links {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: l.SpanContext, Attributes: l.Attributes}))
	}
	_, whole := q.replacing.Start(ctx, s.data.name, options...)
	return whole
}

// told is an sdk.IDGenerator that generates the ids it is told.
type told struct{}

type idsKey struct{}

// NewIDs implements sdk.IDGenerator.
func (told) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	c, _ := ctx.Value(idsKey{}).(trace.SpanContext)
	return c.TraceID(), c.SpanID()
}

// NewSpanID implements sdk.IDGenerator.
func (t told) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	_, id := t.NewIDs(ctx)
	return id
}
