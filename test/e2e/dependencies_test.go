package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/test/harness"
	"github.com/racecar-go/racecar/test/judge"
	"github.com/racecar-go/racecar/test/seeds"
)

// outageBed is a bed whose messages need the dependency "db", with a second topic whose
// messages need "mail".
type outageBed struct {
	*bed
	mail   string // the second topic
	mails  []int  // messages of each of its partitions
	needs  string // a directory with a file for each dependency that is there
	socket string
}

// longestPause is outage_max_pause in these tests.
const longestPause = 2 * time.Second

func newOutageBed(t *testing.T) *outageBed {
	b := &outageBed{bed: newBed(t, 80), needs: t.TempDir(), socket: filepath.Join(t.TempDir(), "s.sock")}
	b.mail, b.mails = b.broker.Topic(partitions), make([]int, partitions)
	b.comesBack("db")
	b.comesBack("mail")
	return b
}

// run starts a supervisor with that many workers.
func (b *outageBed) run(workers int, env []string, args ...string) *harness.Process {
	b.t.Helper()
	return b.runAt(b.socket, workers, env, args...)
}

func (b *outageBed) runAt(socket string, workers int, env []string, args ...string) *harness.Process {
	b.t.Helper()
	env = append([]string{
		"JOURNAL_TOPICS=" + b.topic + "," + b.mail,
		"JOURNAL_NEEDS=" + b.topic + "=" + filepath.Join(b.needs, "db") + "," + b.mail + "=" + filepath.Join(b.needs, "mail"),
	}, env...)
	return b.start(env, slices.Concat([]string{
		"--control-socket", socket, "--parallel-workers", fmt.Sprint(workers), "--max-retries", "3", "--pause-timeout", "0.1",
		"--outage-max-pause", longestPause.String(), "--offset-commit-interval", "0.1", "--log-level", "info",
	}, args, []string{"Journal"})...)
}

// settled waits until the first messages are processed and committed, by workers that have
// shared all partitions.
func (b *outageBed) settled(workers int) {
	b.t.Helper()
	newControl(b.t, b.socket).statusUntil("all partitions shared", func(st status.Status) error {
		owned := 0
		for _, w := range st.Workers {
			if w.State != status.Running || w.Report == nil || len(w.Report.Partitions) == 0 {
				return fmt.Errorf("%s is %s", w.Name(), w.State)
			}
			owned += len(w.Report.Partitions)
		}
		if len(st.Workers) != workers || owned != 2*partitions {
			return fmt.Errorf("%d partitions of %d workers", owned, len(st.Workers))
		}
		return nil
	})
	b.awaitProcessed(80)
	harness.Eventually(b.t, "all of it committed", func() error {
		for p := range partitions {
			if c := b.broker.Committed(b.group, b.topic, int32(p)); c != 10 {
				return fmt.Errorf("partition %d: %d", p, c)
			}
		}
		return nil
	})
}

// goes has a dependency go away.
func (b *outageBed) goes(name string) {
	b.t.Helper()
	if err := os.Remove(filepath.Join(b.needs, name)); err != nil {
		b.t.Fatal(err)
	}
}

// comesBack has a dependency come back.
func (b *outageBed) comesBack(name string) time.Time {
	b.t.Helper()
	writeFile(b.t, filepath.Join(b.needs, name), "")
	return time.Now()
}

// calls counts those that found a dependency unavailable.
func (b *outageBed) calls() int {
	calls, _ := needed{b.t, filepath.Join(b.needs, "db")}.calls(0)
	return len(calls)
}

// awaitCalls waits for so many more calls that find a dependency unavailable.
func (b *outageBed) awaitCalls(more int) {
	b.t.Helper()
	before := b.calls()
	harness.Eventually(b.t, fmt.Sprintf("%d calls that find it unavailable", more), func() error {
		if n := b.calls() - before; n < more {
			return fmt.Errorf("%d calls", n)
		}
		return nil
	})
}

// awaitHeld waits until the status shows that so many partitions are held for a dependency.
func (b *outageBed) awaitHeld(socket, dependency string, held int) {
	b.t.Helper()
	newControl(b.t, socket).statusUntil(fmt.Sprintf("%d held for %s", held, dependency), func(st status.Status) error {
		for _, o := range st.Consumers[0].Outages {
			if o.Dependency == dependency && o.Held == held && o.Error != "" {
				return nil
			}
		}
		return fmt.Errorf("%+v", st.Consumers[0].Outages)
	})
}

// awaitOver waits until the status shows no outage.
func (b *outageBed) awaitOver(socket string) {
	b.t.Helper()
	newControl(b.t, socket).statusUntil("no outage", func(st status.Status) error {
		if len(st.Consumers[0].Outages) > 0 {
			return fmt.Errorf("%+v", st.Consumers[0].Outages)
		}
		return nil
	})
}

// processedOfTopic counts the different messages of a topic that were processed since then.
func (b *outageBed) processedOfTopic(topic string, since time.Time) int {
	seen := map[string]bool{}
	for _, r := range b.records() {
		if r.Topic == topic && r.End.After(since) {
			seen[fmt.Sprint(r.Partition, r.Offset)] = true
		}
	}
	return len(seen)
}

// awaitProcessedOf waits until so many messages of a topic were processed.
func (b *outageBed) awaitProcessedOf(topic string, n int) {
	b.t.Helper()
	harness.Eventually(b.t, fmt.Sprintf("%d messages of %s processed", n, topic), func() error {
		if got := b.processedOfTopic(topic, time.Time{}); got < n {
			return fmt.Errorf("%d processed", got)
		}
		return nil
	})
}

func (b *outageBed) produceMail(messages int) {
	b.t.Helper()
	produceNumbered(b.t, b.broker.Addrs(), b.mail, messages, b.mails)
}

// judgeAll has everything judged, of both topics, and counts the dead letters.
func (b *outageBed) judgeAll(repeats, deadLetters int) {
	b.t.Helper()
	e := b.evidence()
	for p, n := range b.mails {
		at := judge.Partition{Topic: b.mail, Partition: int32(p)}
		for o := range n {
			e.Produced[at] = append(e.Produced[at], int64(o))
		}
		if c := b.broker.Committed(b.group, b.mail, int32(p)); c >= 0 {
			e.Committed[at] = c
		}
	}
	for _, m := range b.recordsOf(b.group + ".dlq") {
		h := headers(m)
		var p int32
		var o int64
		if _, err := fmt.Sscan(h["racecar-dlq-partition"]+" "+h["racecar-dlq-offset"], &p, &o); err != nil {
			b.t.Fatal(err)
		}
		at := judge.Partition{Topic: h["racecar-dlq-topic"], Partition: p}
		if e.Skipped == nil {
			e.Skipped = map[judge.Partition][]int64{}
		}
		e.Skipped[at] = append(e.Skipped[at], o)
		deadLetters--
	}
	if deadLetters != 0 {
		b.t.Errorf("%d dead letters less than expected", deadLetters)
	}
	e.AllowedRepeats = repeats
	b.judge(e)
}

// An outage costs no attempt: with max_retries 3 nothing is dead-lettered, and all goes on
// soon after its end. A message that is itself at fault is dead-lettered meanwhile, and what
// needs another dependency is served.
func TestOutageDeadLettersNothing(t *testing.T) {
	t.Parallel()
	b := newOutageBed(t)
	p := b.run(3, []string{"JOURNAL_TRAP==fail"}, "--status-addr", "127.0.0.1:0")
	page := pageOf(p)
	b.settled(3)
	b.goes("db")
	b.produce(400)
	b.awaitHeld(b.socket, "db", partitions)
	deadline := time.Now().Add(seeds.Length(5*time.Second, time.Minute))

	eventuallyAsk(t, page+"/readyz", http.StatusOK)
	if _, body := ask(t, "GET", page+"/readyz", "", ""); body != "ready\nJournal: outage of db\n" {
		t.Errorf("/readyz: %q", body)
	}
	shows(t, page, map[string]float64{`racecar_consumer_outage{consumer="Journal",dependency="db"}`: 1})
	if out := ctlOutput(t, p, "status"); !strings.Contains(out, "OUTAGE") || !strings.Contains(out, "Journal has an outage of db for ") || strings.Count(out, " running ") < 3 {
		t.Errorf("status says:\n%s", out)
	}
	b.poisonMail()
	b.produceMail(80)
	b.awaitProcessedOf(b.mail, 80)
	b.awaitDeadLetters(b.group+".dlq", 1)
	if n := b.processedOfTopic(b.topic, time.Time{}); n != 80 {
		t.Errorf("%d messages processed that need what is away", n-80)
	}
	for time.Now().Before(deadline) {
		b.awaitCalls(1)
	}

	back := b.comesBack("db")
	harness.Eventually(t, "a message processed after the end", func() error {
		if b.processedOfTopic(b.topic, back) == 0 {
			return fmt.Errorf("none")
		}
		return nil
	})
	t.Logf("the first message after %v", time.Since(back).Round(time.Millisecond))
	b.awaitProcessedOf(b.topic, 480)
	took := time.Since(back).Round(time.Millisecond)
	t.Logf("all of them after %v", took)
	if limit := longestPause + 2*time.Second; took > limit && os.Getenv(seeds.MeasureVar) != "" { // it is alone
		t.Errorf("going on took more than %v", limit)
	}
	b.awaitOver(b.socket)
	shows(t, page, map[string]float64{`racecar_consumer_outage{consumer="Journal",dependency="db"}`: 0})
	stop(t, p)
	b.judgeAll(0, 1)
}

// poisonMail produces a message that fails each call: one without a key.
func (b *outageBed) poisonMail() {
	b.t.Helper()
	b.broker.Produce(b.mail, 3, "mail")
	b.mails[3]++
}

// A message that finds its dependency unavailable for ever keeps nobody else waiting, in an
// outage or without one, and does not delay a stop.
func TestMessageThatIsAlwaysUnavailable(t *testing.T) {
	t.Parallel()
	b := newOutageBed(t)
	p := b.run(2, []string{"JOURNAL_TRAP=3-5=away"})
	b.awaitProcessed(75) // all but its partition's from it on
	b.awaitHeld(b.socket, "db", 1)
	b.goes("db")
	b.produce(80)
	b.awaitHeld(b.socket, "db", partitions)
	b.comesBack("db")
	b.awaitProcessed(145)
	b.awaitHeld(b.socket, "db", 1)
	within(t, "the stop", 10*time.Second, func() { stop(t, p) })
	if n := b.processedOf(3); n != 5 {
		t.Errorf("%d messages of its partition processed", n)
	}
	e := b.evidence()
	e.Unfinished = true
	b.judge(e)
}

// Partitions that are held move to another host, and back, and nothing is lost or repeated.
func TestHeldPartitionsMoveToAnotherHost(t *testing.T) {
	t.Parallel()
	b := newOutageBed(t)
	first := b.run(1, nil)
	b.settled(1)
	b.goes("db")
	b.produce(80)
	b.awaitHeld(b.socket, "db", partitions)
	other := filepath.Join(t.TempDir(), "s.sock")
	second := b.runAt(other, 1, nil)
	for _, socket := range []string{b.socket, other} {
		newControl(t, socket).statusUntil("a part of it held", func(st status.Status) error {
			if o := st.Consumers[0].Outages; len(o) != 1 || o[0].Held == 0 || o[0].Held == partitions {
				return fmt.Errorf("%+v", o)
			}
			return nil
		})
	}
	stop(t, first)
	b.awaitHeld(other, "db", partitions)
	b.comesBack("db")
	b.awaitProcessed(160)
	stop(t, second)
	b.judgeAll(0, 0)
}

// With outage_scope consumer everything waits, also in workers that need something else.
func TestOutageOfTheWholeConsumer(t *testing.T) {
	t.Parallel()
	b := newOutageBed(t)
	p := b.run(2, nil, "--outage-scope", "consumer")
	b.settled(2)
	b.goes("db")
	b.produce(1) // one partition finds out for all
	b.awaitCalls(1)
	newControl(t, b.socket).statusUntil("both workers in the outage", func(st status.Status) error {
		for _, w := range st.Workers {
			if !slices.Equal(w.Outages, []string{"db"}) {
				return fmt.Errorf("%s: %v", w.Name(), w.Outages)
			}
		}
		return nil
	})
	b.produceMail(80)
	b.awaitCalls(2)
	if n := b.processedOfTopic(b.mail, time.Time{}); n != 0 {
		t.Errorf("%d messages processed", n)
	}
	b.comesBack("db")
	b.awaitProcessed(161)
	stop(t, p)
	b.judgeAll(0, 0)
}

// A worker that is killed when all of it is held comes back to the same outage.
func TestOutageSurvivesItsWorkers(t *testing.T) {
	t.Parallel()
	b := newOutageBed(t)
	p := b.run(1, nil)
	b.settled(1)
	b.goes("db")
	b.produce(80)
	b.awaitHeld(b.socket, "db", partitions)
	victim := workers(p)["Journal[0]"]
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	newControl(t, b.socket).statusUntil("all held by another process", func(st status.Status) error {
		if o := st.Consumers[0].Outages; st.Workers[0].PID == victim || len(o) != 1 || o[0].Held != partitions {
			return fmt.Errorf("pid %d, %+v", st.Workers[0].PID, o)
		}
		return nil
	})
	b.comesBack("db")
	b.awaitProcessed(160)
	stop(t, p)
	b.judgeAll(0, 0)
}

// Workers whose supervisor does not run probe by themselves, and their messages go on.
func TestWorkersProbeWithoutTheirSupervisor(t *testing.T) {
	t.Parallel()
	b := newOutageBed(t)
	p := b.run(2, nil)
	b.settled(2)
	b.goes("db")
	b.produce(80)
	b.awaitHeld(b.socket, "db", partitions)
	p.Signal(syscall.SIGSTOP)
	b.awaitCalls(2)
	b.comesBack("db")
	b.awaitProcessed(160)
	p.Signal(syscall.SIGCONT)
	b.awaitOver(b.socket)
	stop(t, p)
	b.judgeAll(0, 0)
}

// Of two dependencies one is away: what needs the other one keeps its rate.
func TestOtherDependencyKeepsItsRate(t *testing.T) {
	seeds.Measure(t)
	b := newOutageBed(t)
	p := b.run(2, []string{"JOURNAL_DELAY=1ms"})
	b.settled(2)
	const messages = 8000
	done := 0
	rate := func() float64 {
		b.produceMail(messages)
		done += messages
		b.awaitProcessedOf(b.mail, done)
		var first, last time.Time
		for _, r := range b.records() {
			if r.Topic == b.mail && r.Offset >= int64((done-messages)/partitions) {
				if first.IsZero() || r.Start.Before(first) {
					first = r.Start
				}
				if r.End.After(last) {
					last = r.End
				}
			}
		}
		return messages / last.Sub(first).Seconds()
	}
	rate() // warm
	before := rate()
	b.goes("db")
	b.produce(80)
	b.awaitHeld(b.socket, "db", partitions)
	meanwhile := rate()
	for range 2 { // the machine may have had something else to do
		if meanwhile < 0.9*before {
			meanwhile = max(meanwhile, rate())
		}
	}
	t.Logf("%.0f messages a second, %.0f in the outage of the other dependency", before, meanwhile)
	if meanwhile < 0.9*before {
		t.Errorf("%.0f %% of the rate", 100*meanwhile/before)
	}
	b.comesBack("db")
	b.awaitProcessedOf(b.topic, 160)
	stop(t, p)
	b.judgeAll(0, 0)
}
