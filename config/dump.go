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
	Changed bool // only what is not at its default
}

// Dump writes a configuration with the source of each value, secrets hidden: as
// `key = value  # source` lines, upstream's keys first and as upstream writes them
// on SIGUSR1, then ours. sources may be nil: no sources are written.
func Dump(w io.Writer, c Config, sources map[string]string, o DumpOptions) error {
	var b bytes.Buffer
	if o.JSON {
		if err := dumpJSON(&b, c, sources, o.Changed); err != nil {
			return err
		}
	} else {
		dumpText(&b, c, sources, o.Changed)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// sourceColumn is where sources begin after short values.
const sourceColumn = 48

// Line is one line of Dump: a key, its value as Key.Written gives it, and where that
// is from.
func Line(key, written, source string) string {
	return fmt.Sprintf("%-*s # %s", sourceColumn, key+" = "+written, source)
}

func dumpText(b *bytes.Buffer, c Config, sources map[string]string, changed bool) {
	for _, k := range shown(c, sources, changed) {
		if sources == nil {
			b.WriteString(k.Name + " = " + k.Written(&c) + "\n")
			continue
		}
		b.WriteString(Line(k.Name, k.Written(&c), sourceOf(k, sources)) + "\n")
	}
}

func sourceOf(k Key, sources map[string]string) string {
	if s := sources[k.Name]; s != "" {
		return s
	}
	return SourceDefault
}

// shown lists the keys to dump. What has another source than the default counts as
// changed even if the value is the same.
func shown(c Config, sources map[string]string, changed bool) []Key {
	if !changed {
		return allKeys
	}
	def := Default()
	var keys []Key
	for _, k := range allKeys {
		if sourceOf(k, sources) != SourceDefault || !k.equal(&c, &def) {
			keys = append(keys, k)
		}
	}
	return keys
}

func dumpJSON(b *bytes.Buffer, c Config, sources map[string]string, changed bool) error {
	type entry struct {
		Value  any    `json:"value"`
		Unit   string `json:"unit,omitempty"`
		Source string `json:"source"`
	}
	b.WriteString("{")
	for i, k := range shown(c, sources, changed) {
		j, err := json.Marshal(entry{k.natural(&c), k.Unit, sourceOf(k, sources)})
		if err != nil {
			return fmt.Errorf("%s: %w", k.Name, err)
		}
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(b, "\n  %q: %s", k.Name, j)
	}
	b.WriteString("\n}\n")
	return nil
}
