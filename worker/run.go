package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/calllog"
	"github.com/racecar-go/racecar/internal/locks"
	"github.com/racecar-go/racecar/internal/logs"
	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/access"
	"github.com/racecar-go/racecar/kafka/fetch"
	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/worker/lanes"
)

// This file makes a worker and runs it.

// defaultMaxBatch stands in for max_batch_bytes in a configuration that was not loaded.
const defaultMaxBatch = 64 << 20

// lastWait is how long a worker that ends waits until its exit report was read.
const lastWait = time.Second

// worker is one process's worth of consuming.
type worker struct {
	opts  Options
	cfg   config.Config
	reg   *racecar.Registration
	index int
	group string
	log   *logrus.Entry
	slog  *slog.Logger // of consumer code
	base  time.Time    // what durations in hot paths are counted from

	mistakesAtStart int // of Options.Mistakes
	setups          *setups

	stats       *scoreboard.Counters
	scheduler   *scheduler
	fetchers    map[string]*fetch.Fetcher // by the properties of their subscriptions; guarded by mu
	suspects    suspects
	board       *scoreboard.Board
	sender      *sender
	serial      *instance   // nil with concurrency above 1, unless with lanes: the first one
	instances   []*instance // with lanes, one for each executor
	lanesBudget *lanes.Budget
	spare       atomic.Pointer[instance] // with it: made before joining, for the first partition; nil: it has one
	memberships []*membership

	deadLetterLimit *deadLetterLimit

	access func() (*access.Access, error) // certificates and tickets of all clients, made once

	transport func() (transport, error) // what producers send with, made once
	sendWith  transport                 // that; nil: nobody has asked for it

	deadLetterTopic atomic.Bool // it is there
	compacted       atomic.Bool // it takes no record without a key

	deadLettersMet sync.Map // topics whose dead letters were logged that a pattern brings in

	constructed atomic.Bool            // the consumer's first instance is there
	unmade      atomic.Pointer[string] // why it is waited for; nil: it is not
	standby     atomic.Bool            // in a roll: the worker before us has the slot
	promoted    chan struct{}          // closed when the slot is ours; nil: it was from the start

	quiet            atomic.Bool
	shutdownRequests chan shutdown             // capacity 1: the first one counts
	stopping         chan struct{}             // closed when it ends; stopAt is set by then
	stopAt           atomic.Pointer[time.Time] // when all must be over; nil: not stopping
	time             context.Context           // ends at stopAt
	timer            *time.Timer               // ends time; guarded by mu; nil: not stopping
	timeUp           context.CancelCauseFunc

	orphaned context.Context // ends when the supervisor is gone; stopAt is set by then
	orphan   context.CancelFunc
	finished atomic.Bool   // stopped, and staying: see stay
	exit     chan struct{} // capacity 1: CommandExit

	mu       locks.Mutex[locks.WorkerState]
	problems []status.Problem
	paused   []wire.Partition // by an operator
}

// Run runs a worker and returns the exit code of the process once everything is
// finished, or when its time is up. The end of ctx requests a shutdown (with --inline:
// the signal). The exit report has been sent by then.
func Run(ctx context.Context, o Options) int {
	w, err := newWorker(o)
	s := newSender(o.Conn)
	if o.Conn != nil {
		go s.run()
		tuneGC(floorFor(o.Handshake.Consumer.Config.ParallelWorkers)) // a process of its own
		if err := boundMemory(o.Handshake.Consumer.Config.WorkerMemoryLimit); err != nil {
			o.Log.WithError(err).Warn("worker_memory_limit bounds no single allocation")
		}
		if err := yieldToSupervisor("/proc/self/oom_score_adj"); err != nil {
			o.Log.WithError(err).Warn("when memory is short the kernel may kill the supervisor before this worker")
		}
	}
	if err != nil {
		s.closeWithError(err, true, o.Log)
		return wire.ExitPermanent
	}
	w.sender = s
	e := w.run(ctx)
	if e.err != nil {
		s.closeWithError(e.err, e.code == wire.ExitPermanent, w.log)
	} else {
		s.close(nil, lastWait)
	}
	return e.code
}

// closeWithError closes s with an exit report about an error, which the supervisor logs.
// Where the report does not reach it, the worker logs the error, else at debug level.
func (s *sender) closeWithError(err error, permanent bool, log logrus.FieldLogger) {
	level := logrus.ErrorLevel
	if s.close(&wire.ExitReason{Reason: oneLine(err), Permanent: permanent}, lastWait) {
		level = logrus.DebugLevel
	}
	log.WithError(bounded(err)).WithField("permanent", permanent).Log(level, "worker ends")
}

func newWorker(o Options) (*worker, error) {
	h := o.Handshake
	reg := o.Lookup(h.Consumer.Name)
	if reg == nil {
		return nil, fmt.Errorf("consumer %q is not registered in this binary", h.Consumer.Name)
	}
	w := &worker{
		opts: o, cfg: h.Consumer.Config, reg: reg, index: h.Index,
		group:            h.Consumer.Config.GroupID,
		base:             time.Now(),
		fetchers:         map[string]*fetch.Fetcher{},
		shutdownRequests: make(chan shutdown, 1),
		stopping:         make(chan struct{}),
		exit:             make(chan struct{}, 1),
	}
	if o.Mistakes != nil {
		w.mistakesAtStart = len(o.Mistakes())
	}
	w.time, w.timeUp = context.WithCancelCause(context.Background())
	w.orphaned, w.orphan = context.WithCancel(context.Background())
	w.access, w.transport = firstSuccess(w.newAccess), firstSuccess(w.newTransport)
	if w.cfg.DeadLetterTopic == "" && w.cfg.MaxRetries > 0 { // as config.Load derives it
		w.cfg.DeadLetterTopic = config.DeadLetterTopicFor(w.group)
	}
	w.cfg.Concurrency = max(1, w.cfg.Concurrency)
	w.cfg.ProduceInFlight = max(1, w.cfg.ProduceInFlight)
	if w.lanesBudget = newLanesBudget(&w.cfg); w.inLanes() && w.transactional() {
		return nil, errors.New("a transactional consumer keeps the order of its partitions: use ordering partition")
	}
	w.log = o.Log.WithFields(logrus.Fields{"consumer": reg.Name(), "worker": h.Index, "pid": os.Getpid(), "group": w.group})
	w.slog = logs.Slog(w.log)
	w.opts.Context = &calllog.Parent{Context: o.base(), Logger: w.slog, Tracer: o.Tracer}
	w.setups = newSetups(w)
	w.makeScheduler()
	if h.Standby {
		w.standby.Store(true)
		w.promoted = make(chan struct{})
	}
	w.suspects.set(h.Suspects)
	w.paused = h.Paused
	w.quiet.Store(h.Quiet)
	w.scheduler.setQuiet(h.Quiet)
	if err := w.openBoard(); err != nil {
		return nil, err
	}
	w.stats = w.board.Counters()
	all, err := withOffsetReset(reg.Spec().Subscriptions, w.cfg.Consumer)
	if err != nil {
		return nil, err
	}
	for i, subs := range splitSubscriptions(all) {
		w.memberships = append(w.memberships, newMembership(w, i, subs))
	}
	return w, nil
}

func (w *worker) makeScheduler() {
	t := newScheduler(w.cfg.Concurrency, w.cfg.MultiSubscriptionStrategy == "round-robin", newLimits(&w.cfg))
	w.scheduler = t
	t.opener = newOpener(int64(cmp.Or(w.cfg.MaxBatchBytes, defaultMaxBatch)))
	if w.opts.clock != nil {
		t.clock = *w.opts.clock
	}
	w.deadLetterLimit = newDeadLetterLimit(&w.cfg)
	t.outages = newOutages(t, w.outageOptions(), w.outagesChanged)
	if w.reg.Batch() {
		t.batch, t.batchWait = max(1, w.cfg.FetchMessages), w.cfg.MaxWaitTime
	}
}

// openBoard opens the supervisor's scoreboard, or makes one where there is none.
func (w *worker) openBoard() error {
	if w.board = w.opts.Board; w.board == nil {
		f, board, err := scoreboard.Create(w.cfg.Concurrency)
		if err != nil {
			return err
		}
		_ = f.Close() // mapped; nobody else is to have it
		w.board = board
	} else if w.board.Slots() < w.cfg.Concurrency {
		return fmt.Errorf("the scoreboard has %d slots for concurrency %d", w.board.Slots(), w.cfg.Concurrency)
	}
	return nil
}

// run runs everything and shuts it down again.
func (w *worker) run(ctx context.Context) shutdown {
	frames, stopFrames := context.WithCancel(context.Background())
	go w.sendFrames(frames)
	metrics := make(chan struct{})
	go func() { defer close(metrics); w.sendMetrics(frames) }()
	defer func() { // what was counted last is sent as well, if consumer code does not take long
		stopFrames()
		ctx, cancel := context.WithTimeout(context.Background(), lastWait)
		defer cancel()
		within(ctx, func() { <-metrics })
	}()
	if w.opts.Conn != nil {
		go w.readCommands()
	}
	var executors sync.WaitGroup
	first, early, ok := w.firstInstance(ctx)
	if !ok {
		return early
	}
	if w.cfg.Concurrency == 1 || w.inLanes() {
		w.serial = first
	} else {
		w.spare.Store(first)
	}
	for i := range w.cfg.Concurrency {
		e := &executor{w: w, t: w.scheduler, slot: i, board: w.board}
		if w.inLanes() {
			e.inst = w.instances[i]
		}
		executors.Add(1)
		go e.run(executors.Done)
	}
	running, stop := context.WithCancel(context.Background())
	defer stop()
	var members sync.WaitGroup
	for _, m := range w.memberships {
		members.Go(func() {
			if err := m.run(running); err != nil {
				w.failWith(err)
			}
		})
	}
	opening, stopOpening := context.WithCancel(context.Background())
	defer stopOpening()
	for range min(w.cfg.Concurrency, runtime.GOMAXPROCS(0)) {
		go w.scheduler.opener.run(opening.Done())
	}
	go w.watch(running)
	go w.statistics(running)

	var e shutdown
	select {
	case e = <-w.shutdownRequests:
	case <-ctx.Done():
		// A supervisor starts a successor, which takes the member over; without a
		// supervisor nobody would.
		e = shutdown{grace: w.cfg.ShutdownTimeout, leaveGroup: w.opts.Conn == nil && w.cfg.Membership != config.MembershipHost}
	}
	return w.shutDown(e, stop, &members, &executors)
}

// firstSuccess returns a function that makes a value at its first success. An error is
// not kept: files may be in the middle of being renewed.
func firstSuccess[T any](newValue func() (T, error)) func() (T, error) {
	var mu sync.Mutex
	var value T
	made := false
	return func() (T, error) {
		mu.Lock()
		defer mu.Unlock()
		if made {
			return value, nil
		}
		v, err := newValue()
		if err == nil {
			value, made = v, true
		}
		return v, err
	}
}

// newAccess makes the worker's access. Once the consumer has been ready, brokers have let
// it in: what refuses a replacement passes as well.
func (w *worker) newAccess() (*access.Access, error) {
	a, err := access.New(&w.cfg, w.log)
	if err == nil && w.opts.Handshake.WasReady {
		a.Admit()
	}
	return a, err
}

// newTransport makes what producers send with, at the first use: a consumer that produces
// nothing has no connections for it.
func (w *worker) newTransport() (transport, error) {
	a, err := w.access()
	if err != nil {
		return nil, err
	}
	p, err := producer.New(context.Background(), &w.cfg, producer.Options{Logger: w.log, Access: a})
	if err != nil {
		return nil, err
	}
	w.sendWith = p
	return p, nil
}

// fetcherFor returns the fetcher of all subscriptions with these properties. The fetchers
// share max_bytes.
func (w *worker) fetcherFor(properties map[string]string, conf *kafka.Config) *fetch.Fetcher {
	key := fmt.Sprint(properties) // fmt sorts maps
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fetchers[key] == nil {
		kinds := map[string]bool{}
		for _, m := range w.memberships {
			kinds[fmt.Sprint(m.subs[0].AdditionalConfig)] = true
		}
		c, f := *conf.Access.Config(), conf.Fetch
		c.MaxBytes /= len(kinds)
		w.fetchers[key] = fetch.New(fetch.Options{
			Config: &c, Access: conf.Access, ReadCommitted: f.ReadCommitted, Rack: f.Rack, Backoff: f.Backoff, Log: w.log,
			Count: conf.Access.Count,
		})
	}
	return w.fetchers[key]
}

func (w *worker) closeFetchers() {
	w.mu.Lock()
	fetchers := slices.Collect(maps.Values(w.fetchers))
	w.mu.Unlock()
	for _, f := range fetchers { // which may report something
		f.Close()
	}
}

// responsible is the membership that takes over or removes a predecessor's member.
func (w *worker) responsible(p status.Member) *membership {
	for _, m := range w.memberships {
		if m.takesOver(p) {
			return m
		}
	}
	return w.memberships[0]
}

// takesOver reports whether we join as this member of a predecessor.
func (m *membership) takesOver(p status.Member) bool {
	return m.slot != "" && ofSlot(p.InstanceID, m.slot)
}

// emit reports an event to observers.
func (w *worker) emit(e racecar.Event) {
	if w.opts.Emit != nil {
		w.opts.Emit(e)
	}
}

// partLog is the log with a partition's fields.
func (w *worker) partLog(p *partition) *logrus.Entry {
	return w.log.WithField("topic", p.topic).WithField("partition", p.partition)
}
