package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"

	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/wire"
)

// readCommands does what the supervisor says until it is gone, and then ends the
// worker: what nobody watches must not go on.
func (w *worker) readCommands() {
	ignoredOne := false
	for {
		e, err := w.opts.Conn.Read()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				w.log.WithError(err).Error("reading commands")
			}
			w.supervisorGone()
			return
		}
		if e.Kind == wire.KindHandshake {
			var h wire.Handshake
			if err := e.Decode(&h); err != nil {
				w.log.WithError(err).Error("reading commands")
				continue
			}
			w.takeHandshake(h)
			continue
		}
		if w.receiveOutage(e) {
			continue
		}
		if e.Kind != wire.KindCommand {
			if w.stats.Add(scoreboard.UnknownMessages, 1); !ignoredOne {
				ignoredOne = true
				w.log.WithField("kind", e.Kind).Info("ignored a message of a kind that this release does not know; further ones are only counted")
			}
			continue
		}
		var c wire.Command
		if err := e.Decode(&c); err != nil {
			w.log.WithError(err).Error("reading commands")
			continue
		}
		data, err := w.command(c)
		if c.Kind == wire.CommandStop || c.Kind == wire.CommandExit {
			continue // the exit is the answer
		}
		r := wire.Reply{ID: c.ID, Data: data}
		if err != nil {
			r.Error = err.Error()
		}
		w.sender.sendReply(r)
	}
}

// command does one.
func (w *worker) command(c wire.Command) (json.RawMessage, error) {
	switch c.Kind {
	case wire.CommandStop:
		w.requestShutdown(shutdown{grace: c.Grace, leaveGroup: c.Leave, stay: c.Stay})
	case wire.CommandExit:
		poke(w.exit)
	case wire.CommandStatus:
		return json.Marshal(w.statusReport())
	case wire.CommandQuiet:
		w.setQuiet(true)
	case wire.CommandContinue:
		w.setQuiet(false)
	case wire.CommandPause:
		w.setPaused(c.Partitions, true)
	case wire.CommandResume:
		w.setPaused(c.Partitions, false)
		return nil, w.resumeDecoding(c.Partitions, c.SkipBatch)
	case wire.CommandCancel:
		if c.Call == nil {
			return nil, errors.New("cancel: no call is named")
		}
		w.cancelCall(*c.Call, c.Reason)
	case wire.CommandSuspects:
		w.suspects.set(c.Suspects)
		w.scheduler.each(func(p *partition) { p.interrupt.Store(true) })
	case wire.CommandConfig:
		if w.opts.PrintConfig == nil {
			return nil, errors.New("no configuration to print")
		}
		w.opts.PrintConfig(w.stderr())
	case wire.CommandLogLevel:
		if w.opts.SetLogLevel == nil {
			return nil, errors.New("the log level cannot be changed")
		}
		return nil, w.opts.SetLogLevel(c.Value)
	case wire.CommandDump:
		w.dumpStacks()
	case wire.CommandReopen:
		if w.opts.Reopen != nil {
			return nil, w.opts.Reopen()
		}
	default:
		w.stats.Add(scoreboard.UnknownMessages, 1)
		return nil, fmt.Errorf("this worker's release does not know the command %q", c.Kind)
	}
	return nil, nil
}

func (w *worker) setQuiet(quiet bool) {
	w.quiet.Store(quiet)
	w.scheduler.setQuiet(quiet)
	w.sendFrame()
}

// setPaused pauses or resumes partitions by an operator's order. Resuming also
// ends a backoff and a poisoned state.
func (w *worker) setPaused(which []wire.Partition, paused bool) {
	w.mu.Lock()
	w.paused = slices.DeleteFunc(w.paused, func(have wire.Partition) bool {
		return slices.ContainsFunc(which, func(one wire.Partition) bool {
			return one.Topic == have.Topic && (one.Partition < 0 || one.Partition == have.Partition)
		})
	})
	if paused {
		w.paused = append(w.paused, which...)
	}
	w.mu.Unlock()
	w.scheduler.each(func(p *partition) {
		if slices.ContainsFunc(which, p.matches) {
			w.scheduler.setOperator(p, paused)
		}
	})
	w.sendFrame()
}

// serve has p served from now on, but for one that an operator has paused. Pausing and
// resuming wait meanwhile: what they miss here they find in the scheduler.
func (w *worker) serve(p *partition) {
	w.mu.Lock()
	defer w.mu.Unlock()
	paused := slices.ContainsFunc(w.paused, p.matches)
	w.scheduler.change(func() { w.scheduler.setOperator(p, paused) })
	p.firstCommitted.Store(true)
	w.scheduler.add(p)
}

// setOperator pauses or resumes p. Called with mu held.
func (t *scheduler) setOperator(p *partition, paused bool) {
	if paused {
		t.hold(p, heldBy{hold: holdOperator, reason: "paused by an operator"})
		return
	}
	p.retryOnce = p.retryOnce || p.holds.has(holdPoisoned)
	t.outages.forget(p)
	t.unhold(p, holdOperator, holdPoisoned, holdPaused, holdRefused, holdBackoff)
	if p.lanes != nil {
		p.lanes.resume()
	}
}

// cancelCalls cancels the ctx of the calls that take longer than max_poll_interval, and
// of those alone: it is their failure.
func (w *worker) cancelCalls(reason string) {
	cause := fmt.Errorf("%w: %s", errOverdue, reason)
	overdue := map[topicPartition][]int64{} // their first offsets
	for _, c := range w.board.InHand() {
		if c.Since >= w.cfg.MaxPollInterval {
			k := topicPartition{c.Topic, c.Partition}
			overdue[k] = append(overdue[k], c.FirstOffset)
		}
	}
	w.scheduler.each(func(p *partition) {
		if p.busy && len(overdue[p.topicPartition]) > 0 {
			p.cancelCalls(cause, overdue[p.topicPartition])
		}
	})
}

// cancelCall cancels the ctx of one call, if it is in hand still.
func (w *worker) cancelCall(call wire.Call, reason string) {
	w.scheduler.each(func(p *partition) {
		if p.busy && p.topic == call.Topic && p.partition == call.Partition && slices.ContainsFunc(w.board.InHand(), func(c scoreboard.Call) bool {
			return c.Topic == call.Topic && c.Partition == call.Partition && c.FirstOffset == call.FirstOffset
		}) {
			p.cancelCalls(fmt.Errorf("%w: %s", errOverdue, reason), []int64{call.FirstOffset})
		}
	})
}

// cancelCalls cancels the calls in hand that begin at these offsets. Without lanes there is
// one call, whose ctx those after it would have as well. Called with scheduler.mu held.
func (p *partition) cancelCalls(cause error, offsets []int64) {
	if p.lanes != nil {
		p.lanes.cancel(cause, func(first int64) bool { return slices.Contains(offsets, first) })
		return
	}
	p.interrupt.Store(true) // first: the call may return at once, and the next one must have another ctx
	p.ctx.Load().cancel(cause)
}

// dumpStacks writes the stacks of all goroutines to the log.
func (w *worker) dumpStacks() {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) || len(buf) >= 64<<20 {
			w.log.WithField("stacks", string(buf[:n])).Warn("stacks of the worker")
			return
		}
		buf = make([]byte, 2*len(buf))
	}
}

func (w *worker) stderr() io.Writer {
	if w.opts.Stderr != nil {
		return w.opts.Stderr
	}
	return os.Stderr
}

// takeHandshake makes a worker that stands by the one that has its slot.
func (w *worker) takeHandshake(h wire.Handshake) {
	if !w.standby.CompareAndSwap(true, false) {
		w.log.Warn("unexpected handshake from the supervisor")
		return
	}
	w.opts.Handshake.Predecessors = h.Predecessors
	w.suspects.set(h.Suspects)
	w.mu.Lock()
	w.paused = h.Paused
	w.mu.Unlock()
	w.setQuiet(h.Quiet)
	if h.LogLevel != "" && w.opts.SetLogLevel != nil {
		if err := w.opts.SetLogLevel(h.LogLevel); err != nil {
			w.log.WithError(err).Warn("log level")
		}
	}
	close(w.promoted)
}
