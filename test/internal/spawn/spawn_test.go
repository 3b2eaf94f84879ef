package spawn

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// TestMain starts this binary again as a parent with a child when asked to.
func TestMain(m *testing.M) {
	if os.Getenv("SPAWN_TEST_PARENT") != "" {
		child := exec.Command("sleep", "60")
		if err := New().Start(child); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(child.Process.Pid)
		select {}
	}
	os.Exit(m.Run())
}

func TestChildEndsWithKilledParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has a parent-death signal")
	}
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), "SPAWN_TEST_PARENT=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s := New()
	defer s.Close()
	if err := s.Start(parent); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var child int
	if _, err := fmt.Sscan(line, &child); err != nil {
		t.Fatalf("the parent said %q: %v", line, err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // killed, as we know
	// An orphan that nobody reaps stays as a zombie, which is dead too.
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for alive(child) {
		select {
		case <-deadline:
			t.Fatalf("child %d is alive 10 s after its parent was killed", child)
		case <-tick.C:
		}
	}
}

// alive reports whether pid runs, zombies excepted.
func alive(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	var id int
	var name string
	var state string
	if _, err := fmt.Sscan(string(stat), &id, &name, &state); err != nil {
		return true
	}
	return state != "Z"
}
