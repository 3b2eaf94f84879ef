package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// linesOf keeps the fields of the lines with one message, sorted.
type linesOf struct {
	message string
	mu      sync.Mutex
	lines   []string
}

func (*linesOf) Levels() []logrus.Level { return logrus.AllLevels }

func (l *linesOf) Fire(e *logrus.Entry) error {
	if e.Message != l.message {
		return nil
	}
	var fields []string
	for _, name := range []string{"consumer", "partition", "offset", "last_offset", "key", "attempt", "trace_id", "span_id"} {
		if v, ok := e.Data[name]; ok {
			fields = append(fields, fmt.Sprintf("%s=%v", name, v))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, strings.Join(fields, " "))
	return nil
}

func (l *linesOf) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines
}

// produceKeyed produces a message with a key and, as a header, the key again.
func produceKeyed(t testing.TB, b *testbroker.Broker, topic, key string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r := &kgo.Record{Topic: topic, Key: []byte(key), Headers: []kgo.RecordHeader{{Key: "of", Value: []byte(key)}}}
	if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// identified is a tracer whose spans have ids.
type identified struct{ tracing }

func (identified) SpanIDs(ctx context.Context) (trace, span string) {
	if ctx.Value(spanKey{}) == nil {
		return "", ""
	}
	return "cafe", fmt.Sprint(ctx.Value(spanKey{}))
}

// The logger of a call knows its message, also when a goroutine uses the ctx after the call.
func TestLoggerKnowsTheMessage(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	for _, key := range []string{"text", "\xff\x00", strings.Repeat("k", 100)} {
		produceKeyed(t, b, topic, key)
	}
	b.Produce(topic, 0, "without a key")
	var running sync.WaitGroup
	release := make(chan struct{})
	rec := newRecorder()
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
		return &processor{process: func(ctx context.Context, m *racecar.Message) error {
			if m.Offset == 0 && m.Retries == 0 {
				running.Go(func() {
					<-release
					racecar.Logger(ctx).Info("afterwards")
				})
				return errors.New("once")
			}
			racecar.Logger(ctx).With("more", 1).Info("within")
			rec.add(m)
			return nil
		}}, nil
	})
	within, afterwards := &linesOf{message: "within"}, &linesOf{message: "afterwards"}
	s := start(t, reg, testConfig(b, group), func(o *Options) {
		o.Log.AddHook(within)
		o.Log.AddHook(afterwards)
		o.Tracer = identified{}
	})
	rec.await(t, 4)
	close(release)
	running.Wait()
	s.stop()
	name := "consumer=" + reg.Name() + " partition=0 "
	want := []string{
		name + "offset=0 key=text attempt=2 trace_id=cafe span_id=0",
		name + "offset=1 key=0xff00 attempt=1 trace_id=cafe span_id=1",
		name + "offset=2 key=" + strings.Repeat("k", 61) + "… attempt=1 trace_id=cafe span_id=2",
		name + "offset=3 attempt=1 trace_id=cafe span_id=3",
	}
	if got := strings.Join(within.all(), "\n"); got != strings.Join(want, "\n") {
		t.Errorf("lines:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
	if got := strings.Join(afterwards.all(), "\n"); got != name+"offset=0 key=text attempt=1 trace_id=cafe span_id=0" {
		t.Errorf("after the call: %s", got)
	}
}

func TestLoggerOfABatchAndOfHooks(t *testing.T) {
	t.Parallel()
	b := testbroker.New(t)
	topic, group := b.Topic(1), b.Group()
	b.Produce(topic, 0, values(3)...)
	rec := newRecorder()
	reg := batchRegistration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(ctx context.Context, ms []*racecar.Message) error {
		racecar.Logger(ctx).Info("within")
		for _, m := range ms {
			rec.add(m)
		}
		return nil
	})
	within, reported := &linesOf{message: "within"}, &linesOf{message: "reported"}
	cfg := testConfig(b, group)
	cfg.OnError = func(ctx context.Context, _ error, _ racecar.ErrorInfo) { racecar.Logger(ctx).Info("reported") }
	s := start(t, reg, cfg, func(o *Options) {
		o.Log.AddHook(within)
		o.Log.AddHook(reported)
		o.Middlewares = []func(racecar.Handler) racecar.Handler{func(next racecar.Handler) racecar.Handler {
			failed := false
			return func(ctx context.Context, ms []*racecar.Message) error {
				if !failed {
					failed = true
					return errors.New("once")
				}
				return next(ctx, ms)
			}
		}}
	})
	rec.await(t, 3)
	s.stop()
	name := "consumer=" + reg.Name()
	if got := within.all(); len(got) == 0 || !strings.HasPrefix(got[0], name+" partition=0 offset=0 last_offset=") || !strings.HasSuffix(got[0], " attempt=2") {
		t.Errorf("of the batch: %v", got)
	}
	if got := reported.all(); len(got) != 1 || got[0] != name {
		t.Errorf("of OnError: %v", got)
	}
}

// OnError learns the message that failed: of a batch the one that FailedAt names.
func TestErrorInfoNamesTheMessage(t *testing.T) {
	for _, shape := range []string{"Process", "ProcessBatch"} {
		t.Run(shape, func(t *testing.T) {
			t.Parallel()
			b := testbroker.New(t)
			topic, group := b.Topic(1), b.Group()
			for _, key := range []string{"a", "b", "c"} {
				produceKeyed(t, b, topic, key)
			}
			rec := newRecorder()
			fails := func(m *racecar.Message) bool { return m.Offset == 1 && m.Retries < 2 }
			spec := racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}
			reg := registration(t, spec, func(racecar.Runtime) (*processor, error) {
				return &processor{process: func(_ context.Context, m *racecar.Message) error {
					if fails(m) {
						return errors.New("refused")
					}
					rec.add(m)
					return nil
				}}, nil
			})
			if shape == "ProcessBatch" {
				reg = batchRegistration(t, spec, func(_ context.Context, ms []*racecar.Message) error {
					for i, m := range ms {
						if fails(m) {
							return racecar.FailedAt(i, errors.New("refused"))
						}
						rec.add(m)
					}
					return nil
				})
			}
			cfg := testConfig(b, group)
			reports := make(chan racecar.ErrorInfo, 10)
			cfg.OnError = func(_ context.Context, _ error, info racecar.ErrorInfo) { reports <- info }
			s := start(t, reg, cfg)
			rec.await(t, 3)
			s.stop()
			for attempt := 1; attempt <= 2; attempt++ {
				got := <-reports
				if got.Topic != topic || got.Partition != 0 || got.Offset != 1 || string(got.Key) != "b" || got.Attempt != attempt || got.FirstOffset != 1 ||
					len(got.Headers) != 1 || got.Headers[0].Key != "of" || string(got.Headers[0].Value) != "b" {
					t.Errorf("attempt %d: %+v", attempt, got)
				}
			}
		})
	}
}
