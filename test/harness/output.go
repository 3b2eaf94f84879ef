package harness

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
)

// line is one line of output.
type line struct {
	at     time.Time
	stream string
	text   string
}

// output collects the lines of a process and all that inherited its standard
// output and error.
type output struct {
	mu      sync.Mutex
	lines   []line
	changed chan struct{} // closed and replaced at each line
	readers sync.WaitGroup
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

// pipe returns a file to write to; what is written is collected until the last
// process that has it open is gone.
func (o *output) pipe(stream string) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o.readers.Go(func() {
		defer r.Close()
		in := bufio.NewReader(r)
		for {
			text, err := in.ReadString('\n')
			if text != "" {
				o.add(line{time.Now(), stream, strings.TrimSuffix(text, "\n")})
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					o.add(line{time.Now(), "harness", "read " + stream + ": " + err.Error()})
				}
				return
			}
		}
	})
	return w, nil
}

func (o *output) add(l line) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines = append(o.lines, l)
	close(o.changed)
	o.changed = make(chan struct{})
}

// ended returns a channel that closes when nobody has the output open any more.
func (o *output) ended() <-chan struct{} {
	c := make(chan struct{})
	go func() { o.readers.Wait(); close(c) }()
	return c
}

// length is how many lines there are so far.
func (o *output) length() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.lines)
}

// find returns the first line from the from-th on that matches, and a channel that
// closes when there may be more.
func (o *output) find(from int, pattern *regexp.Regexp) (text string, found bool, changed <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, l := range o.lines[from:] {
		if pattern.MatchString(l.text) {
			return l.text, true, nil
		}
	}
	return "", false, o.changed
}

// text returns all lines of a stream, or of both for "".
func (o *output) text(stream string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var s strings.Builder
	for _, l := range o.lines {
		if stream == "" || l.stream == stream {
			s.WriteString(l.text + "\n")
		}
	}
	return s.String()
}

// report returns the last lines as they are shown when a test fails: with the
// seconds since start and the stream.
func (o *output) report(start time.Time, last int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var s strings.Builder
	from := max(0, len(o.lines)-last)
	if from > 0 {
		fmt.Fprintf(&s, "… %d lines before\n", from)
	}
	for _, l := range o.lines[from:] {
		fmt.Fprintf(&s, "%8.3f %s | %s\n", l.at.Sub(start).Seconds(), l.stream, l.text)
	}
	return s.String()
}
