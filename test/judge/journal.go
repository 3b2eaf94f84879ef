// Package judge decides from journals, committed offsets and topics whether the
// promises of DESIGN §1 were kept: nothing lost, in order, few duplicates, one
// owner at a time, nothing committed ahead of what was processed.
//
// A consumer under test writes a journal: a file per process, one line per
// message, written after the message was processed. Each line is one write(2) to
// a file opened for appending, so that a kill -9 loses at most the message in
// hand, which then counts as not processed.
package judge

import (
	"bufio"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Record is one processed message.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	Key       string
	// Worker is who processed it, e.g. "Orders[2]"; PID its process.
	Worker string
	PID    int
	// Attempt is Message.Retries of the call.
	Attempt int
	// Content is the Digest of what the consumer was given; 0: not noted.
	Content    uint64
	Start, End time.Time
}

// Journal is the journal of one process. Write may be called concurrently.
type Journal struct {
	mu  sync.Mutex // guards buf; keeps a line whole
	f   *os.File
	buf []byte
}

// Create opens this process's journal in dir.
func Create(dir, worker string) (*Journal, error) {
	name := fmt.Sprintf("%s.%d.%d.journal", strings.ReplaceAll(worker, string(filepath.Separator), "_"), os.Getpid(), time.Now().UnixNano())
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	return &Journal{f: f}, nil
}

// Write appends one record. The pid is this process's.
func (j *Journal) Write(r Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	b := j.buf[:0]
	b = append(b, r.Topic...)
	b = append(b, '\t')
	b = strconv.AppendInt(b, int64(r.Partition), 10)
	b = append(b, '\t')
	b = strconv.AppendInt(b, r.Offset, 10)
	b = append(b, '\t')
	b = strconv.AppendQuote(b, r.Key)
	b = append(b, '\t')
	b = strconv.AppendQuote(b, r.Worker)
	b = append(b, '\t')
	b = strconv.AppendInt(b, int64(os.Getpid()), 10)
	b = append(b, '\t')
	b = strconv.AppendInt(b, int64(r.Attempt), 10)
	b = append(b, '\t')
	b = strconv.AppendInt(b, r.Start.UnixNano(), 10)
	b = append(b, '\t')
	b = strconv.AppendInt(b, r.End.UnixNano(), 10)
	b = append(b, '\t')
	b = strconv.AppendUint(b, r.Content, 16)
	b = append(b, '\n')
	j.buf = b
	_, err := j.f.Write(b)
	return err
}

// Digest stands for a message's content. It is never 0.
func Digest(key, value []byte) uint64 {
	h := fnv.New64a()
	for _, b := range [][]byte{key, value} {
		if b == nil {
			h.Write([]byte{0})
			continue
		}
		fmt.Fprintf(h, "%d:", len(b))
		h.Write(b)
	}
	return max(1, h.Sum64())
}

// Close closes the file.
func (j *Journal) Close() error { return j.f.Close() }

// ReadDir reads all journals under dir. A last line cut short by a kill is left
// out; any other line that does not parse is an error.
func ReadDir(dir string) ([]Record, error) {
	var all []Record
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".journal" {
			return err
		}
		records, err := readFile(path)
		all = append(all, records...)
		return err
	})
	return all, err
}

func readFile(path string) ([]Record, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var records []Record
	in := bufio.NewReaderSize(f, 1<<20)
	for n := 1; ; n++ {
		line, err := in.ReadString('\n')
		if err != nil { // io.EOF: what is in line, if anything, was cut short
			return records, nil
		}
		r, err := parse(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		records = append(records, r)
	}
}

func parse(line string) (r Record, err error) {
	f := strings.Split(line, "\t")
	if len(f) != 10 {
		return r, fmt.Errorf("%d fields of 10 in %q", len(f), line)
	}
	number := func(s string) int64 {
		n, e := strconv.ParseInt(s, 10, 64)
		if e != nil && err == nil {
			err = e
		}
		return n
	}
	text := func(s string) string {
		t, e := strconv.Unquote(s)
		if e != nil && err == nil {
			err = fmt.Errorf("%q: %w", s, e)
		}
		return t
	}
	content, err := strconv.ParseUint(f[9], 16, 64)
	r = Record{
		Topic: f[0], Partition: int32(number(f[1])), Offset: number(f[2]), Key: text(f[3]),
		Worker: text(f[4]), PID: int(number(f[5])), Attempt: int(number(f[6])), Content: content,
		Start: time.Unix(0, number(f[7])), End: time.Unix(0, number(f[8])),
	}
	return r, err
}
