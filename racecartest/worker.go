package racecartest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/callctx"
	"github.com/racecar-go/racecar/internal/dispatch"
	"github.com/racecar-go/racecar/internal/logs"
	"github.com/racecar-go/racecar/internal/registered"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
	"github.com/racecar-go/racecar/worker"
)

// Worker is a real worker that runs in the test's process against its Broker. It is stopped
// when the test ends. Its helpers fail the test when the event that they wait for does not
// happen within 30 seconds or the worker has ended; call them from the test's own goroutine.
type Worker struct {
	t           testing.TB
	broker      *Broker
	reg         *racecar.Registration
	config      config.Config
	index       int
	nonce       string
	faults      *faults
	output      *racecar.StandaloneProducer // in place of the default producer
	subscribers []func(racecar.Event)       // of racecar.Observe
	middlewares []func(racecar.Handler) racecar.Handler
	setups      []registered.Setup

	stop  func()        // asks it to stop; again does nothing
	ended chan struct{} // closed when it has ended; code and words are set then
	code  int
	words wire.ExitReason

	mu     sync.Mutex
	events []racecar.Event
	news   chan struct{} // closed and replaced at each event
	others int           // workers that Rebalance has started
}

// RunWorker starts a worker of a consumer that need not be registered; WithSpec says which
// topics it subscribes to. Its configuration has the defaults and short intervals (commits,
// pauses and heartbeats within a tenth of a second), then what racecar.Configure sets, the
// Spec, and the changes of WithConfig; RunWorker reads neither file nor environment.
// Subscribers given to racecar.Observe are called, functions given to racecar.Setup run before
// the first worker at b and what they returned after the last one, and what consumer code produces with
// racecar.ProduceSync and its like from the ctx of a call goes to b.
//
// Several calls for one consumer run several workers of its group; the Spec's
// ParallelWorkers is for a supervisor and starts none. A call that takes longer than
// max_poll_interval has its ctx cancelled. If it ignores that, the worker ends 5 seconds
// later, once shutdown_timeout (30 seconds here) is over too, and writes the stacks to the
// test's log.
func RunWorker[C any](t testing.TB, b *Broker, newConsumer func(racecar.Runtime) (C, error), options ...Option) *Worker {
	t.Helper()
	o := collect(options)
	if o.spec == nil {
		t.Fatal("a worker needs to know the topics of its consumer: racecartest.WithSpec")
	}
	noMistakes(t)
	reg, err := racecar.NewRegistration(newConsumer, *o.spec)
	if err != nil {
		t.Fatal(err)
	}
	return runWorker(t, b, reg, o)
}

// RunRegisteredWorker is RunWorker for the consumer that is registered under name, as
// RunRegistered is for Run.
func RunRegisteredWorker(t testing.TB, b *Broker, name string, options ...Option) *Worker {
	t.Helper()
	o := collect(options)
	reg := lookup(t, name, &o)
	return runWorker(t, b, reg, o)
}

func runWorker(t testing.TB, b *Broker, inner *racecar.Registration, o options) *Worker {
	t.Helper()
	f := &faults{}
	reg, err := withFaults(inner, f)
	if err != nil {
		t.Fatal(err)
	}
	if n := o.spec.ParallelWorkers; n > 1 {
		t.Logf("RunWorker runs one worker, not the %d of the Spec: call it once for each", n)
	}
	values := registered.SpecValues(inner)
	w := &Worker{
		t: t, broker: b, reg: reg, config: o.load(t, &values, quick(b)), nonce: b.nonce(), faults: f,
		subscribers: o.subscribers, middlewares: o.middlewares, setups: o.setups,
	}
	w.output = defaultProducer(t, w.config)
	w.start()
	return w
}

// nonce distinguishes the members of one worker from those of another, as a supervisor's does.
func (b *Broker) nonce() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.workers++
	return fmt.Sprintf("test%d", b.workers)
}

// defaultProducer returns the default producer of consumer code under test.
func defaultProducer(t testing.TB, c config.Config) *racecar.StandaloneProducer {
	t.Helper()
	c.Logger = slog.New(slog.DiscardHandler) // the worker's log suffices
	p, err := racecar.NewStandaloneProducer(t.Context(), &c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Errorf("racecar.ProduceAsync and its like: %v", err)
		}
	})
	return p
}

func quick(b *Broker) func(*config.Config) error {
	return func(c *config.Config) error {
		c.Brokers = b.Addrs()
		c.OffsetCommitInterval = 100 * time.Millisecond
		c.HeartbeatInterval = 100 * time.Millisecond
		c.MaxWaitTime = 100 * time.Millisecond
		c.PauseTimeout = 50 * time.Millisecond
		c.OutageMaxPause = 100 * time.Millisecond
		c.ShutdownTimeout = timeout
		return nil
	}
}

// start runs the worker.
func (w *Worker) start() {
	w.ended, w.news = make(chan struct{}), make(chan struct{})
	log := logrus.New()
	log.SetOutput(testLog{w.t})
	log.SetFormatter(&logrus.TextFormatter{DisableColors: true, DisableTimestamp: true})
	tracer, err := registered.StartTracer(&w.config, logs.Slog(log.WithField("component", "tracer")))
	if err != nil {
		w.t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	conn := wire.NewConn(ours)
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer ours.Close()
		w.readReports(conn)
	}()
	w.stop = sync.OnceFunc(func() {
		// It fails when the worker has ended by itself.
		go func() {
			_ = conn.Write(wire.KindCommand, wire.Command{Kind: wire.CommandStop, Grace: w.config.ShutdownTimeout, Leave: true})
		}()
	})
	go func() {
		defer close(w.ended)
		w.code = worker.Run(context.Background(), worker.Options{
			Conn:  wire.NewConn(theirs),
			Watch: true,
			Handshake: wire.Handshake{
				Index: w.index, Nonce: w.nonce, StartedAt: time.Now(),
				Consumer: wire.Consumer{Name: w.reg.Name(), Config: w.config},
			},
			Lookup: func(string) *racecar.Registration { return w.reg },
			Log:    log,
			Emit:   w.note, EmitStarts: true,
			Middlewares: w.middlewares, Setups: w.broker.shared(w.setups), Mistakes: registered.Mistakes,
			Tracer:  tracer,
			Context: callctx.WithProducer(context.Background(), w.output),
			Stderr:  testLog{w.t},
		})
		log.SetOutput(io.Discard) // the worker's goroutine for commands may still log
		_ = theirs.Close()        // a pipe's never fails
		<-read
	}()
	w.t.Cleanup(func() {
		w.stop()
		<-w.ended // its log is the test's
	})
}

// readReports reads the worker's messages to its supervisor until it has ended.
func (w *Worker) readReports(conn *wire.Conn) {
	for {
		e, err := conn.Read()
		if err != nil {
			return
		}
		if e.Kind == wire.KindExitReason && e.Decode(&w.words) != nil {
			w.words.Reason = "its exit reason cannot be read"
		}
	}
}

// note passes an event on to the application's subscribers and keeps it.
func (w *Worker) note(e racecar.Event) {
	switch m := e.(type) { // the worker goes on with its own message
	case event.StartProcessMessage:
		own := *m.Message
		m.Message = &own
		e = m
	case event.ProcessMessage:
		own := *m.Message
		m.Message = &own
		e = m
	}
	for _, f := range w.subscribers {
		if p, stack := dispatch.Call(func() { f(e) }); p != nil {
			w.t.Errorf("a subscriber to events panicked at %s: %v\n%s", e.EventName(), p, stack)
		}
	}
	switch e.(type) {
	case event.StartMainLoop, event.MainLoop: // as many as there are idle moments
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
	close(w.news)
	w.news = make(chan struct{})
}

// await calls ask after each event until ask is done.
func (w *Worker) await(ask func(events []racecar.Event) (soFar string, done bool)) {
	w.t.Helper()
	limit := time.NewTimer(timeout)
	defer limit.Stop()
	ended := w.ended
	check := time.NewTicker(20 * time.Millisecond) // another worker's events may count as well
	defer check.Stop()
	for {
		w.mu.Lock()
		events, news := w.events, w.news
		w.mu.Unlock()
		soFar, done := ask(events)
		switch {
		case done:
			return
		case ended == nil:
			w.t.Fatalf("%s, and the worker has ended: %v", soFar, w.err())
		}
		select {
		case <-news:
		case <-check.C:
		case <-ended:
			ended = nil // ask once more, for the last events
		case <-limit.C:
			w.t.Fatalf("after %v: %s", timeout, soFar)
		}
	}
}

// WaitProcessed waits until n messages are done since the worker's start: processed, skipped or
// dead-lettered. A message that is processed again counts again. Output may not be
// acknowledged yet; Broker.WaitConsumed waits for that as well, since an offset is committed
// afterwards.
func (w *Worker) WaitProcessed(n int) {
	w.t.Helper()
	w.await(func(events []racecar.Event) (string, bool) {
		processed := 0
		for _, e := range events {
			switch e := e.(type) {
			case event.ProcessMessage:
				processed += e.Done
			case event.ProcessBatch:
				processed += e.Done
			case event.DeadLetter:
				processed++
			}
		}
		return fmt.Sprintf("%d of %d messages processed", processed, n), processed >= n
	})
}

// WaitFor waits for an event of type E that match accepts (nil: any) and returns it. Events
// since the worker's start count; those of the main loop are not kept.
func WaitFor[E racecar.Event](w *Worker, match func(E) bool) E {
	w.t.Helper()
	var found E
	w.await(func(events []racecar.Event) (string, bool) {
		seen := 0
		for _, e := range events {
			if e, ok := e.(E); ok {
				seen++
				if match == nil || match(e) {
					found = e
					return "", true
				}
			}
		}
		var kind E
		return fmt.Sprintf("%d events %s so far, none of which matches", seen, kind.EventName()), false
	})
	return found
}

// FailNext makes the next n calls of Process or ProcessBatch fail with err, as if the consumer
// had returned it, without calling the consumer. Further calls of FailNext add to the queue.
func (w *Worker) FailNext(n int, err error) {
	w.t.Helper()
	if err == nil {
		w.t.Fatal("FailNext(nil) would drop messages: give it an error")
	}
	w.faults.add(n, err)
}

// FailAll makes all calls of Process or ProcessBatch fail with err, without calling the
// consumer, until the returned function is called. With racecar.Unavailable that is an outage
// and its end: what fails is held, and event.OutageStarted and event.OutageEnded are emitted.
func (w *Worker) FailAll(err error) (stop func()) {
	w.t.Helper()
	if err == nil {
		w.t.Fatal("FailAll(nil) would drop messages: give it an error")
	}
	return w.faults.until(err)
}

// Rebalance runs another worker of the consumer until the two share the partitions, and stops
// it again. It first waits until w has partitions, and returns when w has them all back. The
// topic needs two partitions or more to be shared.
func (w *Worker) Rebalance() {
	w.t.Helper()
	WaitFor[event.PartitionsAssigned](w, nil)
	events := w.soFar()
	before, rebalances := owned(events), rebalances(events)
	w.others++
	other := &Worker{t: w.t, broker: w.broker, reg: w.reg, config: w.config, index: w.index + w.others, nonce: w.nonce, faults: w.faults, output: w.output, subscribers: w.subscribers, middlewares: w.middlewares, setups: w.setups}
	other.start()
	WaitFor[event.JoinGroup](other, nil)
	w.awaitOwned(rebalances+1, func(mine map[partition]bool) bool {
		both := owned(other.soFar())
		shared := len(both)
		maps.Copy(both, mine)
		return maps.Equal(both, before) && shared+len(mine) == len(both)
	})
	other.Stop()
	w.awaitOwned(rebalances+2, func(mine map[partition]bool) bool { return maps.Equal(mine, before) })
}

// awaitOwned waits until the group has rebalanced n times and the worker owns the right
// partitions.
func (w *Worker) awaitOwned(n int, right func(map[partition]bool) bool) {
	w.t.Helper()
	w.await(func(events []racecar.Event) (string, bool) {
		got, mine := rebalances(events), owned(events)
		return fmt.Sprintf("%d of %d rebalances, owning %d partitions", got, n, len(mine)), got >= n && right(mine)
	})
}

// partition is a partition of a topic.
type partition struct {
	topic string
	n     int32
}

// owned returns the partitions that the worker was assigned and has not given up.
func owned(events []racecar.Event) map[partition]bool {
	all := map[partition]bool{}
	for _, e := range events {
		switch e := e.(type) {
		case event.PartitionsAssigned:
			each(e.Partitions, func(p partition) { all[p] = true })
		case event.PartitionsRevoked:
			each(e.Partitions, func(p partition) { delete(all, p) })
		}
	}
	return all
}

func each(partitions map[string][]int32, f func(partition)) {
	for topic, numbers := range partitions {
		for _, n := range numbers {
			f(partition{topic, n})
		}
	}
}

func rebalances(events []racecar.Event) int {
	n := 0
	for _, e := range events {
		if _, ok := e.(event.Rebalance); ok {
			n++
		}
	}
	return n
}

// soFar returns the events until now.
func (w *Worker) soFar() []racecar.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.events
}

// Stop stops the worker gracefully, as a supervisor does: it finishes running calls, waits for
// their output, commits, calls Teardown and leaves the group. The test fails if the worker ends
// with an error. Further calls do nothing.
func (w *Worker) Stop() {
	w.t.Helper()
	w.stop()
	if err := w.Wait(); err != nil {
		w.t.Errorf("worker: %v", err)
	}
}

// Wait waits until the worker has ended by itself, because of racecar.Fatal for example, and
// returns why; nil after a graceful stop.
func (w *Worker) Wait() error {
	w.t.Helper()
	select {
	case <-w.ended:
		return w.err()
	case <-time.After(timeout + 5*time.Second):
		w.t.Fatal("the worker does not end")
		return nil
	}
}

// err returns why the worker has ended; call it only once it has.
func (w *Worker) err() error {
	switch {
	case w.code == wire.ExitOK:
		return nil
	case w.words.Reason != "":
		return errors.New(w.words.Reason)
	}
	return fmt.Errorf("exit code %d", w.code)
}
