package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/racecar-go/racecar/supervisor/fleet"
)

// Writing to stderr must never block or kill a worker: not while the supervisor is
// stopped, not while the supervisor's own stderr is full, and not when the supervisor is
// dead. A pipe would do all of these. So a worker's stderr is an anonymous file in memory,
// opened for appending; the supervisor reads it a few times a second, forwards new text,
// and punches holes where it has read. Forwarded text waits in a bounded queue for a
// goroutine that writes it to the supervisor's stderr; what does not fit is dropped, with
// a note of how much. The end is kept, to explain the worker's exit.

const (
	// pumpEvery is how often stderr is read.
	pumpEvery = 200 * time.Millisecond
	// tailSize is how much of a worker's stderr is kept: the stacks of its goroutines
	// after SIGQUIT fit in.
	tailSize = 128 << 10
	// headlineSize bounds the line that is kept as a reason.
	headlineSize = 300
	// pumpQueue is how many chunks of at most pumpChunk bytes wait for our stderr.
	pumpQueue = 32
	pumpChunk = 32 << 10
)

// capture is the stderr of one process.
type capture struct {
	file *os.File

	mu        sync.Mutex
	read      int64 // bytes read so far
	last      []byte
	line      []byte // the beginning of a line whose end has not been read
	fatalLine []byte // the line that began the last panic or fatal error
}

func newCapture() (*capture, error) {
	f, err := stderrFile()
	if err != nil {
		return nil, err
	}
	return &capture{file: f}, nil
}

// written is how much was written so far.
func (c *capture) written() int64 {
	info, err := c.file.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

// readChunk reads text before end, at most pumpChunk bytes; nil: all of it was read.
func (c *capture) readChunk(end int64) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if end <= c.read {
		return nil
	}
	buf := make([]byte, min(pumpChunk, end-c.read))
	n, err := c.file.ReadAt(buf, c.read)
	if n == 0 || err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	c.read += int64(n)
	punch(c.file, c.read)
	c.last = append(c.last, buf[:n]...)
	c.findFatalLine(buf[:n])
	if len(c.last) > 2*tailSize {
		c.last = append(c.last[:0], c.last[len(c.last)-tailSize:]...)
	}
	return buf[:n]
}

// fatalPrefixes are the beginnings of lines in which the Go runtime explains why a process dies.
// Pages of stacks follow, so these lines are not in the tail.
var fatalPrefixes = [...]string{"panic: ", "fatal error: ", "SIGQUIT: ", "runtime/cgo: ", "SIGABRT: ", "SIGSEGV: ", "SIGBUS: "}

// findFatalLine looks for such a line in what was just read.
func (c *capture) findFatalLine(b []byte) {
	b = append(c.line, b...)
	c.line = nil
	for line := range bytes.Lines(b) {
		for _, begin := range fatalPrefixes {
			if bytes.HasPrefix(line, []byte(begin)) && !(begin == "SIGABRT: " && bytes.HasPrefix(c.fatalLine, []byte("runtime/cgo: "))) { // which says why it aborts
				c.fatalLine = bytes.Clone(bytes.TrimSpace(line))
			}
		}
		if line[len(line)-1] != '\n' { // checked again when it is complete
			c.line = bytes.Clone(line[:min(len(line), headlineSize)])
		}
	}
}

// headline is the line that explains most.
func (c *capture) headline() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	line := c.fatalLine
	if line == nil {
		line = bytes.TrimSpace(c.last)
		line = line[bytes.LastIndexByte(line, '\n')+1:]
	}
	return string(line[:min(len(line), headlineSize)])
}

// tail is the end of what was written.
func (c *capture) tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fleet.LastLines(string(bytes.TrimSpace(c.last)), tailSize)
}

func (c *capture) close() error { return c.file.Close() }

// pump forwards the text of captures.
type pump struct {
	to       io.Writer
	queue    chan []byte
	stop     chan struct{}
	wrote    chan struct{} // closed when the writer is done
	readDone chan struct{} // closed when the mover is done

	mu      sync.Mutex
	all     map[*capture]bool
	dropped int
}

func newPump(to io.Writer) *pump {
	p := &pump{
		to: to, queue: make(chan []byte, pumpQueue), stop: make(chan struct{}),
		wrote: make(chan struct{}), readDone: make(chan struct{}), all: map[*capture]bool{},
	}
	go p.readLoop()
	go p.write()
	return p
}

func (p *pump) add(c *capture) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all[c] = true
}

// flushNow moves all of c.
func (p *pump) flushNow(c *capture) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flush(c)
}

// remove moves the rest of c and forgets it.
func (p *pump) remove(c *capture) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flush(c)
	delete(p.all, c)
}

// flush moves what c has now, and no more: its process may write faster than we read, and
// the supervisor's loop waits for mu. The caller holds mu.
func (p *pump) flush(c *capture) {
	end := c.written()
	for b := c.readChunk(end); b != nil; b = c.readChunk(end) {
		size := len(b)
		if n := p.dropped; n > 0 {
			b = append(fmt.Appendf(nil, "racecar: %d bytes that workers wrote to stderr were dropped: it was full\n", n), b...)
		}
		select {
		case p.queue <- b:
			p.dropped = 0
		default:
			p.dropped += size
		}
	}
}

// writeLine forwards a line of our own.
func (p *pump) writeLine(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case p.queue <- []byte(line):
	default:
		p.dropped += len(line)
	}
}

func (p *pump) readLoop() {
	defer close(p.readDone)
	t := time.NewTicker(pumpEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-p.stop:
			return
		}
		p.mu.Lock()
		for c := range p.all {
			p.flush(c)
		}
		p.mu.Unlock()
	}
}

func (p *pump) write() {
	defer close(p.wrote)
	for b := range p.queue {
		if _, err := p.to.Write(b); err != nil {
			continue // our stderr is closed: nobody would see a report
		}
	}
}

// close writes what is queued, for at most that long.
func (p *pump) close(within time.Duration) {
	close(p.stop)
	<-p.readDone
	close(p.queue)
	t := time.NewTimer(within)
	defer t.Stop()
	select {
	case <-p.wrote:
	case <-t.C:
	}
}

// appendOnly lets several processes write to a file.
func appendOnly(f *os.File) error {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETFL, unix.O_APPEND|unix.O_RDWR)
	return err
}

func temporaryStderr() (*os.File, error) {
	f, err := os.CreateTemp("", "racecar-stderr-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, err
	}
	if err := appendOnly(f); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
