package ctl

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/racecar-go/racecar/kafka/producer"
)

type produceCmd struct {
	Topic     string   `short:"t" help:"Set the message topic"`
	Value     *string  `short:"v" help:"Set the message value; without it, each line of the input is a message"`
	Key       *string  `short:"k" help:"Set the message key"`
	Header    []string `short:"H" sep:"none" placeholder:"NAME=VALUE" help:"Add a header; may be repeated"`
	Partition *int32   `short:"p" placeholder:"N" help:"Send to that partition"`
	JSON      bool     `help:"Each line is an object: {\"value\":…, \"key\":…, \"headers\":{…}, \"partition\":…}"`
	File      string   `arg:"" optional:"" help:"Read lines from it (default: standard input)"`
	connection
}

// Help is shown below the flags.
func (produceCmd) Help() string {
	return "Exits 0 once the brokers have everything (acks=all).\n\nExample: racecarctl produce -t greetings -v hello -k k1"
}

// Run sends one message, or one for each line of the input.
func (c *produceCmd) Run(ctx context.Context, a *app) error {
	if c.Topic == "" {
		return errors.New("no topic specified")
	}
	template, err := c.template()
	if err != nil {
		return err
	}
	in, size, err := c.input(a)
	if err != nil {
		return err
	}
	if in != nil {
		defer func() { _ = in.Close() }()
	}
	loaded, err := a.load(c.connection, "")
	if err != nil {
		return err
	}
	producer, err := producer.New(ctx, &loaded.Config, producer.Options{Logger: a.log(&loaded.Config)})
	if err != nil {
		return err
	}
	d := &deliveries{}
	if in == nil {
		template.Value = []byte(*c.Value)
		err = d.send(ctx, producer, template, 0)
	} else {
		err = c.lines(ctx, a, producer, d, template, in, size)
	}
	return d.finish(ctx, a, producer, err)
}

// template is what all messages have in common.
func (c *produceCmd) template() (producer.Message, error) {
	m := producer.Message{Topic: c.Topic, Partition: c.Partition}
	if c.Key != nil {
		m.Key = []byte(*c.Key)
	}
	for _, h := range c.Header {
		name, value, ok := strings.Cut(h, "=")
		if !ok || name == "" {
			return m, fmt.Errorf("header %q: expected NAME=VALUE", h)
		}
		m.Headers = append(m.Headers, producer.Header{Key: name, Value: []byte(value)})
	}
	return m, nil
}

// input is what lines are read from, with its size where that is known; nil
// when there is a value.
func (c *produceCmd) input(a *app) (io.ReadCloser, int64, error) {
	switch {
	case c.Value != nil && (c.File != "" || c.JSON):
		return nil, 0, errors.New("--value is one message; leave it out to send lines")
	case c.Value != nil:
		return nil, 0, nil
	case c.File != "" && c.File != "-":
		f, err := os.Open(c.File)
		if err != nil {
			return nil, 0, err
		}
		return f, sizeOf(f), nil
	}
	if _, ok := terminal(writerOf(a.in)); ok {
		return nil, 0, errors.New("no message value specified") // upstream's words; nobody types messages
	}
	return io.NopCloser(a.in), sizeOf(a.in), nil
}

// writerOf lets terminal look at an input, which is a file if it is one.
func writerOf(r io.Reader) io.Writer {
	f, ok := r.(*os.File)
	if !ok {
		return nil
	}
	return f
}

// sizeOf is how long a regular file is; 0: not known.
func sizeOf(r io.Reader) int64 {
	if f, ok := r.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			return info.Size()
		}
	}
	return 0
}

// maxLine bounds a line of the input: brokers take a fraction of it.
const maxLine = 100 << 20

func (c *produceCmd) lines(ctx context.Context, a *app, p *producer.Producer, d *deliveries, template producer.Message, in io.Reader, size int64) error {
	bar := a.newBar(size)
	defer bar.clear()
	r := bufio.NewReaderSize(newInterruptible(ctx, in), 1<<20)
	for n := 1; ; n++ {
		raw, err := readLine(r)
		if errors.Is(err, io.EOF) {
			if n == 1 {
				return errors.New("no message value specified")
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if d.failed() {
			return nil // what is sent after a gap would be out of order
		}
		m := template
		if m.Value = bytes.TrimSuffix(bytes.TrimSuffix(raw, []byte("\n")), []byte("\r")); c.JSON {
			if err := readMessage(m.Value, &m); err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
		}
		if err := d.send(ctx, p, m, n); err != nil {
			return err
		}
		bar.add(len(raw))
	}
}

// readLine returns the next line with its end, as a slice of its own.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		piece, err := r.ReadSlice('\n')
		line = append(line, piece...)
		switch {
		case err == nil || errors.Is(err, io.EOF) && len(line) > 0:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(line) > maxLine:
			return nil, fmt.Errorf("longer than %d bytes", maxLine)
		}
	}
}

// readMessage reads a line of --json over the template m. A value that is no
// string is sent as its JSON; null is a tombstone.
func readMessage(line []byte, m *producer.Message) error {
	var j struct {
		Value     json.RawMessage `json:"value"`
		Key       *string         `json:"key"`
		Headers   json.RawMessage `json:"headers"`
		Partition *int32          `json:"partition"`
		Topic     *string         `json:"topic"`
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&j); err != nil {
		return jsonError(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	var text *string
	switch {
	case j.Value == nil:
		return errors.New(`no "value"`)
	case json.Unmarshal(j.Value, &text) != nil:
		m.Value = j.Value
	case text == nil:
		m.Value = nil
	default:
		m.Value = []byte(*text)
	}
	if j.Key != nil {
		m.Key = []byte(*j.Key)
	}
	if j.Partition != nil {
		m.Partition = j.Partition
	}
	if j.Topic != nil {
		m.Topic = *j.Topic
	}
	headers, err := readHeaders(j.Headers)
	m.Headers = append(m.Headers[:len(m.Headers):len(m.Headers)], headers...)
	return err
}

// jsonError says what is wrong with a line without the words of Go.
func jsonError(err error) error {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if wrong.Field == "" {
			return fmt.Errorf(`not an object but %s: write {"value":…}`, wrong.Value)
		}
		return fmt.Errorf("%q cannot be %s", wrong.Field, wrong.Value)
	}
	if _, syntax := errors.AsType[*json.SyntaxError](err); syntax || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fmt.Errorf("not JSON: %w", err)
	}
	return err
}

// readHeaders takes an object, or a list of {"key", "value"} for names that come
// more than once and for an order.
func readHeaders(raw json.RawMessage) ([]producer.Header, error) {
	if raw == nil {
		return nil, nil
	}
	var list []struct{ Key, Value string }
	if json.Unmarshal(raw, &list) == nil {
		headers := make([]producer.Header, len(list))
		for i, h := range list {
			headers[i] = producer.Header{Key: h.Key, Value: []byte(h.Value)}
		}
		return headers, nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New(`"headers" is neither an object of strings nor a list of {"key":…, "value":…}`)
	}
	var headers []producer.Header
	for d.More() { // in the order of the line, unlike a map
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		var value string
		if err := d.Decode(&value); err != nil {
			return nil, fmt.Errorf(`header %q is no string`, name)
		}
		headers = append(headers, producer.Header{Key: name.(string), Value: []byte(value)})
	}
	return headers, nil
}

// deliveries counts what became of messages.
type deliveries struct {
	mu        sync.Mutex
	sent      int
	delivered int
	lost      int
	first     error // why the first one failed
}

func (d *deliveries) send(ctx context.Context, p *producer.Producer, m producer.Message, line int) error {
	d.mu.Lock()
	d.sent++
	d.mu.Unlock()
	done := func(_ int32, _ int64, err error) {
		if err != nil && line > 0 {
			err = fmt.Errorf("line %d: %w", line, err)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if err == nil {
			d.delivered++
			return
		}
		d.lost++
		if d.first == nil {
			d.first = err
		}
	}
	if err := p.Send(ctx, m, done); err != nil {
		done(0, 0, err) // nothing was queued
	}
	return ctx.Err()
}

func (d *deliveries) failed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.first != nil
}

// finish waits for the messages under way and reports how many were delivered. err is why no
// more were sent.
func (d *deliveries) finish(ctx context.Context, a *app, p *producer.Producer, err error) error {
	p.SkipLinger()
	if cerr := p.Close(ctx); cerr != nil && err == nil && !d.failed() {
		err = cerr
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.delivered == 1:
		a.note("=> Delivered message to Kafka cluster\n")
	case d.delivered > 1:
		a.note("=> Delivered %d messages to Kafka cluster\n", d.delivered)
	}
	if d.first == nil {
		return err
	}
	interrupted := ""
	if ctx.Err() != nil {
		interrupted = "interrupted: "
	}
	if d.sent == 1 {
		return fmt.Errorf("%s%w", interrupted, d.first)
	}
	return fmt.Errorf("%s%d of %d messages were not delivered: %w", interrupted, d.lost, d.sent, d.first)
}
