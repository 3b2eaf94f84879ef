package consumers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/racecar-go/racecar/racecar"
)

// Variables of Ledger and LedgerTx, which are there when EnvLedger is set.
const (
	EnvLedger    = "LEDGER_DIR" // where each process writes what its calls do
	EnvLedgerOut = "LEDGER_OUT" // topic each message that is done is copied to
)

// LedgerEntry is what one call has done, written down before it returns, or what
// OnStatistics has reported.
type LedgerEntry struct {
	Calls, Errors, Done, Skipped, Dead, Produced, Refused uint64
	// Without names a message that is skipped or dead-lettered, and so has no copy.
	Without    string              `json:",omitempty"`
	Statistics *racecar.Statistics `json:",omitempty"`
}

func registerLedger(subscriptions []racecar.Subscription) {
	if os.Getenv(EnvLedger) == "" {
		return
	}
	spec := racecar.Spec{Subscriptions: subscriptions}
	racecar.Register(func(rt racecar.Runtime) (*Ledger, error) { return newLedger(rt) }, spec)
	spec.Name, spec.Transactional = "LedgerTx", true
	racecar.Register(func(rt racecar.Runtime) (*LedgerTx, error) {
		l, err := newLedger(rt)
		return &LedgerTx{l: l}, err
	}, spec)
}

// Ledger takes batches. By the number in a message's key it fails the first time
// (7, 57, …), is skipped (17, 67, …) or dead-lettered (27, 77, …).
type Ledger struct {
	rt   racecar.Runtime
	file *os.File
	out  string
}

func newLedger(rt racecar.Runtime) (*Ledger, error) {
	f, err := os.Create(filepath.Join(os.Getenv(EnvLedger), strconv.Itoa(os.Getpid())))
	return &Ledger{rt: rt, file: f, out: os.Getenv(EnvLedgerOut)}, err
}

func (l *Ledger) note(e LedgerEntry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = l.file.Write(append(b, '\n'))
	return err
}

// number of a message in its partition.
func number(m *racecar.Message) (int, error) {
	_, n, _ := strings.Cut(string(m.Key), "-")
	return strconv.Atoi(n)
}

// outcome of a message: nil, or what its call returns for it.
func (e *LedgerEntry) outcome(m *racecar.Message, n int) error {
	switch {
	case n%50 == 7 && m.Retries == 0:
		e.Errors++
		return errors.New("told to fail")
	case n%50 == 17:
		e.Errors, e.Skipped, e.Without = e.Errors+1, e.Skipped+1, string(m.Key)
		return racecar.Skip(errors.New("told to skip"))
	case n%50 == 27:
		e.Errors, e.Dead, e.Without = e.Errors+1, e.Dead+1, string(m.Key)
		return racecar.DeadLetter(errors.New("told to dead-letter"))
	}
	return nil
}

// ProcessBatch copies the messages one by one, up to one that fails.
func (l *Ledger) ProcessBatch(ctx context.Context, messages []*racecar.Message) error {
	e := LedgerEntry{Calls: 1}
	for i, m := range messages {
		n, err := number(m)
		if err != nil {
			return racecar.Fatal(err)
		}
		if err := e.outcome(m, n); err != nil {
			return errors.Join(l.note(e), racecar.FailedAt(i, err))
		}
		if err := l.rt.Producer.Produce(ctx, racecar.ProducerMessage{Topic: l.out, Key: m.Key, Value: m.Value}); err != nil {
			return racecar.Fatal(err)
		}
		e.Produced++
		e.Done++
	}
	return l.note(e)
}

// OnStatistics writes down what it is told.
func (l *Ledger) OnStatistics(_ context.Context, s racecar.Statistics) {
	if err := l.note(LedgerEntry{Statistics: &s}); err != nil {
		l.rt.Logger.Error("ledger", "error", err)
	}
}

// Teardown closes the ledger.
func (l *Ledger) Teardown(context.Context) error { return l.file.Close() }

// LedgerTx is Ledger message by message and in transactions, of which one aborts: it
// holds a copy of message 3 of partition 0 that is larger than its topic takes.
type LedgerTx struct {
	l       *Ledger
	refused bool
}

// Process copies a message.
func (t *LedgerTx) Process(ctx context.Context, m *racecar.Message) error {
	e := LedgerEntry{Calls: 1}
	n, err := number(m)
	if err != nil {
		return racecar.Fatal(err)
	}
	if n >= 50 || n%50 != 27 { // dead letters of an aborted transaction are others' business
		if err := e.outcome(m, n); err != nil {
			return errors.Join(t.l.note(e), err)
		}
	}
	out := racecar.ProducerMessage{Topic: t.l.out, Key: m.Key, Value: m.Value}
	if m.Partition == 0 && n == 3 && !t.refused {
		t.refused, e.Refused, out.Value = true, 1, make([]byte, LedgerTooLarge)
	}
	if err := t.l.rt.Producer.Produce(ctx, out); err != nil {
		return racecar.Fatal(fmt.Errorf("produce: %w", err))
	}
	e.Done, e.Produced = 1, 1
	return t.l.note(e)
}

// LedgerTooLarge is more than the topic of EnvLedgerOut must take.
const LedgerTooLarge = 60_000

// OnStatistics and Teardown are Ledger's.
func (t *LedgerTx) OnStatistics(ctx context.Context, s racecar.Statistics) { t.l.OnStatistics(ctx, s) }

// Teardown closes the ledger.
func (t *LedgerTx) Teardown(ctx context.Context) error { return t.l.Teardown(ctx) }
