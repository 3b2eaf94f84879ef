package racecar_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
	"github.com/racecar-go/racecar/test/harness"
)

// nobody is an address that refuses connections.
const nobody = "127.0.0.1:1"

func bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// logTo makes the producer log to w.
func logTo(w *lines) func(*racecar.Config) error {
	return func(c *racecar.Config) error {
		c.Logger = slog.New(slog.NewTextHandler(w, nil))
		return nil
	}
}

// lines is a log that several goroutines write.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func open(t *testing.T, broker string, change ...func(*racecar.Config) error) *racecar.StandaloneProducer {
	t.Helper()
	t.Chdir(t.TempDir()) // no configuration file
	first := []func(*racecar.Config) error{logTo(&lines{}), func(c *racecar.Config) error {
		c.Brokers = []string{broker}
		return nil
	}}
	p, err := racecar.OpenProducer(t.Context(), append(first, change...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		_ = p.Close(ctx) // tests that look at its error call it themselves
	})
	return p
}

func TestStandaloneProducerLeaksNothing(t *testing.T) {
	b := racecartest.NewBroker(t)
	before := goleak.IgnoreCurrent()
	p := open(t, b.Addrs()[0], func(c *racecar.Config) error {
		c.OnError = func(context.Context, error, racecar.ErrorInfo) {}
		return nil
	})
	if err := p.ProduceSync(bounded(t), racecar.ProducerMessage{Topic: "out"}); err != nil {
		t.Fatal(err)
	}
	seven := int32(7_000)
	if err := p.ProduceAsync(bounded(t), racecar.ProducerMessage{Topic: "out", Partition: &seven}); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(bounded(t)); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before, goleak.IgnoreAnyFunction("github.com/twmb/franz-go/pkg/kfake.(*clientConn).read"))
}

func TestProduceSync(t *testing.T) {
	b := racecartest.NewBroker(t)
	p := open(t, b.Addrs()[0])
	err := p.ProduceSync(bounded(t), racecar.ProducerMessage{Topic: "out", Key: []byte("k"), Value: []byte("v"),
		Headers: []racecar.Header{{Key: "h", Value: []byte("1")}}})
	if err != nil {
		t.Fatal(err)
	}
	m := b.Messages("out")
	if len(m) != 1 || string(m[0].Key) != "k" || string(m[0].Value) != "v" || fmt.Sprintf("%q", m[0].Headers) != `[{"h" "1"}]` {
		t.Errorf("in the topic: %+v", m)
	}
}

func TestStandaloneProducerConnect(t *testing.T) {
	b := racecartest.NewBroker(t)
	if err := open(t, b.Addrs()[0]).Connect(bounded(t)); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := open(t, nobody).Connect(ctx); err == nil || !strings.Contains(err.Error(), nobody) {
		t.Errorf("nobody there: %v", err)
	}
}

func TestProduceSyncWithoutBroker(t *testing.T) {
	p := open(t, nobody)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := p.ProduceSync(ctx, racecar.ProducerMessage{Topic: "out"})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "not acknowledged yet") {
		t.Errorf("ProduceSync returned %v", err)
	}
}

func TestProduceAsyncReturnsDuringAnOutage(t *testing.T) {
	b := racecartest.NewBroker(t)
	var log lines
	// The first address never answers: the messages wait until the other one has been tried.
	p := open(t, nobody, logTo(&log), func(c *racecar.Config) error {
		c.Brokers = append(c.Brokers, b.Addrs()[0])
		return nil
	})
	for i := range 1000 {
		if err := p.ProduceAsync(t.Context(), racecar.ProducerMessage{Topic: "out", Value: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if n := len(b.Messages("out")); n != 1000 {
		t.Errorf("%d of 1000 messages arrived", n)
	}
}

// In an outage messages are buffered up to the limit; then ProduceAsync blocks until its ctx
// ends. Close returns in time and counts the messages that are left, each of which is reported
// to OnError. The log has one line about the outage and one with the number of lost messages.
func TestMessagesOfAnOutageAreReported(t *testing.T) {
	var log lines
	var told atomic.Int64
	p := open(t, nobody, logTo(&log), func(c *racecar.Config) error {
		c.Producer = []string{"queue.buffering.max.kbytes=64"}
		c.OnError = func(_ context.Context, err error, _ racecar.ErrorInfo) {
			if de, ok := errors.AsType[*producer.DeliveryError](err); ok && de.Kind == producer.DeliveryClosed {
				told.Add(1)
			}
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	queued := 0
	var err error
	for queued = 0; err == nil; queued++ {
		err = p.ProduceAsync(ctx, racecar.ProducerMessage{Topic: "out", Value: make([]byte, 1000)})
	}
	queued--
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no room to produce") {
		t.Errorf("full: %v", err)
	}
	if queued < 40 || queued > 64 {
		t.Errorf("%d messages of 1 kB queued, bound 64 kB", queued)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := p.Close(ctx); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%d messages are not acknowledged yet", queued)) {
		t.Errorf("Close: %v", err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("Close took %v", d)
	}
	if n := told.Load(); n != int64(queued) {
		t.Errorf("OnError was told of %d of %d messages", n, queued)
	}
	if n := strings.Count(log.String(), "no broker reachable, tried "+nobody); n < 1 || n > 3 {
		t.Errorf("%d lines about the brokers:\n%s", n, log.String())
	}
	// The first failure is logged at once, with those that came with it, and the rest at the end.
	counts, lost := regexp.MustCompile(`messages=(\d+)`).FindAllStringSubmatch(log.String(), -1), 0
	for _, c := range counts {
		n, err := strconv.Atoi(c[1])
		if err != nil {
			t.Fatal(err)
		}
		lost += n
	}
	if lost != queued || len(counts) > 2 {
		t.Errorf("%d lines say that %d messages were lost, of %d:\n%s", len(counts), lost, queued, log.String())
	}
}

func TestProduceAsyncReportsFailures(t *testing.T) {
	var log lines
	type report struct {
		err  error
		info racecar.ErrorInfo
	}
	reports := make(chan report, 10)
	p := open(t, nobody, logTo(&log), func(c *racecar.Config) error {
		c.MessageTimeout = 100 * time.Millisecond
		c.OnError = func(_ context.Context, err error, info racecar.ErrorInfo) {
			reports <- report{err, info}
			panic("in OnError")
		}
		return nil
	})
	for range 2 {
		if err := p.ProduceAsync(t.Context(), racecar.ProducerMessage{Topic: "out"}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		r := <-reports
		if de, ok := errors.AsType[*producer.DeliveryError](r.err); !ok || de.Kind != producer.DeliveryTimedOut {
			t.Errorf("OnError was given %v", r.err)
		}
		if !r.info.UnrecoverableDelivery || r.info.Topic != "out" || r.info.Partition != -1 {
			t.Errorf("OnError was given %+v", r.info)
		}
	}
	if err := p.Close(bounded(t)); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"messages were not delivered", "in OnError", nobody} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, log.String())
		}
	}
}

func TestWaitForDelivery(t *testing.T) {
	b := racecartest.NewBroker(t)
	p := open(t, b.Addrs()[0])
	err := p.WaitForDelivery(bounded(t), func(ctx context.Context) error {
		for i := range 100 {
			if err := p.ProduceAsync(ctx, racecar.ProducerMessage{Topic: "out", Value: fmt.Append(nil, i)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(b.Messages("out")); n != 100 {
		t.Errorf("%d of 100 messages are there when it returns", n)
	}
}

func TestWaitForDeliveryJoinsAllErrors(t *testing.T) {
	var log lines
	p := open(t, nobody, logTo(&log), func(c *racecar.Config) error {
		c.MessageTimeout = 200 * time.Millisecond
		c.OnError = func(_ context.Context, err error, _ racecar.ErrorInfo) { t.Errorf("OnError was told too: %v", err) }
		return nil
	})
	own := errors.New("of the function")
	var kept context.Context
	err := p.WaitForDelivery(bounded(t), func(ctx context.Context) error {
		kept = ctx
		for range 3 {
			if err := p.ProduceAsync(ctx, racecar.ProducerMessage{Topic: "out"}); err != nil {
				t.Error(err)
			}
		}
		_ = p.ProduceAsync(ctx, racecar.ProducerMessage{Value: []byte("no topic")})
		return own
	})
	all, ok := err.(interface{ Unwrap() []error })
	if !ok || len(all.Unwrap()) != 5 || !errors.Is(err, own) || !strings.Contains(err.Error(), "no topic is set") {
		t.Fatalf("got %v", err)
	}
	returned := p.WaitForDelivery(bounded(t), func(ctx context.Context) error {
		return p.ProduceAsync(ctx, racecar.ProducerMessage{})
	})
	if all, ok := returned.(interface{ Unwrap() []error }); !ok || len(all.Unwrap()) != 1 {
		t.Errorf("an error that the function returns is told twice: %v", returned)
	}
	if strings.Contains(log.String(), "not delivered") {
		t.Errorf("what is returned is logged too:\n%s", log.String())
	}
	if err := p.ProduceAsync(kept, racecar.ProducerMessage{}); err == nil {
		t.Error("no error after the waiting is over")
	}
}

func TestWaitForDeliveryEndsWithItsContext(t *testing.T) {
	reported := make(chan error, 1)
	p := open(t, nobody, func(c *racecar.Config) error {
		c.MessageTimeout = 400 * time.Millisecond
		c.OnError = func(_ context.Context, err error, _ racecar.ErrorInfo) { reported <- err }
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := p.WaitForDelivery(ctx, func(ctx context.Context) error {
		return p.ProduceAsync(ctx, racecar.ProducerMessage{Topic: "out"})
	})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 messages") {
		t.Errorf("got %v", err)
	}
	if err := <-reported; err == nil {
		t.Error("what failed later was reported without an error")
	}
}

func TestStandaloneProducerClosed(t *testing.T) {
	p := open(t, nobody)
	if err := p.Close(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(bounded(t)); err != nil {
		t.Errorf("the second Close: %v", err)
	}
	for name, err := range map[string]error{
		"ProduceSync":  p.ProduceSync(bounded(t), racecar.ProducerMessage{Topic: "out"}),
		"ProduceAsync": p.ProduceAsync(bounded(t), racecar.ProducerMessage{Topic: "out"}),
	} {
		if de, ok := errors.AsType[*producer.DeliveryError](err); !ok || de.Kind != producer.DeliveryClosed {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
}

func TestDefaultProducer(t *testing.T) {
	b := racecartest.NewBroker(t)
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.MkdirAll("config", 0o755); err != nil {
		t.Fatal(err)
	}
	file := fmt.Sprintf("development:\n  brokers: [%q]\n  logfile: %q\n", b.Addrs()[0], filepath.Join(dir, "racecar.log"))
	if err := os.WriteFile("config/racecar.yml", []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx := bounded(t)
	if err := racecar.Close(ctx); err != nil {
		t.Errorf("Close without a producer: %v", err)
	}
	if err := racecar.ProduceSync(ctx, racecar.ProducerMessage{Topic: "out", Value: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	if err := racecar.ProduceAsync(ctx, racecar.ProducerMessage{Topic: "out", Value: []byte("2")}); err != nil {
		t.Fatal(err)
	}
	err := racecar.WaitForDelivery(ctx, func(ctx context.Context) error {
		return racecar.ProduceAsync(ctx, racecar.ProducerMessage{Topic: "out", Value: []byte("3")})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := racecar.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if n := len(b.Messages("out")); n != 3 {
		t.Errorf("%d of 3 messages arrived", n)
	}
}

func TestOpenProducerReportsMistakes(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("RACECAR_PARTITIONER", "murmur3")
	if _, err := racecar.OpenProducer(t.Context()); err == nil || !strings.Contains(err.Error(), "RACECAR_PARTITIONER") {
		t.Errorf("got %v", err)
	}
	t.Setenv("RACECAR_PARTITIONER", "murmur2")
	wrong := errors.New("wrong")
	if _, err := racecar.OpenProducer(t.Context(), func(*racecar.Config) error { return wrong }); !errors.Is(err, wrong) {
		t.Errorf("got %v", err)
	}
}

// Callers may reuse their buffers as soon as ProduceAsync has returned.
func TestProducerCopiesTheMessage(t *testing.T) {
	b := racecartest.NewBroker(t)
	b.Topic("out", 1)
	p := open(t, b.Addrs()[0])
	var buf []byte
	for i := range 5 {
		buf = fmt.Appendf(buf[:0], "value %d", i)
		if err := p.ProduceAsync(bounded(t), racecar.ProducerMessage{Topic: "out", Key: buf, Value: buf, Headers: []racecar.Header{{Key: "h", Value: buf}}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(bounded(t)); err != nil {
		t.Fatal(err)
	}
	for i, m := range b.WaitMessages("out", 5) {
		want := fmt.Sprintf("value %d", i)
		if h, _ := m.Header("h"); string(m.Value) != want || string(m.Key) != want || string(h) != want {
			t.Errorf("message %d: %q %q %q", i, m.Key, m.Value, h)
		}
	}
}

// Close waits no longer than its ctx, even while another call closes the producer, and returns
// an error where it would wait for itself.
func TestStandaloneProducerCloseIsBounded(t *testing.T) {
	var p *racecar.StandaloneProducer
	fromOnError, release := make(chan error, 1), make(chan struct{})
	p = open(t, nobody, func(c *racecar.Config) error {
		c.MessageTimeout = 20 * time.Millisecond
		c.OnError = func(context.Context, error, racecar.ErrorInfo) {
			select {
			case fromOnError <- p.Close(context.Background()):
			default: // of the messages after the first
			}
			<-release
		}
		return nil
	})
	if err := p.ProduceAsync(bounded(t), racecar.ProducerMessage{Topic: "out"}); err != nil {
		t.Fatal(err)
	}
	if err := <-fromOnError; err == nil || !strings.Contains(err.Error(), "OnError") {
		t.Errorf("Close from OnError: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := make(chan error, 1)
	go func() { first <- p.Close(ctx) }()
	harness.Eventually(t, "the first Close is under way", func() error {
		if p.ProduceAsync(bounded(t), racecar.ProducerMessage{Topic: "out"}) == nil {
			return errors.New("it takes messages")
		}
		return nil
	})
	brief, cancel2 := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel2()
	if err := p.Close(brief); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the second Close: %v", err)
	}
	close(release)
	if err := <-first; err != nil {
		t.Errorf("the first Close: %v", err)
	}
	if err := p.Close(bounded(t)); err != nil {
		t.Errorf("the third Close: %v", err)
	}
}

// A message that is produced with an ended ctx is not sent.
func TestCancelledCtxSendsNothing(t *testing.T) {
	b := racecartest.NewBroker(t)
	b.Topic("out", 1)
	p := open(t, b.Addrs()[0])
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m := racecar.ProducerMessage{Topic: "out", Value: []byte("v")}
	for name, err := range map[string]error{
		"ProduceSync":     p.ProduceSync(ctx, m),
		"ProduceAsync":    p.ProduceAsync(ctx, m),
		"WaitForDelivery": p.WaitForDelivery(ctx, func(ctx context.Context) error { return p.ProduceAsync(ctx, m) }),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := p.Close(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if n := len(b.Messages("out")); n != 0 {
		t.Errorf("%d messages were sent", n)
	}
}
