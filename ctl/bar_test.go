package ctl

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestBar(t *testing.T) {
	now := time.Unix(1000, 0)
	var out bytes.Buffer
	shown := func() string { text := out.String(); out.Reset(); return text }
	b := &bar{out: &out, width: 80, whole: 100, now: func() time.Time { return now }, begun: now}
	add := func(after time.Duration, size int) string {
		now = now.Add(after)
		b.add(size)
		return shown()
	}
	if text := add(900*time.Millisecond, 10); text != "" {
		t.Errorf("%q before a second is over", text)
	}
	b.clear()
	if text := shown(); text != "" {
		t.Errorf("cleared what was never shown: %q", text)
	}
	if text, want := add(1100*time.Millisecond, 15), "\r[=======                       ]  25%  2 messages  1.0/s  6s left\x1b[K"; text != want {
		t.Errorf("shown %q, want %q", text, want)
	}
	if text := add(99*time.Millisecond, 25); text != "" {
		t.Errorf("%q so soon after the one before", text)
	}
	if text := add(time.Millisecond, 0); !strings.Contains(text, " 50%  4 messages") {
		t.Errorf("shown %q", text)
	}
	if text := add(time.Second, 90); !strings.Contains(text, "["+strings.Repeat("=", 30)+"] 100%  5 messages") || !strings.Contains(text, "0s left") {
		t.Errorf("more than the whole: %q", text)
	}
	b.clear()
	if text := shown(); text != "\r\x1b[K" {
		t.Errorf("cleared by %q", text)
	}
}

// Without a whole there is no share, and what is too long for a line is cut.
func TestBarOfUnknownLength(t *testing.T) {
	now := time.Unix(1000, 0)
	b := &bar{width: 80, begun: now.Add(-2 * time.Second), items: 3000}
	if text := b.line(now); text != "3,000 messages  1,500/s" {
		t.Errorf("%q", text)
	}
	b.width = 10
	if text := b.line(now); len([]rune(text)) > 10 {
		t.Errorf("%q", text)
	}
	b.whole, b.done, b.width = 100, 50, 30
	if text := b.line(now); strings.Contains(text, "[") || len([]rune(text)) > 30 {
		t.Errorf("in a narrow terminal %q", text)
	}
}

// Nobody is at a pipe.
func TestNoBarInAPipe(t *testing.T) {
	var out bytes.Buffer
	a := &app{err: &out}
	b := a.newBar(10)
	b.begun = b.begun.Add(-time.Hour)
	b.add(1)
	b.clear()
	if out.Len() > 0 {
		t.Errorf("a pipe got %q", out.String())
	}
}
