package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"github.com/racecar-go/racecar/internal/wire"
)

// unknown is the name of the fields and kinds that only a later release knows.
const unknown = "from_a_later_release"

// later is a transcript as a later release would say it: one that adds a field to each
// object, and says something of an unknown kind before each message. The newest transcript
// is of a release that speaks the next version too; an older one is of a release that
// speaks the same versions.
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
		if o, ok := body.(map[string]any); ok {
			if spoken, ok := o["versions"].(map[string]any); ok && fmt.Sprint(spoken["max"]) == strconv.Itoa(wire.MaxVersion) {
				spoken["max"] = wire.MaxVersion + 1
			}
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
