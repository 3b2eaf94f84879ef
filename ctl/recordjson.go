package ctl

import (
	"time"
	"unicode/utf8"

	"github.com/racecar-go/racecar/racecar"
)

// recordJSON is a record as a line of JSON. Bytes that are no text come as base64.
type recordJSON struct {
	Partition int32        `json:"partition"`
	Offset    int64        `json:"offset"`
	Timestamp string       `json:"timestamp"` // RFC 3339; time.Time has no JSON for the year 10,000, which a producer may write
	Key       *string      `json:"key"`       // null: none, or no text
	KeyBytes  []byte       `json:"key_base64,omitempty"`
	Value     *string      `json:"value"`
	Bytes     []byte       `json:"value_base64,omitempty"`
	Headers   []headerJSON `json:"headers"`
}

type headerJSON struct {
	Key   string  `json:"key"`
	Value *string `json:"value"`
	Bytes []byte  `json:"value_base64,omitempty"`
}

func jsonOf(m *racecar.Message) recordJSON {
	j := recordJSON{Partition: m.Partition, Offset: m.Offset, Timestamp: m.Timestamp.UTC().Format(time.RFC3339Nano), Headers: []headerJSON{}}
	j.Key, j.KeyBytes = textOrBytes(m.Key)
	j.Value, j.Bytes = textOrBytes(m.Value)
	for _, h := range m.Headers {
		jh := headerJSON{Key: h.Key}
		jh.Value, jh.Bytes = textOrBytes(h.Value)
		j.Headers = append(j.Headers, jh)
	}
	return j
}

// textOrBytes returns b in the one of two forms in which it can be shown.
func textOrBytes(b []byte) (*string, []byte) {
	if b == nil || !utf8.Valid(b) {
		return nil, b
	}
	text := string(b)
	return &text, nil
}
