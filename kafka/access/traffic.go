package access

import (
	"cmp"
	"slices"
	"time"
)

// Traffic counts a process's requests to one broker since the process started.
type Traffic struct {
	Broker        int32
	Requests      int64
	Responses     int64
	BytesSent     int64
	BytesReceived int64
	InFlight      int64 // requests without a response so far
	// Latency of the responses since the last time Access.Traffic was called, from
	// request to response, to a millisecond; of a fetch it includes what the broker
	// waited for messages.
	Latency, MaxLatency time.Duration
}

// Count counts a request to a broker that is not sarama's. What it returns counts its
// response, or with 0 that none came.
func (a *Access) Count(broker int32, sent int) (answered func(received int)) {
	b := a.traffic.entry(broker)
	began := time.Now()
	b.requests.Mark(1)
	b.sent.Mark(int64(sent))
	b.inFlight.Inc(1)
	return func(received int) {
		b.inFlight.Dec(1)
		if received > 0 {
			b.responses.Mark(1)
			b.received.Mark(int64(received))
			b.latency.Update(time.Since(began).Milliseconds())
		}
	}
}

// Traffic returns what went over the connections that fetch and those of sarama, by broker.
func (a *Access) Traffic() []Traffic { return a.traffic.take() }

type brokerTraffic struct {
	sent, received, requests, responses meter
	inFlight                            counter
	latency                             latency
}

func (t *saramaMetrics) entry(id int32) *brokerTraffic {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.brokers == nil {
		t.brokers = map[int32]*brokerTraffic{}
	}
	b := t.brokers[id]
	if b == nil {
		b = &brokerTraffic{}
		t.brokers[id] = b
	}
	return b
}

func (t *saramaMetrics) take() []Traffic {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]Traffic, 0, len(t.brokers))
	for id, b := range t.brokers {
		mean, longest := b.latency.take()
		all = append(all, Traffic{
			Broker: id, Requests: b.requests.Count(), Responses: b.responses.Count(),
			BytesSent: b.sent.Count(), BytesReceived: b.received.Count(), InFlight: b.inFlight.Count(),
			Latency: mean, MaxLatency: longest,
		})
	}
	slices.SortFunc(all, func(a, b Traffic) int { return cmp.Compare(a.Broker, b.Broker) })
	return all
}
