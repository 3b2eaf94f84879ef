package ctl

import (
	"errors"
	"strings"
	"testing"

	"github.com/racecar-go/racecar/racecar"
)

// What a worker has changed in a dead-letter record is undone by a replay, and a record
// that lacks a part of its message is not taken for it: without its value it would be a
// tombstone.
func TestReplayOfChangedDeadLetters(t *testing.T) {
	record := func(more ...string) deadLetter {
		m := &racecar.Message{Key: []byte("orders/0/7"), Offset: 3}
		for _, h := range append([]string{"topic=orders", "partition=0", "offset=7"}, more...) {
			name, value, _ := strings.Cut(h, "=")
			m.Headers = append(m.Headers, racecar.Header{Key: deadLetterPrefix + name, Value: []byte(value)})
		}
		return deadLetter{m}
	}
	if m := record().replayed(); m.Key == nil {
		t.Error("the key is gone")
	}
	if m := record("no-key=true").replayed(); m.Key != nil {
		t.Errorf("a message without a key has %q", m.Key)
	}
	_, err := (&replayer{}).message(t.Context(), record("truncated=value"))
	if u, ok := errors.AsType[*unsendableError](err); !ok || !strings.Contains(u.Error(), "value") {
		t.Errorf("of a truncated record: %v", err)
	}
}
