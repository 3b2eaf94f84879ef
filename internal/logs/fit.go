package logs

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"

	"github.com/sirupsen/logrus"
)

// maxLine is PIPE_BUF of Linux: a write to a pipe of no more than this is never torn
// by those of other processes. Supervisor and workers share their stdout.
const maxLine = 4096

// stackFields are split over several lines, not cut.
var stackFields = [...]string{"stacks", "stack"}

// isPipe says whether f is one.
func isPipe(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeNamedPipe != 0
}

// fitting formats entries so that no line is longer than maxLine: the longest texts
// are cut.
type fitting struct{ logrus.Formatter }

// Format returns one line, or several of an entry with stacks.
func (f fitting) Format(e *logrus.Entry) ([]byte, error) {
	line, err := f.Formatter.Format(e)
	if err != nil || len(line) <= maxLine {
		return line, err
	}
	e.Buffer = nil // has the line that is too long
	fit := *e
	fit.Data = make(logrus.Fields, len(e.Data))
	for k, v := range e.Data {
		switch v := v.(type) {
		case string, bool, int, int32, int64, uint64, float64, nil:
			fit.Data[k] = v
		case []byte:
			fit.Data[k] = string(v)
		default:
			fit.Data[k] = fmt.Sprint(v)
		}
	}
	for _, field := range stackFields {
		if stacks, ok := fit.Data[field].(string); ok {
			return f.split(&fit, field, stacks)
		}
	}
	return f.cut(&fit)
}

// cut shortens the longest text until the line fits. Where no text is long there are
// too many fields: the longest go.
func (f fitting) cut(e *logrus.Entry) ([]byte, error) {
	for {
		line, err := f.Formatter.Format(e)
		if err != nil || len(line) <= maxLine || len(e.Data) == 0 && len(e.Message) <= shortText {
			return line, err
		}
		key, longest, size := "", len(e.Message), 0
		biggest := ""
		for k, v := range e.Data {
			text, _ := v.(string)
			if len(text) > longest {
				key, longest = k, len(text)
			}
			if n := len(k) + len(text); n >= size {
				biggest, size = k, n
			}
		}
		excess := len(line) - maxLine + shortText
		switch {
		case longest <= shortText:
			delete(e.Data, biggest)
		case key == "":
			e.Message = shorten(e.Message, excess)
		default:
			e.Data[key] = shorten(e.Data[key].(string), excess)
		}
	}
}

// shortText is what is left of a text in any case.
const shortText = 64

// shorten takes about that many bytes off the end of a text, but not all of it.
func shorten(text string, by int) string {
	keep := max(shortText/2, len(text)-by)
	return strings.ToValidUTF8(text[:keep], "") + "…"
}

// split writes stacks on as many lines as they take.
func (f fitting) split(e *logrus.Entry, field, stacks string) ([]byte, error) {
	var parts []string
	for size := maxLine / 2; ; size /= 2 {
		parts = parts[:0]
		for rest := stacks; rest != ""; {
			n := len(rest)
			if n > size {
				n = max(1, strings.LastIndexByte(rest[:size], '\n')+1)
				if n == 1 {
					n = size
				}
			}
			parts, rest = append(parts, rest[:n]), rest[n:]
		}
		var all bytes.Buffer
		fits := true
		for i, part := range parts {
			one := *e
			one.Data = maps.Clone(e.Data)
			one.Data[field], one.Data["part"] = part, fmt.Sprintf("%d/%d", i+1, len(parts))
			if i > 0 { // who counts messages counts one
				one.Message += " (continued)"
			}
			line, err := f.Formatter.Format(&one)
			if err != nil {
				return nil, err
			}
			fits = fits && len(line) <= maxLine
			all.Write(line)
		}
		if fits {
			return all.Bytes(), nil
		}
		if size <= shortText { // it is not the stacks that are long
			delete(e.Data, field)
			return f.cut(e)
		}
	}
}

// lineWriter writes each line of what it gets by itself.
type lineWriter struct{ to io.Writer }

func (w lineWriter) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		if _, err := w.to.Write(line); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}
