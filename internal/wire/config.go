package wire

import (
	"encoding/json"

	"github.com/racecar-go/racecar/config"
)

// A config.Config hides its secrets as JSON. These messages are what has to carry
// them: the worker connects with them.

// MarshalJSON implements json.Marshaler.
func (c Consumer) MarshalJSON() ([]byte, error) {
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
	return json.Unmarshal(b, &v)
}

// MarshalJSON implements json.Marshaler.
func (l Leave) MarshalJSON() ([]byte, error) {
	type plain Leave
	return json.Marshal(struct {
		plain
		Config config.WithSecrets `json:"config"`
	}{plain(l), config.WithSecrets(l.Config)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (l *Leave) UnmarshalJSON(b []byte) error {
	type plain Leave
	v := struct {
		*plain
		Config *config.WithSecrets `json:"config"`
	}{(*plain)(l), (*config.WithSecrets)(&l.Config)}
	return json.Unmarshal(b, &v)
}
