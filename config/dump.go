package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// DumpOptions chooses what Dump writes.
type DumpOptions struct {
	JSON    bool // one object, by key: {"client_id": {"value": …, "source": …}, …}
	Changed bool // only what has another source than the default
}

// Dump writes what Inspect lists: as `key = value  # source` lines, or as JSON.
func Dump(w io.Writer, c Config, sources map[string]string, o DumpOptions) error {
	var b bytes.Buffer
	for _, s := range Inspect(c, sources) {
		switch {
		case o.Changed && !s.changed:
		case o.JSON:
			j, err := json.Marshal(struct {
				Value  any    `json:"value"`
				Unit   string `json:"unit,omitempty"`
				Source string `json:"source"`
			}{s.Value, s.Unit, s.Source})
			if err != nil {
				return fmt.Errorf("%s: %w", s.Key, err)
			}
			if b.Len() > 0 {
				b.WriteString(",")
			}
			fmt.Fprintf(&b, "\n  %q: %s", s.Key, j)
		default:
			fmt.Fprintln(&b, s)
		}
	}
	text := b.String()
	if o.JSON {
		text = "{" + text + "\n}\n"
	}
	_, err := io.WriteString(w, text)
	return err
}
