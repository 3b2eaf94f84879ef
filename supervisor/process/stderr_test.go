//go:build linux

package process

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCaptureForwardsEverythingAndKeepsTheEnd(t *testing.T) {
	var to bytes.Buffer // read once the pump is closed
	p := newPump(&to)
	c, err := newCapture()
	if err != nil {
		t.Fatal(err)
	}
	p.add(c)
	var want bytes.Buffer
	for i := range 9000 {
		line := fmt.Sprintf("line %d of what a worker says\n", i)
		want.WriteString(line)
		if _, err := c.file.WriteString(line); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 0 {
			p.flushNow(c)
		}
	}
	p.remove(c)
	tail := c.tail()
	var st unix.Stat_t
	if err := unix.Fstat(int(c.file.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	p.close(30 * time.Second)
	if to.String() != want.String() {
		t.Errorf("%d bytes passed on, %d written", len(to.String()), want.Len())
	}
	if len(tail) > tailSize || !strings.HasPrefix(tail, "line ") || !strings.HasSuffix(tail, "line 8999 of what a worker says") {
		t.Errorf("tail of %d bytes: %.40q", len(tail), tail)
	}
	if kept := st.Blocks * 512; kept > 64<<10 {
		t.Errorf("%d bytes of memory are kept of what was read", kept)
	}
}

func TestPumpReportsDroppedBytes(t *testing.T) {
	var mu sync.Mutex
	mu.Lock()
	var to bytes.Buffer
	p := newPump(writerFunc(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return to.Write(b)
	}))
	c, err := newCapture()
	if err != nil {
		t.Fatal(err)
	}
	p.add(c)
	for range pumpQueue + 10 {
		if _, err := c.file.Write(make([]byte, pumpChunk)); err != nil {
			t.Fatal(err)
		}
	}
	p.flushNow(c)
	p.mu.Lock()
	if lost := p.dropped; lost%pumpChunk != 0 { // none of our own words are among them
		t.Errorf("%d bytes were dropped", lost)
	}
	p.mu.Unlock()
	mu.Unlock()
	for by := time.Now().Add(30 * time.Second); ; {
		if _, err := c.file.WriteString("the end\n"); err != nil {
			t.Fatal(err)
		}
		p.flushNow(c)
		mu.Lock()
		said := to.String()
		mu.Unlock()
		if strings.Contains(said, "bytes that workers wrote to stderr were dropped") {
			break
		}
		if time.Now().After(by) {
			t.Fatal("it does not say so")
		}
	}
	p.remove(c)
	p.close(30 * time.Second)
	_ = c.close()
}

// A process that writes faster than the supervisor reads does not keep it reading.
func TestFlushIsBounded(t *testing.T) {
	c, err := newCapture()
	if err != nil {
		t.Fatal(err)
	}
	write := func() {
		if _, err := c.file.Write(make([]byte, 3*pumpChunk)); err != nil {
			t.Fatal(err)
		}
	}
	write()
	chunks := 0
	for end := c.written(); c.readChunk(end) != nil; chunks++ {
		if write(); chunks > 3 {
			t.Fatal("it reads on and on")
		}
	}
	if chunks != 3 {
		t.Errorf("%d chunks were read, 3 had been written", chunks)
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// The line that explains why a process died is kept, whatever follows it.
func TestHeadline(t *testing.T) {
	stacks := strings.Repeat("goroutine 7 [running]:\n", 20_000) + "gs     0x0\n"
	for name, c := range map[string]struct{ stderr, want string }{
		"panic":            {"hello\npanic: oh\n\n" + stacks, "panic: oh"},
		"fatal error":      {"fatal error: runtime: out of memory\n" + stacks, "fatal error: runtime: out of memory"},
		"no thread to get": {"runtime/cgo: pthread_create failed: no room\nSIGABRT: abort\n" + stacks, "runtime/cgo: pthread_create failed: no room"},
		"a crash in C":     {"SIGSEGV: segmentation violation\n" + stacks, "SIGSEGV: segmentation violation"},
		"none of these":    {"one\nlast words\n", "last words"},
	} {
		f, err := newCapture()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.file.WriteString(c.stderr); err != nil {
			t.Fatal(err)
		}
		for f.readChunk(f.written()) != nil { //nolint:revive // all of it
		}
		if got := f.headline(); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		for cut := range min(len(c.stderr), 60) { // wherever the supervisor read in the middle
			pieces := &capture{}
			pieces.findFatalLine([]byte(c.stderr[:cut]))
			pieces.findFatalLine([]byte(c.stderr[cut:]))
			if !bytes.Equal(pieces.fatalLine, f.fatalLine) {
				t.Errorf("%s cut at %d: %q, want %q", name, cut, pieces.fatalLine, f.fatalLine)
			}
		}
		if err := f.close(); err != nil {
			t.Error(err)
		}
	}
}
