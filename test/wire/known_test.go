package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

// TestRecordedFieldsAreKnown fails when a field of a message or a key of the configuration
// is renamed or removed: a peer of a supported version still writes it.
func TestRecordedFieldsAreKnown(t *testing.T) {
	versions(t, func(t *testing.T, dir string) {
		for _, name := range []string{string(wire.RolePlan), string(wire.RoleWorker), successor, string(wire.RoleLeave)} {
			for _, m := range load(t, filepath.Join(dir, name), brokerName) {
				if field := lost(t, m); field != "" {
					t.Errorf("%s: %s of %s is not understood any more", name, field, m.key())
				}
			}
		}
	})
}

// lost names a field that is in a message and not in what this release makes of it.
func lost(t *testing.T, m message) string {
	t.Helper()
	body := map[wire.Kind]any{
		wire.KindHandshake: &wire.Handshake{}, wire.KindCommand: &wire.Command{}, wire.KindLeave: &wire.Leave{},
		wire.KindHello: &wire.Hello{}, wire.KindFrame: &wire.Frame{}, wire.KindMembers: &[]status.Member{},
		wire.KindReply: &wire.Reply{}, wire.KindExitReason: &wire.ExitReason{}, wire.KindPlan: &wire.Plan{}, wire.KindMetrics: &wire.Metrics{},
		wire.KindOutage: &wire.Outage{}, wire.KindProbed: &wire.Probed{}, wire.KindLease: &wire.Lease{}, wire.KindOutageState: &wire.OutageState{},
	}[m.Kind]
	if body == nil {
		return "the kind"
	}
	if err := m.Decode(body); err != nil {
		t.Fatal(err)
	}
	if reply, ok := body.(*wire.Reply); ok && len(reply.Data) > 0 {
		return missing(t, "data", reply.Data, &status.Report{})
	}
	return missing(t, "", m.Body, body)
}

// missing compares JSON with what is left of it when it has gone through v.
func missing(t *testing.T, path string, text []byte, v any) string {
	t.Helper()
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(madeHere(v))
	if err != nil {
		t.Fatal(err)
	}
	var had, has any
	if err := errors.Join(json.Unmarshal(text, &had), json.Unmarshal(again, &has)); err != nil {
		t.Fatal(err)
	}
	return firstMissing(path, had, has)
}

// madeHere returns a message whose Consumer is written as this release writes it,
// instead of as it was received.
func madeHere(v any) any {
	c := func(c wire.Consumer) wire.Consumer {
		return wire.Consumer{Name: c.Name, Config: c.Config, Sources: c.Sources, Digest: c.Digest, Subscriptions: c.Subscriptions}
	}
	switch v := v.(type) {
	case *wire.Handshake:
		v.Consumer = c(v.Consumer)
	case *wire.Leave:
		v.Consumer = c(v.Consumer)
	case *wire.Plan:
		for i := range v.Consumers {
			v.Consumers[i] = c(v.Consumers[i])
		}
	}
	return v
}

func firstMissing(path string, had, has any) string {
	switch had := had.(type) {
	case map[string]any:
		has, _ := has.(map[string]any)
		for name, v := range had {
			if _, ok := has[name]; !ok {
				return path + "." + name
			}
			if p := firstMissing(path+"."+name, v, has[name]); p != "" {
				return p
			}
		}
	case []any:
		has, _ := has.([]any)
		for i, v := range had {
			if i >= len(has) {
				return fmt.Sprintf("%s[%d]", path, i)
			}
			if p := firstMissing(fmt.Sprintf("%s[%d]", path, i), v, has[i]); p != "" {
				return p
			}
		}
	}
	return ""
}
