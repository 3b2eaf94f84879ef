package ctl

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/racecar-go/racecar/ctl/view"
)

// bar shows on a terminal's stderr how far something long is: a bar where the
// whole is known, and a rate. It appears when it takes more than a second.
type bar struct {
	out    io.Writer // nil: no terminal
	width  int
	whole  int64 // bytes, or whatever add counts; 0: not known
	now    func() time.Time
	begun  time.Time
	drawn  time.Time
	done   int64
	items  int64
	showed bool
}

const (
	barAfter = time.Second
	barEvery = 100 * time.Millisecond
)

func (a *app) newBar(whole int64) *bar {
	b := &bar{whole: whole, now: time.Now}
	if view.CanRedraw(a.err) {
		b.out = a.err
		b.width, _ = terminal(a.err)
	}
	b.begun = b.now()
	return b
}

// add counts one more item of that size.
func (b *bar) add(size int) {
	b.done += int64(size)
	b.items++
	if b.out == nil {
		return
	}
	now := b.now()
	if now.Sub(b.begun) < barAfter || now.Sub(b.drawn) < barEvery {
		return
	}
	b.drawn, b.showed = now, true
	_, _ = fmt.Fprintf(b.out, "\r%s\x1b[K", b.line(now))
}

func (b *bar) line(now time.Time) string {
	elapsed := now.Sub(b.begun)
	text := fmt.Sprintf("%s messages  %s/s", view.Count(b.items), view.Rate(float64(b.items)/max(elapsed.Seconds(), 0.001)))
	if b.whole <= 0 {
		return view.Cut(text, b.width)
	}
	share := min(1, float64(b.done)/float64(b.whole))
	left := time.Duration(0)
	if share > 0 {
		left = time.Duration(float64(elapsed) * (1 - share) / share)
	}
	text = fmt.Sprintf(" %3.0f%%  %s  %s left", share*100, text, view.Duration(left))
	cells := min(30, b.width-view.Width(text)-2)
	if cells < 5 {
		return view.Cut(strings.TrimSpace(text), b.width)
	}
	full := int(share * float64(cells))
	return "[" + strings.Repeat("=", full) + strings.Repeat(" ", cells-full) + "]" + text
}

// clear takes it off the screen.
func (b *bar) clear() {
	if b.showed {
		_, _ = fmt.Fprint(b.out, "\r\x1b[K")
	}
}
