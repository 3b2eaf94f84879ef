package e2e

import (
	"os"
	"path/filepath"
	"testing"
)

// What consumer code logs by the package functions of slog is in the worker's log, in
// its format and with its fields.
func TestSlogOfConsumers(t *testing.T) {
	t.Parallel()
	b := newBed(t, 8)
	mischief := t.TempDir()
	if err := os.WriteFile(filepath.Join(mischief, "slog"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := b.start([]string{"JOURNAL_MISCHIEF=" + mischief}, "--log-format", "json", "Journal")
	p.WaitLine(`^{"consumer":"Journal","k":1,"level":"info","msg":"by the package function",.*"worker":0}`)
	stop(t, p)
}
