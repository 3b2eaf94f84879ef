package wire

import (
	"encoding/json"
	"slices"

	"github.com/racecar-go/racecar/config"
)

// A config.Config hides its secrets as JSON. A Consumer has to carry them: the worker
// connects with them.

// MarshalJSON implements json.Marshaler. A Consumer that was received travels on as it
// came, with what a program of another release put into it.
func (c Consumer) MarshalJSON() ([]byte, error) {
	if c.received != nil {
		return c.received, nil
	}
	type plain Consumer
	return json.Marshal(struct {
		plain
		Config config.WithSecrets `json:"config"`
	}{plain(c), config.WithSecrets(c.Config)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *Consumer) UnmarshalJSON(b []byte) error {
	type plain Consumer
	v := struct {
		*plain
		Config *config.WithSecrets `json:"config"`
	}{(*plain)(c), (*config.WithSecrets)(&c.Config)}
	c.received = slices.Clone(b)
	return json.Unmarshal(b, &v)
}
