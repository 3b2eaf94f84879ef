package otel

import (
	"context"

	api "go.opentelemetry.io/otel"

	"github.com/racecar-go/racecar/racecar"
)

// Carrier lets a propagator read and add the headers of a message
// (propagation.TextMapCarrier): Carrier{&m.Headers}.
type Carrier struct{ Headers *[]racecar.Header }

// Get implements propagation.TextMapCarrier. Of several headers with that key the last one
// counts, as in lastHeader of Kafka's Java client.
func (c Carrier) Get(key string) string {
	for i := len(*c.Headers) - 1; i >= 0; i-- {
		if (*c.Headers)[i].Key == key {
			return string((*c.Headers)[i].Value)
		}
	}
	return ""
}

// Set implements propagation.TextMapCarrier.
func (c Carrier) Set(key, value string) {
	*c.Headers = append(*c.Headers, racecar.Header{Key: key, Value: []byte(value)})
}

// Keys implements propagation.TextMapCarrier.
func (c Carrier) Keys() []string {
	keys := make([]string, len(*c.Headers))
	for i, header := range *c.Headers {
		keys[i] = header.Key
	}
	return keys
}

// MessageContext returns ctx with the context that m's headers carry, its span and baggage:
// in ProcessBatch, whose own span belongs to no single message, a span that is started from
// it is a child of the span that produced m. A header that carries nothing changes nothing.
func MessageContext(ctx context.Context, m *racecar.Message) context.Context {
	return api.GetTextMapPropagator().Extract(ctx, Carrier{&m.Headers})
}
