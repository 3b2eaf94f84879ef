package wire

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/racecar-go/racecar/internal/wire"
)

// unknown is the name of the fields and kinds that only a later release knows.
const unknown = "from_a_later_release"

// later is a transcript as a peer of the next version would say it: that speaks the present one
// too, adds a field to each object, and says something of an unknown kind before each
// message.
func (t transcript) later(test *testing.T) transcript {
	test.Helper()
	var all transcript
	for _, m := range t {
		strange := message{m.up, wire.Envelope{Kind: unknown, Body: json.RawMessage("[1]")}}
		d := json.NewDecoder(bytes.NewReader(m.Body))
		d.UseNumber()
		var body any
		if err := d.Decode(&body); err != nil {
			test.Fatal(err)
		}
		extend(body)
		if o, ok := body.(map[string]any); ok && o["versions"] != nil {
			o["versions"] = wire.Versions{Min: wire.MinVersion, Max: wire.MaxVersion + 1}
		}
		b, err := json.Marshal(body)
		if err != nil {
			test.Fatal(err)
		}
		m.Body = b
		all = append(all, strange, m)
	}
	return all
}

// extend adds a field to each object of a value.
func extend(value any) {
	switch v := value.(type) {
	case []any:
		for _, e := range v {
			extend(e)
		}
	case map[string]any:
		for name, e := range v {
			if name != "sources" { // keys and texts; a new key has one as well
				extend(e)
			}
		}
		v[unknown] = 7
	}
}
