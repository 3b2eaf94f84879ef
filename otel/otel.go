// Package otel makes OpenTelemetry spans of what consumers and producers do.
// Importing it is enough:
//
//	import _ "github.com/racecar-go/racecar/otel"
//
// Each call of Process is a span "process TOPIC" of kind CONSUMER, child of and
// linked to the span that produced the message; each call of ProcessBatch is one
// that is linked to those of all its messages. Each message produced, by a
// consumer or a standalone producer, is a span "send TOPIC" of kind PRODUCER,
// child of the span in the ctx that Produce is given, which ends when the brokers
// have acknowledged it. Context travels in the messages' headers, as W3C Trace
// Context and Baggage unless OTEL_PROPAGATORS says otherwise. Names and attributes
// follow the semantic conventions for messaging, version 1.43.
//
// Where spans go is told by the usual variables, read by OpenTelemetry's own
// libraries: OTEL_SERVICE_NAME (default: the group id, else client_id),
// OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_EXPORTER (otlp, console, none),
// OTEL_EXPORTER_OTLP_ENDPOINT, _PROTOCOL and _HEADERS, OTEL_TRACES_SAMPLER,
// OTEL_BSP_*, OTEL_SDK_DISABLED. Spans are sent from a queue in the background: a
// collector that is slow or away loses spans, which the log tells once a minute,
// and delays no message.
//
// The tracer provider and propagator made here become OpenTelemetry's global ones
// in worker processes and in programs with a standalone producer, so that spans
// which consumer code starts from the ctx of its call go the same way.
//
// Spans are the SDK's: span processors that a program registers with the global
// provider see them. What they cost is measured by BenchmarkProcessMessage.
//
// In tests (`go test`) spans go nowhere unless a variable names an exporter or an
// endpoint.
package otel

import "github.com/racecar-go/racecar/racecar"

func init() { racecar.Trace(&tracer{}) }
