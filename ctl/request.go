package ctl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// parseRequest reads one JSON object and nothing after it; nothing at all is
// the zero value. Unknown fields are refused.
func parseRequest(body []byte, into any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return badRequest(fmt.Sprintf("request: %v", err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badRequest("request: more than one JSON value")
	}
	return nil
}

// parsePartition reads TOPIC or TOPIC/PARTITION. Topic names hold no slash.
func parsePartition(s string) (topic string, partition int32, err error) {
	topic, number, found := strings.Cut(s, "/")
	if topic == "" {
		return "", 0, fmt.Errorf("%q: expected TOPIC or TOPIC/PARTITION", s)
	}
	if !found {
		return topic, wholeTopic, nil
	}
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil || n < 0 {
		return "", 0, fmt.Errorf("%q: expected TOPIC or TOPIC/PARTITION, and %q is no partition number", s, number)
	}
	return topic, int32(n), nil
}
