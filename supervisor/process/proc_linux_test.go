package process

import (
	"os/exec"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	line := "123 (racecar: A[2]) x) T 1 123 123 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 9 0 4242 1000 77 18446744073709551615 1"
	got, err := parseStat([]byte(line))
	if want := (procStat{state: 'T', ppid: 1, started: 4242, rssPages: 77}); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "1", "1 (x", "1 (x) S 1", "1 (x) S a b c d e f g h i j k l m n o p q r s t u v w"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("took %q", bad)
		}
	}
	if rss := OwnRSS(); rss < 1<<20 {
		t.Errorf("this process takes %d bytes", rss)
	}
}

// A child uses numbers just above those of its files between fork and exec.
func TestImagesAreHeldAtHighNumbers(t *testing.T) {
	i, err := currentImage()
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if fd := i.(*heldImage).file.Fd(); fd < 200 {
		t.Errorf("descriptor %d", fd)
	}
}

// Code in this process may be about to wait for an unknown zombie.
func TestOrphansAreReaped(t *testing.T) {
	start := func() int {
		cmd := exec.Command("true")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for by := time.Now().Add(30 * time.Second); ; {
			for _, z := range Zombies() {
				if z.pid == cmd.Process.Pid {
					return z.pid
				}
			}
			if time.Now().After(by) {
				t.Fatal("it does not end")
			}
			<-time.After(time.Millisecond)
		}
	}
	ours, orphan := start(), start()
	known := map[int]bool{ours: true}
	var r Reaper
	now := time.Now()
	if reaped, again := r.Reap(now, known); len(reaped) != 0 || !again.Equal(now.Add(orphanAge)) {
		t.Errorf("at once: %v, again at %v", reaped, again)
	}
	reaped, again := r.Reap(now.Add(orphanAge), known)
	if len(reaped) != 1 || reaped[0] != orphan || !again.IsZero() {
		t.Errorf("later: %v, again at %v", reaped, again)
	}
	left := Zombies()
	if len(left) != 1 || left[0].pid != ours {
		t.Errorf("left: %v", left)
	}
	var second Reaper
	second.Reap(now, nil)
	second.Reap(now.Add(orphanAge), nil)
}
