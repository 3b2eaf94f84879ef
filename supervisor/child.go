package supervisor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/supervisor/fleet"
	"github.com/racecar-go/racecar/supervisor/process"
)

const (
	// outQueue is how many messages wait for a worker that does not read.
	outQueue = 64
	// drainWithin is how long the socket of a process that has exited may stay open: a
	// process that it started may have inherited it.
	drainWithin = time.Second
)

// child is a process with the goroutines that serve it: one reads its socket,
// one writes to it, one waits for its exit. They end with the process.
type child struct {
	// These belong to the loop. A helper has none of the first five.
	id          fleet.ProcID
	consumer    string
	name        string
	memoryLimit int64
	signaled    bool // by the fleet, so it was not the kernel
	version     int  // of the protocol, once a worker has said which it speaks
	ignoredOne  bool // a message of an unknown kind, which was logged

	process process.Process
	conn    *wire.Conn
	out     chan outgoing
	// received is when its socket last had something, in ns since start; the reader
	// sets it before it hands the message to the loop.
	received atomic.Int64
	start    time.Time
	eof      chan struct{} // closed when the reader is done
	gone     chan struct{} // closed when the process is reaped
}

type outgoing struct {
	kind wire.Kind
	body any
}

// events of a child, in this order: messages, then its exit.
type (
	message struct {
		child *child
		env   wire.Envelope
	}
	// protocolError says that the child sent something that is not our protocol.
	protocolError struct {
		child *child
		err   error
	}
	exited struct {
		child *child
		exit  fleet.Exit
	}
)

// serveChild serves a process. deliver hands an event to the loop and returns false when the
// loop has ended.
func serveChild(p process.Process, deliver func(any) bool, wg *sync.WaitGroup) *child {
	c := &child{
		process: p,
		conn:    wire.NewConn(p.Socket()),
		out:     make(chan outgoing, outQueue),
		start:   time.Now(),
		eof:     make(chan struct{}),
		gone:    make(chan struct{}),
	}
	wg.Add(3)
	go func() { defer wg.Done(); c.read(deliver) }()
	go func() { defer wg.Done(); c.write() }()
	go func() { defer wg.Done(); c.wait(deliver) }()
	return c
}

func (c *child) read(deliver func(any) bool) {
	defer close(c.eof)
	for {
		env, err := c.conn.Read()
		switch {
		case err == nil:
		case endOfStream(err):
			return // it has exited, or we closed the socket
		default:
			deliver(protocolError{c, err})
			return
		}
		c.received.Store(int64(time.Since(c.start)))
		if !deliver(message{c, env}) {
			return
		}
	}
}

// endOfStream reports whether an error means the end of the stream and no violation of
// the protocol: EOF, a process that was killed before it had read all (ECONNRESET), our
// own Close.
func endOfStream(err error) bool {
	var path *os.PathError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) || errors.As(err, &path)
}

// lastReceived is when the socket last had something.
func (c *child) lastReceived() time.Time { return c.start.Add(time.Duration(c.received.Load())) }

func (c *child) write() {
	for {
		select {
		case m := <-c.out:
			if err := c.conn.Write(m.kind, m.body); err != nil {
				return // its exit follows, and explains more than this error
			}
		case <-c.gone:
			return
		}
	}
}

// send queues a message; it never blocks.
func (c *child) send(kind wire.Kind, body any) error {
	select {
	case c.out <- outgoing{kind, body}:
		return nil
	default:
		return fmt.Errorf("pid %d does not read its commands", c.process.PID())
	}
}

func (c *child) wait(deliver func(any) bool) {
	exit := c.process.Wait()
	t := time.NewTimer(drainWithin)
	defer t.Stop()
	select {
	case <-c.eof: // the loop has all that it sent
	case <-t.C:
	}
	close(c.gone)
	_ = c.process.Socket().Close() // wakes reader and writer
	deliver(exited{c, exit})
}
