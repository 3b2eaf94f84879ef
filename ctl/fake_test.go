package ctl

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/racecar-go/racecar/internal/status"
)

// fakeSupervisor notes what it is asked, in words, and answers from its fields.
type fakeSupervisor struct {
	mu     sync.Mutex
	asked  []string
	st     status.Status
	config []ConsumerConfig
	sets   map[string]Settings // by consumer
	steps  []Progress
	err    error
	// during, when set, runs in the middle of Stop, Restart and Scale.
	during func(ctx context.Context)
}

func (f *fakeSupervisor) note(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, strings.TrimSpace(fmt.Sprintf(format, args...)))
	return f.err
}

func (f *fakeSupervisor) received() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.asked...)
}

func (f *fakeSupervisor) long(ctx context.Context, progress func(Progress)) error {
	for _, p := range f.steps {
		progress(p)
	}
	if f.during != nil {
		f.during(ctx)
	}
	return f.err
}

func (f *fakeSupervisor) Status(context.Context) (status.Status, error) {
	return f.st, f.err
}

func (f *fakeSupervisor) Config(context.Context) ([]ConsumerConfig, error) { return f.config, f.err }

func (f *fakeSupervisor) Settings(_ context.Context, consumer string) (Settings, error) {
	s, ok := f.sets[consumer]
	if !ok {
		return s, fmt.Errorf("no consumer is called %q there", consumer)
	}
	return s, f.err
}

func (f *fakeSupervisor) Stop(ctx context.Context, o StopOptions, progress func(Progress)) error {
	_ = f.note("stop %s force=%t leave=%t", o.Timeout, o.Force, o.Leave)
	return f.long(ctx, progress)
}

func (f *fakeSupervisor) Restart(ctx context.Context, o RestartOptions, progress func(Progress)) error {
	what := "restart " + o.Consumer
	if o.NewGroup {
		what += " to a new group"
	}
	_ = f.note("%s", what)
	return f.long(ctx, progress)
}

func (f *fakeSupervisor) Scale(ctx context.Context, consumer string, workers int, progress func(Progress)) error {
	_ = f.note("scale %d %s", workers, consumer)
	return f.long(ctx, progress)
}

func (f *fakeSupervisor) Pause(_ context.Context, consumer, topic string, partition int32) error {
	return f.note("pause %s/%d %s", topic, partition, consumer)
}

func (f *fakeSupervisor) Resume(_ context.Context, consumer, topic string, partition int32) error {
	return f.note("resume %s/%d %s", topic, partition, consumer)
}

func (f *fakeSupervisor) SkipBatch(_ context.Context, consumer, topic string, partition int32) error {
	return f.note("skip batch %s/%d %s", topic, partition, consumer)
}

func (f *fakeSupervisor) Quiet(_ context.Context, consumer string) error {
	return f.note("quiet %s", consumer)
}

func (f *fakeSupervisor) Continue(_ context.Context, consumer string) error {
	return f.note("continue %s", consumer)
}

func (f *fakeSupervisor) SetLogLevel(_ context.Context, level string) error {
	return f.note("log-level %s", level)
}

func (f *fakeSupervisor) Dump(context.Context) error { return f.note("dump") }
