// Package otel makes OpenTelemetry spans of what consumers and producers do.
// Importing it is enough:
//
//	import _ "github.com/racecar-go/racecar/otel"
//
// Each call of Process is a span "process TOPIC" of kind CONSUMER, which is a child of the
// span that produced the message and linked to it. Each call of ProcessBatch is a span that is
// linked to those of all its messages. Each message that a consumer or a standalone producer
// sends is a span "send TOPIC" of kind PRODUCER, a child of the span in the ctx given to
// Produce; it ends when the brokers have acknowledged the message. The messages' headers carry
// the context, as W3C Trace Context and Baggage unless OTEL_PROPAGATORS says otherwise. Names
// and attributes follow the semantic conventions for messaging, version 1.43.
//
// OpenTelemetry's own libraries read its variables: OTEL_SERVICE_NAME (default: the group id,
// else client_id), OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_EXPORTER (otlp, console, none),
// OTEL_EXPORTER_OTLP_ENDPOINT, _PROTOCOL and _HEADERS, OTEL_TRACES_SAMPLER, OTEL_BSP_*,
// OTEL_SDK_DISABLED. A worker for which they
// describe no valid exporter does not start. Spans are sent from a
// queue in the background, so a collector delays no message. Spans that a collector does not
// take are lost, which is logged once a minute. A slow collector may fill the queue; then new
// spans are dropped without a line (OTEL_BSP_MAX_QUEUE_SIZE).
//
// In worker processes and in programs with a standalone producer this package sets
// OpenTelemetry's global tracer provider and propagator, so spans that consumer code starts
// from the ctx of its call go the same way. Span processors that a program registers with the
// global provider see the spans of messages. BenchmarkProcessMessage measures their cost.
//
// In tests (`go test`) spans go to the global tracer provider, which drops them unless the
// test has set one (otel.SetTracerProvider) that records them, or a variable names an exporter
// or an endpoint.
package otel

import "github.com/racecar-go/racecar/racecar"

func init() { racecar.Trace(&tracer{}) }
