package main

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/term"
)

// view shows lines that stay and, below them on a terminal, one that is replaced.
// Elsewhere every tenth of those is shown. It may be used concurrently.
type view struct {
	out      *os.File
	terminal bool

	mu    sync.Mutex
	ticks int
}

func newView(out *os.File) *view {
	return &view{out: out, terminal: term.IsTerminal(int(out.Fd()))}
}

// erase goes to the beginning of the line and empties it.
const erase = "\r\x1b[K"

func (v *view) line(s string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.terminal {
		s = erase + s
	}
	fmt.Fprintln(v.out, s)
}

func (v *view) live(s string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ticks++
	switch {
	case v.terminal:
		if width, _, err := term.GetSize(int(v.out.Fd())); err == nil && len(s) >= width {
			s = s[:max(0, width-1)]
		}
		fmt.Fprint(v.out, erase+s)
	case v.ticks%10 == 0:
		fmt.Fprintln(v.out, "   · "+s)
	}
}
