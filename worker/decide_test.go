package worker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/racecar"
)

var (
	errRefusedOutput  = fmt.Errorf("deliver: %w", &producer.DeliveryError{Kind: producer.DeliveryRefused, Topic: "t", Err: io.EOF})
	errTimedOutOutput = &producer.DeliveryError{Kind: producer.DeliveryTimedOut, Topic: "t", Err: io.EOF}
)

// decisions are the rows of the table in docs/handling-errors.md, by their first cell,
// with the outcomes that each stands for.
func decisions() map[string][]outcome {
	returned := func(err error) outcome { return outcome{event: eventReturned, err: err} }
	interrupted := func(how interruption, o outcome) outcome { o.interrupted = how; return o }
	plain := returned(io.EOF)
	panicked := outcome{event: eventPanicked, err: newPanicError("boom")}
	goexit := outcome{event: eventPanicked, err: newPanicError(nil)}
	return map[string][]outcome{
		"It returned `nil`": {returned(nil), interrupted(leavingClosed, returned(nil)), interrupted(cancelled, returned(nil)), interrupted(overdue, returned(nil))},
		"It returned an error or panicked": {
			plain, panicked, goexit, interrupted(leavingClosed, panicked), interrupted(leavingClosed, goexit),
			returned(fmt.Errorf("wrapped: %w", io.EOF)), returned(errors.Join(racecar.Skip(io.EOF), io.EOF)), returned(errRefusedOutput),
			returned(errors.Join(errTimedOutOutput, errRefusedOutput)), returned(usableError((*nilError)(nil))),
		},
		"It returned `RetryAfter(err, d)`": {returned(racecar.RetryAfter(io.EOF, time.Minute)), {event: eventPanicked, err: newPanicError(racecar.RetryAfter(io.EOF, time.Minute))}},
		"It returned `Skip(err)`": {
			returned(racecar.Skip(io.EOF)), {event: eventPanicked, err: newPanicError(racecar.Skip(io.EOF))}, interrupted(overdue, returned(racecar.Skip(io.EOF))),
			returned(errors.Join(racecar.Skip(io.EOF), racecar.Skip(io.EOF))),
		},
		"It returned `DeadLetter(err)`": {returned(racecar.DeadLetter(io.EOF)), returned(errors.Join(racecar.Skip(io.EOF), racecar.DeadLetter(io.EOF)))},
		"It returned `Fatal(err)`":      {returned(racecar.Fatal(io.EOF)), returned(errors.Join(io.EOF, racecar.Fatal(io.EOF))), interrupted(overdue, returned(racecar.Fatal(io.EOF)))},
		"It returned `Unavailable(err)`": {
			returned(racecar.Unavailable(io.EOF)), returned(racecar.Unavailable(io.EOF, "db")), returned(racecar.RetryAfter(racecar.Unavailable(io.EOF), time.Minute)),
			returned(errors.Join(io.EOF, racecar.Unavailable(io.EOF))), interrupted(overdue, returned(racecar.Unavailable(io.EOF))),
			{event: eventPanicked, err: newPanicError(racecar.Unavailable(io.EOF))}, returned(racecar.Unavailable(racecar.DeadLetter(io.EOF))),
		},
		"Its output was refused":                  {{event: eventOutputRefused, err: errRefusedOutput}},
		"Its output was not acknowledged in time": {{event: eventOutputUndelivered, err: errTimedOutOutput}, returned(errTimedOutOutput), returned(fmt.Errorf("mine: %w", errNotAcknowledged)), interrupted(overdue, returned(errNotAcknowledged))},
		"It returned an error after `Leaving(ctx)` was closed": {
			interrupted(leavingClosed, plain), interrupted(leavingClosed, returned(racecar.Skip(io.EOF))), interrupted(leavingClosed, returned(racecar.Fatal(io.EOF))),
			interrupted(leavingClosed, returned(racecar.Unavailable(io.EOF))),
		},
		"Its `ctx` was cancelled because the partition was lost or time was up": {
			interrupted(cancelled, plain), interrupted(cancelled, panicked), interrupted(cancelled, goexit),
			interrupted(cancelled, returned(racecar.DeadLetter(io.EOF))), interrupted(cancelled, returned(racecar.Fatal(io.EOF))),
		},
		"Its `ctx` was cancelled because it took longer than `max_poll_interval`": {interrupted(overdue, plain), interrupted(overdue, panicked), interrupted(overdue, goexit)},
		"Its process died, for the first or second time":                          {{event: eventDied, err: io.EOF, deaths: 1}, {event: eventDied, err: io.EOF, deaths: wire.PoisonedAfter - 1}},
		"Its process died for the third time":                                     {{event: eventDied, err: io.EOF, deaths: wire.PoisonedAfter}, {event: eventDied, err: io.EOF, deaths: 7}},
	}
}

type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

// Every outcome, of each shape of consumer, with retries left and without, with a
// dead-letter topic and without: what becomes of the messages is what the manual says.
func TestDecide(t *testing.T) {
	manual := decisionTable(t)
	rows := decisions()
	for row := range manual {
		if rows[row] == nil {
			t.Errorf("docs/handling-errors.md has a row that is not tested: %q", row)
		}
	}
	for row, outcomes := range rows {
		cells := manual[row]
		if cells == nil {
			t.Errorf("docs/handling-errors.md has no row %q", row)
			continue
		}
		for _, o := range outcomes {
			for shape := range 4 {
				for _, retriesLeft := range []bool{true, false} {
					for _, topic := range []string{"", "dlq"} {
						o.batch, o.transactional, o.messages = shape&1 != 0, shape&2 != 0, 1
						want := cells[1]
						switch {
						case topic == "":
							want = cells[4]
						case !retriesLeft && o.batch:
							want = cells[3]
						case !retriesLeft:
							want = cells[2]
						}
						if o.batch && o.event != eventDied {
							o.messages = 5
						}
						checkDecision(t, row, o, retriesLeft, topic, cells[0], want)
						checkFailedAt(t, row, o, retriesLeft, topic, cells)
					}
				}
			}
		}
	}
}

// policy is a configuration with a message that was tried before, and how often.
func policy(retriesLeft bool, topic string) (*config.Config, int) {
	c := &config.Config{MaxRetries: 3, DeadLetterTopic: topic}
	if retriesLeft {
		return c, 2
	}
	return c, 3
}

func checkDecision(t *testing.T, row string, o outcome, retriesLeft bool, topic, counts, want string) {
	t.Helper()
	c, attempts := policy(retriesLeft, topic)
	a := decide(o, attempts, c)
	where := fmt.Sprintf("%s: %+v, retries left %v, topic %q", row, o, retriesLeft, topic)
	if got := inWords(a); got != want || a.done != 0 || a.messages != o.messages {
		t.Errorf("%s: %q for %d messages after %d, want %q", where, got, a.messages, a.done, want)
	}
	if counted := a.remember && a.attempts == attempts+1; counted != (counts == "yes" || a.noTopic && want == "retried") {
		t.Errorf("%s: counted %v (%d attempts)", where, counted, a.attempts)
	}
	called := o.event == eventReturned || o.event == eventPanicked
	if keep := a.step == stepDone || a.step == stepDeadLetter && strings.HasPrefix(row, "It returned `DeadLetter"); called && a.keep != keep {
		t.Errorf("%s: output kept: %v", where, a.keep)
	}
	if report := o.err != nil && a.step != stepAgain; called && a.report != report {
		t.Errorf("%s: reported: %v", where, a.report)
	}
	if whole := a.step == stepRetry && o.batch; whole && a.size != o.messages {
		t.Errorf("%s: the next batch has %d messages", where, a.size)
	}
}

// checkFailedAt checks the same outcome for message 2 of a batch of 5: those before it
// are done, and it is treated as the only one.
func checkFailedAt(t *testing.T, row string, o outcome, retriesLeft bool, topic string, cells []string) {
	t.Helper()
	if !o.batch || o.event != eventReturned || o.err == nil {
		return
	}
	c, _ := policy(retriesLeft, topic)
	o.err = racecar.FailedAt(2, o.err)
	where := fmt.Sprintf("FailedAt, %s: %+v, topic %q", row, o, topic)
	want, messages := cells[1], 1 // attempts are those of the first message, which is done
	if topic == "" {
		want = cells[4]
	}
	if o.interrupted == leavingClosed || o.interrupted == cancelled {
		messages = 3
	}
	a := decide(o, 3, c)
	if got := inWords(a); got != want || a.done != 2 || a.messages != messages || !a.keep || a.size != 0 {
		t.Errorf("%s: %q for %d messages after %d, want %q", where, got, a.messages, a.done, want)
	}
	// In a transaction nobody knows whose the output was: what is done is called again by
	// itself, unless there is no time for it.
	o.mixed = true
	a = decide(o, 3, c)
	if size := 2; messages == 1 && (a.step != stepAgain || a.size != size || a.report || a.keep || a.done != 0) {
		t.Errorf("%s, mixed: %+v", where, a)
	}
	for _, index := range []int{-1, 5, 1000} {
		o.mixed, o.err = false, racecar.FailedAt(index, racecar.Skip(io.EOF))
		if a := decide(o, 0, c); a.done != 0 || a.messages != 5 || o.interrupted != leavingClosed && o.interrupted != cancelled &&
			(a.step != stepRetry || !strings.Contains(a.err.Error(), fmt.Sprintf("FailedAt(%d) of a batch of 5", index))) {
			t.Errorf("%s, %d: %+v", where, index, a)
		}
	}
}

// FailedAt of the first message, when it ends: what its call produced for a transaction
// may belong to the others, which are called again.
func TestDecideFailedAtTheFirst(t *testing.T) {
	c, _ := policy(true, "dlq")
	for err, size := range map[error]int{racecar.Skip(io.EOF): 1, racecar.DeadLetter(io.EOF): 1, io.EOF: 0} {
		o := outcome{err: racecar.FailedAt(0, err), messages: 5, batch: true, transactional: true, mixed: true}
		a := decide(o, 0, c)
		if size > 0 && (a.step != stepAgain || a.size != size) || size == 0 && (a.step != stepRetry || a.messages != 1 || a.keep) {
			t.Errorf("%v: %+v", err, a)
		}
	}
}

// The decisions about commits and dead-letter records.
func TestDecideWithoutACall(t *testing.T) {
	c, _ := policy(true, "dlq")
	for name, test := range map[string]struct {
		o    outcome
		want step
	}{
		"commit refused":                     {outcome{event: eventCommitRefused}, stepCommit},
		"transaction aborted":                {outcome{event: eventCommitRefused, transactional: true}, stepAgain},
		"dead letter too large":              {outcome{event: eventDeadLetterTooLarge}, stepTruncate},
		"dead letter too large all the same": {outcome{event: eventDeadLetterTooLarge, truncated: true}, stepBlock},
		"dead letter invalid":                {outcome{event: eventDeadLetterInvalid}, stepKey},
		"dead letter invalid with a key":     {outcome{event: eventDeadLetterInvalid, keyed: true}, stepBlock},
		"dead letter refused":                {outcome{event: eventDeadLetterRefused}, stepBlock},
		"dead letter not acknowledged":       {outcome{event: eventDeadLetterUndelivered}, stepResend},
	} {
		for _, batch := range []bool{false, true} {
			test.o.batch, test.o.messages, test.o.err = batch, 1, io.EOF
			if a := decide(test.o, 9, c); a.step != test.want || a.done != 0 || a.attempts != 9 || a.remember || a.keep {
				t.Errorf("%s: %+v", name, a)
			}
		}
	}
}

// inWords is an action as the manual has it.
func inWords(a action) string {
	switch a.step {
	case stepDone:
		return "done"
	case stepRetry:
		if a.pause >= 0 {
			return "retried after `d`"
		}
		return "retried"
	case stepAgain:
		return "handed over again"
	case stepSplit:
		return "one by one"
	case stepDeadLetter:
		return "dead-lettered"
	case stepHold:
		return "held"
	case stepAwait:
		return "held until it is available"
	case stepFatal:
		return "the worker ends"
	}
	return fmt.Sprint(a.step)
}

// decisionTable reads the table: the cells of each row, by the first.
func decisionTable(t *testing.T) map[string][]string {
	t.Helper()
	doc, err := os.ReadFile("../docs/handling-errors.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := bytes.Cut(doc, []byte("| What happened to the call |"))
	if !found {
		t.Fatal("docs/handling-errors.md has no table of what becomes of a message")
	}
	table, _, _ = bytes.Cut(table, []byte("\n\n"))
	rows := map[string][]string{}
	for _, line := range strings.Split(string(table), "\n")[2:] {
		var cells []string
		for _, cell := range strings.Split(strings.Trim(line, "| "), "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		if len(cells) != 6 {
			t.Fatalf("%d cells in %q", len(cells), line)
		}
		rows[cells[0]] = cells[1:]
	}
	return rows
}
