// Package printable is the one door for text from outside on its way to a terminal:
// error texts of brokers, records, what another process's socket answers. Such text
// may hold escape sequences, which command the terminal, line breaks, which forge
// lines of ours, and characters that change the direction of what follows. None of
// them passes.
package printable

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// harmless reports whether a terminal just shows r.
func harmless(r rune) bool { return r != utf8.RuneError && unicode.IsPrint(r) }

// Text puts a space in place of each character that is not just shown. The rest
// keeps its place, so that columns stay columns.
func Text(s string) string {
	return strings.Map(func(r rune) rune {
		if harmless(r) {
			return r
		}
		return ' '
	}, s)
}

// Line is Text without the spaces at both ends, and with one for several.
func Line(s string) string { return strings.Join(strings.Fields(Text(s)), " ") }

// Lines are the problems that an error joins (errors.Join), a line each. The line
// breaks within one are none of ours.
func Lines(err error) []string {
	joined, ok := err.(interface{ Unwrap() []error }) //nolint:errorlint // one that wraps a join has a text of its own
	if !ok {
		return []string{Line(err.Error())}
	}
	var lines, texts []string
	for _, e := range joined.Unwrap() {
		lines, texts = append(lines, Lines(e)...), append(texts, e.Error())
	}
	if strings.Join(texts, "\n") != err.Error() { // several wrapped into one sentence
		return []string{Line(err.Error())}
	}
	return lines
}

// Fprintf prints like fmt.Fprintf. Arguments that are not numbers pass through Text; the
// line breaks of the format stay. Errors of writing are nobody's concern.
func Fprintf(w io.Writer, format string, args ...any) {
	clean := make([]any, len(args))
	for i, arg := range args {
		switch v := arg.(type) {
		case string:
			clean[i] = Text(v)
		case error:
			clean[i] = strings.Join(Lines(v), "\n")
		case fmt.Stringer:
			clean[i] = Text(v.String())
		case bool, int, int32, int64, uint64, float64:
			clean[i] = v
		default:
			clean[i] = Text(fmt.Sprint(v))
		}
	}
	_, _ = fmt.Fprintf(w, format, clean...)
}

// JSON escapes characters of a JSON text that are not just shown: encoding/json does so only for
// the characters below space and two others. Line breaks between values stay.
func JSON(text []byte) []byte {
	if bytes.IndexFunc(text, hidden) < 0 {
		return text
	}
	var b bytes.Buffer
	for _, r := range string(text) {
		switch {
		case !hidden(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.Bytes()
}

func hidden(r rune) bool { return r != '\n' && !harmless(r) }
