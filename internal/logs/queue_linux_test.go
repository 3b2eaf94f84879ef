package logs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/test/harness"
)

// pipe is one of a page, for a log to be written to.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	return r, w
}

// readLines reads JSON lines until the message.
func readLines(t *testing.T, r io.Reader, last string) (lines []map[string]any) {
	t.Helper()
	in := bufio.NewScanner(r)
	in.Buffer(nil, 2<<20)
	for in.Scan() {
		var line map[string]any
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			t.Fatalf("%v: %.200q", err, in.Text())
		}
		lines = append(lines, line)
		if line["msg"] == last {
			return lines
		}
	}
	t.Fatalf("the log ended: %v", in.Err())
	return nil
}

// A log that nobody reads holds a worker up once, the supervisor never. It is told,
// what is lost is counted, and all is well again when somebody reads.
func TestUnreadLogHoldsUpNobody(t *testing.T) {
	for name, timeout := range map[string]time.Duration{"worker": 50 * time.Millisecond, "supervisor": 0} {
		t.Run(name, func(t *testing.T) {
			r, w := pipe(t)
			l, err := Open(&config.Config{LogFormat: "json"}, w)
			if err != nil {
				t.Fatal(err)
			}
			complaints, complain := io.Pipe()
			l.Detach(timeout, complain)
			text := strings.Repeat("x", 1000)
			began := time.Now()
			const lines = 3000 // three times what is queued
			for i := range lines {
				l.WithField("i", i).WithField("text", text).Info("line")
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%d lines took %v", lines, took)
			}
			if timeout > 0 {
				said, err := bufio.NewReader(complaints).ReadString('\n')
				if want := "racecar: nobody reads the log: lines are dropped until somebody does\n"; said != want || err != nil {
					t.Errorf("complaint %q, %v", said, err)
				}
			}
			if problem := l.Problem(); !strings.HasPrefix(problem, "the log is not being read since ") || !strings.HasSuffix(problem, " lines were dropped") {
				t.Errorf("problem %q", problem)
			}
			read := make(chan []map[string]any)
			go func() { read <- readLines(t, r, "last") }()
			harness.Eventually(t, "no problem any more", func() error {
				if problem := l.Problem(); problem != "" {
					return fmt.Errorf("still: %s", problem)
				}
				return nil
			})
			l.Info("last")
			lost, next := 0.0, 0.0
			for _, line := range <-read {
				switch line["msg"] {
				case "line":
					if line["i"] != next {
						t.Fatalf("line %v where %v was expected", line["i"], next)
					}
					next++
				case "log lines were dropped: nobody read the log":
					lost += line["lines"].(float64)
				}
			}
			if next+lost != lines || lost == 0 {
				t.Errorf("%v lines written, %v said to be lost", next, lost)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// As long as the log is read, a line of a worker is there when the call that wrote it
// returns; and Close writes what a supervisor has queued.
func TestLinesAreThere(t *testing.T) {
	for name, timeout := range map[string]time.Duration{"worker": time.Minute, "supervisor": 0} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir() + "/log"
			l := open(t, config.Config{Logfile: path, LogFormat: "text"})
			l.Detach(timeout, nil)
			l.Info("hello")
			if timeout == 0 {
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), "msg=hello") {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
}

// blocked is a user's handler that does not return.
type blocked struct {
	slog.Handler
	release chan struct{}
}

func (b blocked) Handle(ctx context.Context, r slog.Record) error {
	<-b.release
	return b.Handler.Handle(ctx, r)
}

func TestUsersLoggerThatBlocks(t *testing.T) {
	var buf bytes.Buffer
	release := make(chan struct{})
	l := open(t, config.Config{Logger: slog.New(blocked{slog.NewTextHandler(&buf, nil), release})})
	l.Detach(0, nil)
	fields := map[string]any{"a": 1}
	l.WithFields(fields).Warn("one")
	fields["a"] = 2
	l.Error("two")
	close(release)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := buf.String(); !strings.Contains(got, "level=WARN msg=one a=1\n") || !strings.Contains(got, "level=ERROR msg=two\n") {
		t.Errorf("%q", got)
	}
}

// Workers share a pipe: no line of theirs is torn by another's, however long its
// texts and slow the reader. Stacks come whole, on several lines.
func TestNoLineIsTorn(t *testing.T) {
	r, w := pipe(t)
	const writers, lines = 4, 150
	long := strings.Repeat("an error text \"quoted\" <é>\n", 400)
	stacks := strings.Repeat("goroutine 1 [running]:\nmain.main()\n\t/src/main.go:1 +0x1d\n\n", 300)
	var wg sync.WaitGroup
	for n := range writers {
		fd, err := unix.Dup(int(w.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "stdout") // as in a process of its own: one os.File writes one at a time
		l, err := Open(&config.Config{LogFormat: "json"}, f)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer f.Close()
			for i := range lines {
				l.WithError(fmt.Errorf("%s", long[:(n+1)*i*10])).WithField("topic", "orders").WithField("bytes", []byte(long)).Error("failed")
			}
			l.WithField("stacks", stacks).WithField("writer", n).Warn("stacks of the worker")
			many := map[string]any{}
			for i := range 500 {
				many[fmt.Sprintf("field%d", i)] = strings.Repeat("v", 20)
			}
			l.WithFields(many).Info("many fields")
			l.Info(long)
		})
	}
	go func() { wg.Wait(); _ = w.Close() }()
	in := bufio.NewScanner(slow{r})
	in.Buffer(nil, 2<<20)
	counts, parts := map[string]int{}, make([]string, writers)
	for in.Scan() {
		var line map[string]any
		if err := json.Unmarshal(in.Bytes(), &line); err != nil || len(in.Bytes()) >= maxLine {
			t.Fatalf("%d bytes, %v: %.300q", len(in.Bytes()), err, in.Text())
		}
		msg := line["msg"].(string)
		if counts[msg[:min(len(msg), 8)]]++; msg == "stacks of the worker" {
			counts["stacks"]++
		}
		if s, ok := line["stacks"].(string); ok {
			parts[int(line["writer"].(float64))] += s
		}
		if msg == "failed" && line["topic"] != "orders" {
			t.Fatalf("a short field is gone: %q", in.Text())
		}
	}
	if counts["failed"] != writers*lines || counts["many fie"] != writers || counts["an error"] != writers || counts["stacks"] != writers {
		t.Errorf("lines: %v", counts)
	}
	if slices.ContainsFunc(parts, func(s string) bool { return s != stacks }) {
		t.Error("the stacks are not whole")
	}
}

// slow reads a little at a time.
type slow struct{ io.Reader }

func (s slow) Read(p []byte) (int, error) {
	<-time.After(200 * time.Microsecond)
	return s.Reader.Read(p[:min(len(p), 3000)])
}
