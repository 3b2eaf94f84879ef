package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/wire"
)

// What racecarctl config is told makes the same lines as SIGUSR1.
func TestKeyInfosAreTheDumps(t *testing.T) {
	c := config.Default()
	c.SASLPassword = "open sesame"
	sources := map[string]string{"sasl_password": "RACECAR_SASL_PASSWORD"}
	var dump bytes.Buffer
	if err := config.Dump(&dump, c, sources, config.DumpOptions{}); err != nil {
		t.Fatal(err)
	}
	keys, err := keyInfos(wire.Consumer{Name: "A", Config: c, Sources: sources})
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for _, k := range keys {
		lines.WriteString(config.Line(k.Key, k.Written, k.Source) + "\n")
	}
	if lines.String() != dump.String() {
		t.Errorf("racecarctl config shows:\n%s\nSIGUSR1:\n%s", lines.String(), dump.String())
	}
}
