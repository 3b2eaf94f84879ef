package ctl

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/racecar-go/racecar/internal/owner"
	"github.com/racecar-go/racecar/internal/status"
	"golang.org/x/sys/unix"
)

// ErrNotRunning is returned by every call of a Client when nobody listens at
// its socket.
var ErrNotRunning = errors.New("not running")

// maxAnswer bounds what a client reads: a status of 64 workers with 1,000
// partitions takes about half a megabyte.
const maxAnswer = 64 << 20

// answerTimeout bounds the wait for the head of an answer. Longer operations
// answer line by line and are bounded by the caller's ctx alone.
const answerTimeout = 10 * time.Second

// Client asks one supervisor. It is safe for concurrent use. It keeps
// connections; Close ends them.
type Client struct {
	socket string
	http   *http.Client
	strict bool // root, too, asks no other user's
}

// NewClient returns a client of the supervisor at socket; it connects when
// first asked.
func NewClient(socket string) *Client {
	c := &Client{socket: socket}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
		// When a supervisor was replaced between two requests, its successor is asked.
		IdleConnTimeout:    10 * time.Second,
		MaxIdleConns:       2,
		DisableCompression: true,
	}}
	return c
}

// dial connects, unless another user answers at the socket: in a folder that others can
// write to, the name may be taken before the supervisor takes it. Root may ask any user's
// supervisor, but not for its settings.
func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	conn, err := dial(ctx, c.socket)
	if err != nil {
		return nil, err
	}
	uid, known := peerUID(conn)
	if !known || owner.TrustedUser(uid) || os.Geteuid() == 0 && !c.strict {
		return conn, nil
	}
	_ = conn.Close() // nothing was asked
	return nil, &foreignError{uid}
}

// foreignError says that another user's process listens at the socket.
type foreignError struct{ uid int }

func (e *foreignError) Error() string {
	return fmt.Sprintf("user %d answers there, not you (%d): its settings could run commands in your name; run racecarctl as that user, or give --socket or --pidfile", e.uid, os.Geteuid())
}

// Socket is where the supervisor is asked.
func (c *Client) Socket() string { return c.socket }

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// PID is the process that listens, as the kernel says; 0 where it does not.
func (c *Client) PID(ctx context.Context) (int, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return 0, c.wrap(err)
	}
	defer func() { _ = conn.Close() }()
	pid, _ := peerPID(conn)
	return pid, nil
}

// Status returns the whole state.
func (c *Client) Status(ctx context.Context) (status.Status, error) {
	var st status.Status
	err := c.get(ctx, "/v1/status", &st)
	return st, err
}

// Config returns the effective configuration of each consumer.
func (c *Client) Config(ctx context.Context) ([]ConsumerConfig, error) {
	var cc []ConsumerConfig
	err := c.get(ctx, "/v1/config", &cc)
	return cc, err
}

// Settings returns what a command needs to act for a consumer, secrets included. They
// name files and may hold a command (sasl_kerberos_kinit_cmd), so that they are taken from
// nobody who could not have run it anyway.
func (c *Client) Settings(ctx context.Context, consumer string) (Settings, error) {
	strict := NewClient(c.socket)
	strict.strict = true
	defer strict.Close()
	var s Settings
	err := strict.get(ctx, "/v1/settings?consumer="+url.QueryEscape(consumer), &s)
	return s, err
}

// Stop asks for a stop and returns when the supervisor is about to exit or has
// hung up; see also Supervisor.Stop.
func (c *Client) Stop(ctx context.Context, o StopOptions, progress func(Progress)) error {
	return c.long(ctx, "/v1/stop", o, progress)
}

// Restart rolls the workers of a consumer, or all.
func (c *Client) Restart(ctx context.Context, consumer string, progress func(Progress)) error {
	return c.RestartWith(ctx, RestartOptions{Consumer: consumer}, progress)
}

// RestartWith is Restart with options.
func (c *Client) RestartWith(ctx context.Context, o RestartOptions, progress func(Progress)) error {
	return c.long(ctx, "/v1/restart", o, progress)
}

// Scale sets the number of workers of a consumer.
func (c *Client) Scale(ctx context.Context, consumer string, workers int, progress func(Progress)) error {
	return c.long(ctx, "/v1/scale", scaleRequest{Consumer: consumer, Workers: &workers}, progress)
}

// Pause stops taking from a partition, -1 from all of the topic's.
func (c *Client) Pause(ctx context.Context, consumer, topic string, partition int32) error {
	return c.post(ctx, "/v1/pause", partitionOf(consumer, topic, partition))
}

// Resume ends a pause, a backoff and a poisoned state.
func (c *Client) Resume(ctx context.Context, consumer, topic string, partition int32) error {
	return c.post(ctx, "/v1/resume", partitionOf(consumer, topic, partition))
}

// SkipBatch resumes a partition behind the batch that it could not decode.
func (c *Client) SkipBatch(ctx context.Context, consumer, topic string, partition int32) error {
	r := partitionOf(consumer, topic, partition)
	r.SkipBatch = true
	return c.post(ctx, "/v1/resume", r)
}

func partitionOf(consumer, topic string, partition int32) partitionRequest {
	r := partitionRequest{Consumer: consumer, Topic: topic}
	if partition != wholeTopic {
		r.Partition = &partition
	}
	return r
}

// Quiet lets workers finish the messages in progress and take no new ones.
func (c *Client) Quiet(ctx context.Context, consumer string) error {
	return c.post(ctx, "/v1/quiet", targetRequest{Consumer: consumer})
}

// Continue ends Quiet.
func (c *Client) Continue(ctx context.Context, consumer string) error {
	return c.post(ctx, "/v1/continue", targetRequest{Consumer: consumer})
}

// SetLogLevel changes the level of supervisor and workers until they end.
func (c *Client) SetLogLevel(ctx context.Context, level string) error {
	return c.post(ctx, "/v1/log-level", levelRequest{Level: level})
}

// Dump writes goroutine stacks to the supervisor's log.
func (c *Client) Dump(ctx context.Context) error {
	return c.post(ctx, "/v1/dump", struct{}{})
}

func (c *Client) get(ctx context.Context, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	body, err := c.ask(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	if err := json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(into); err != nil {
		return c.wrap(fmt.Errorf("answer to %s: %w", path, err))
	}
	return nil
}

func (c *Client) post(ctx context.Context, path string, req any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return c.long(ctx, path, req, func(Progress) {})
}

// errHungUp ends an answer that has no last line.
var errHungUp = errors.New("hung up before it was done")

func (c *Client) long(ctx context.Context, path string, req any, progress func(Progress)) error {
	body, err := c.ask(ctx, http.MethodPost, path, req)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	lines := bufio.NewScanner(io.LimitReader(body, maxAnswer))
	lines.Buffer(nil, maxBody)
	for lines.Scan() {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return c.wrap(fmt.Errorf("answer to %s: %w", path, err))
		}
		if l.End {
			if l.Error != "" {
				return errors.New(l.Error)
			}
			return nil
		}
		progress(l.Progress)
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return c.wrap(errHungUp)
}

func (c *Client) ask(ctx context.Context, method, path string, req any) (io.ReadCloser, error) {
	var body io.Reader
	if req != nil {
		raw, err := json.Marshal(req)
		if err != nil {
			return nil, fmt.Errorf("request %s: %w", path, err)
		}
		body = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://racecar"+path, body)
	if err != nil {
		return nil, fmt.Errorf("request %s: %w", path, err)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, c.wrap(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer func() { _ = resp.Body.Close() }()
	var a answer
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if json.Unmarshal(raw, &a) == nil && a.Error != "" {
		if resp.StatusCode == http.StatusNotFound {
			a.Error += " (the supervisor is of an older version)"
		}
		return nil, errors.New(a.Error)
	}
	return nil, c.wrap(fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(raw))))
}

// wrap says which socket an error is about, and tells "nobody there" apart.
func (c *Client) wrap(err error) error {
	var foreign *foreignError
	switch {
	case errors.As(err, &foreign):
		return fmt.Errorf("control socket %q: %w", c.socket, foreign)
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("control socket %q: %w", c.socket, ErrNotRunning)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("control socket %q: no answer in time", c.socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("control socket %q: permission denied; it answers its own user and root only", c.socket)
	}
	return fmt.Errorf("control socket %q: %w", c.socket, plainNetError(err))
}
