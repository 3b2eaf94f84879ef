package racecartest

import (
	"testing"

	"github.com/racecar-go/racecar/racecar"
)

// What is too large a message is message.max.bytes of the configuration, as in a worker.
func TestRecorderHasTheConfiguredLimit(t *testing.T) {
	for property, allowed := range map[string]int{"message.max.bytes=2000": 1000, "message.max.bytes=3000000": 2_000_000} {
		c := configured(t)
		c.Producer = []string{property}
		p := runtimeOf(t, c).Producer
		if err := p.Produce(t.Context(), racecar.ProducerMessage{Topic: "t", Value: make([]byte, allowed)}); err != nil {
			t.Errorf("%s: %v", property, err)
		}
		if err := p.Produce(t.Context(), racecar.ProducerMessage{Topic: "t", Value: make([]byte, 2*allowed)}); err == nil {
			t.Errorf("%s: %d bytes are accepted", property, 2*allowed)
		}
	}
}
