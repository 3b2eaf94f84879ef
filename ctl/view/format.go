// Package view puts a supervisor's status into text: the tables of `racecarctl
// status` and of `racecarctl top`, and how numbers, times and sizes are written
// in both. It has no colours and no terminal; everything fits the width asked.
// It is not covered by the compatibility promise.
package view

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/clipperhouse/displaywidth"
	"github.com/racecar-go/racecar/internal/printable"
)

// Unknown stands for a figure that nobody reported.
const Unknown = "-"

// Count writes a number: 1,234, 123k, 1.2M. Negative is Unknown.
func Count(n int64) string {
	switch {
	case n < 0:
		return Unknown
	case n < 100_000:
		return thousands(n)
	}
	return scaled(float64(n), 1000, []string{"", "k", "M", "G", "T", "P", "E"})
}

func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	if n >= 1000 {
		s = s[:len(s)-3] + "," + s[len(s)-3:]
	}
	return s
}

// Rate writes messages a second: 0, 0.4, 12, 1,234, 1.2M.
func Rate(r float64) string {
	switch {
	case math.IsNaN(r) || r < 0:
		return Unknown
	case r < 0.05:
		return "0"
	case r < 9.95:
		return strconv.FormatFloat(r, 'f', 1, 64)
	}
	return Count(int64(math.Round(r)))
}

// Bytes writes a size: 512B, 58M, 1.4G. Zero is Unknown: no process takes none.
func Bytes(n int64) string {
	if n <= 0 {
		return Unknown
	}
	return scaled(float64(n), 1024, []string{"B", "K", "M", "G", "T", "P", "E"})
}

// scaled writes at most three digits and a unit.
func scaled(v, base float64, units []string) string {
	i := 0
	for v >= 999.5 && i < len(units)-1 {
		v /= base
		i++
	}
	if v < 9.95 && i > 0 {
		return strconv.FormatFloat(v, 'f', 1, 64) + units[i]
	}
	return strconv.FormatFloat(v, 'f', 0, 64) + units[i]
}

// Duration writes a time span in its two largest units: 0s, 42s, 3m05s, 3h12m, 5d4h.
func Duration(d time.Duration) string {
	d = max(0, d)
	switch s := int64(d / time.Second); {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh%02dm", s/3600, s%3600/60)
	default:
		return fmt.Sprintf("%dd%dh", s/86400, s%86400/3600)
	}
}

// Line makes one line of any text from outside; see package printable.
func Line(s string) string { return printable.Line(s) }

// Width is how many cells a terminal takes for s.
func Width(s string) int { return displaywidth.String(s) }

// Cut shortens s to width cells by cutting its end.
func Cut(s string, width int) string {
	if Width(s) <= width {
		return s
	}
	if width <= 0 {
		return ""
	}
	return head(s, width-1) + "…"
}

// Wrap breaks lines wider than width at spaces where it can; what follows the
// first piece is indented.
func Wrap(lines []string, width int) []string {
	const indent = "  "
	var out []string
	for _, line := range lines {
		start := ""
		for Width(start+line) > width && width > len(indent) {
			piece := head(line, width-len(start))
			if i := strings.LastIndexByte(piece, ' '); i > 0 && !strings.HasPrefix(line[len(piece):], " ") {
				piece = piece[:i]
			}
			if piece == "" {
				break
			}
			out = append(out, start+piece)
			line, start = strings.TrimLeft(line[len(piece):], " "), indent
		}
		out = append(out, start+line)
	}
	return out
}

// CutMiddle shortens s to width cells by cutting its middle: of a worker's name
// the index at the end counts, of a topic's the partition.
func CutMiddle(s string, width int) string {
	if Width(s) <= width || width <= 1 {
		return Cut(s, width)
	}
	tail := (width - 1) / 2
	r := []rune(s)
	for len(r) > 0 && Width(string(r)) > tail {
		r = r[1:]
	}
	return head(s, width-1-tail) + "…" + string(r)
}

// head is the beginning of s that takes at most width cells.
func head(s string, width int) string {
	r := []rune(s)
	for len(r) > 0 && Width(string(r)) > width {
		r = r[:len(r)-1]
	}
	return string(r)
}

// pad fills s up to width cells, on the left to align right.
func pad(s string, width int, right bool) string {
	fill := strings.Repeat(" ", max(0, width-Width(s)))
	if right {
		return fill + s
	}
	return s + fill
}
