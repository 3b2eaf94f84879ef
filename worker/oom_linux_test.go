package worker

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWorkerYieldsToTheSupervisor(t *testing.T) {
	score := filepath.Join(t.TempDir(), "oom_score_adj")
	for before, after := range map[string]string{"0\n": "100", "-1000\n": "-900", "950\n": "1000", "1000\n": "1000"} {
		if err := os.WriteFile(score, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := yieldToSupervisor(score); err != nil {
			t.Error(err)
		}
		if b, err := os.ReadFile(score); err != nil || string(b) != after {
			t.Errorf("%q became %q (%v), want %q", before, b, err, after)
		}
	}
	if err := os.WriteFile(score, []byte("many\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := yieldToSupervisor(score); err == nil {
		t.Error("no number, and no error")
	}
}
