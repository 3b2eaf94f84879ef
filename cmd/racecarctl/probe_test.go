package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/racecar-go/racecar/test/seeds"
)

// longestProbe is what a liveness probe may take, starting the program included:
// it runs every few seconds beside consumers that want the CPU.
const longestProbe = 50 * time.Millisecond

func TestLivenessProbeIsQuick(t *testing.T) {
	seeds.Measure(t)
	dir := t.TempDir()
	program, file := filepath.Join(dir, "racecarctl"), filepath.Join(dir, "alive")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	best := time.Hour
	for range 5 {
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		if err := os.Chtimes(file, now, now); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(program, "liveness_probe")
		cmd.Env = append(os.Environ(), "RACECAR_LIVENESS_PROBE_FILE_PATH="+file)
		start := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		best = min(best, time.Since(start))
	}
	t.Log(best)
	if best > longestProbe {
		t.Errorf("%v, more than %v", best, longestProbe)
	}
}
