package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/ctl"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/test/harness"
	"github.com/racecar-go/racecar/test/judge"
)

// poison is a message that kills whoever handles it.
type poison struct {
	partition int32
	offset    int64
}

func (p poison) key() string { return fmt.Sprintf("%d-%d", p.partition, p.offset) }

// A message that kills its process, in each way there is: after three deaths alone
// in hand it is dead-lettered. Everything else is processed, the deaths do not count
// against the slot, and the neighbour does not notice.
func TestPoisonMessage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		what     string
		consumer string
		args     []string
		env      []string
		reason   string // a regular expression
		first    int    // deaths that prove nothing yet
	}{
		"os.Exit in a batch":              {what: "exit", consumer: "JournalBatch", reason: "exited with status 9", first: 1},
		"2 GiB under worker_memory_limit": {what: "alloc", args: []string{"--worker-memory-limit", "128MiB"}, reason: "out of memory|failed to (allocate|create)|pthread_create failed|cannot allocate"},
		"runtime fatal beside others": {
			what: "fatal", env: []string{"JOURNAL_CONCURRENCY=4", "JOURNAL_DELAY=5ms"}, reason: "fatal error: (concurrent map|sync: unlock)", first: 1,
		},
		"endless loop": {what: "spin", args: []string{"--max-poll-interval", "1"}, reason: "stuck"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, 0)
			letters := b.group + ".dead"
			bad := poison{3, 50}
			consumer := c.consumer
			if consumer == "" {
				consumer = "Journal"
			}
			env := append([]string{"JOURNAL_TRAP=" + bad.key() + "=" + c.what}, c.env...)
			args := append([]string{
				"--parallel-workers", "2", "--dead-letter-topic", letters, "--worker-restart-limit", "1",
			}, c.args...)
			p := b.start(env, append(args, consumer)...)
			awaitBoth(t, p)
			b.produce(800)
			b.awaitProcessed(b.total() - 1)
			b.awaitDeadLetters(letters, 1)
			b.produce(80) // its partition goes on
			b.awaitProcessed(b.total() - 1)
			stop(t, p)

			if n := strings.Count(p.Stdout(), `msg="worker died"`); n != 3+c.first {
				t.Errorf("%d deaths, want %d", n, 3+c.first)
			}
			if out := p.Stdout(); strings.Contains(out, "stopped permanently") || strings.Contains(out, "after a backoff") {
				t.Error("the deaths counted against the slot")
			}
			b.judgePoison(letters, bad, "3", c.reason)
			by := map[string]map[int]bool{} // processes by worker
			var victim string
			for _, r := range b.records() {
				if by[r.Worker] == nil {
					by[r.Worker] = map[int]bool{}
				}
				by[r.Worker][r.PID] = true
				if r.Partition == bad.partition {
					victim = r.Worker
				}
			}
			for worker, pids := range by {
				if worker != victim && len(pids) != 1 {
					t.Errorf("its neighbour %s was %d processes", worker, len(pids))
				}
			}
			if len(by) != 2 {
				t.Errorf("workers %v took part", by)
			}
		})
	}
}

// awaitBoth waits until each of two workers has its half.
func awaitBoth(t *testing.T, p *harness.Process) {
	t.Helper()
	p.WaitLine("joined the group") // there is a control socket by then
	harness.Eventually(t, "two workers with four partitions each", func() error {
		st := statusJSON(t, p)
		for _, w := range st.Workers {
			if w.Report == nil || len(w.Report.Partitions) != partitions/2 {
				return fmt.Errorf("%s has not", w.Name())
			}
		}
		return nil
	})
}

// judgePoison: all but the poison was processed, and it alone was dead-lettered.
func (b *bed) judgePoison(letters string, bad poison, attempts, reason string) {
	b.t.Helper()
	e := b.evidence()
	e.AllowedRepeats = 4 * b.total() // since the last commit before each death
	e.Skipped = map[judge.Partition][]int64{{Topic: b.topic, Partition: bad.partition}: {bad.offset}}
	b.judge(e)
	for _, r := range e.Processed {
		if r.Partition == bad.partition && r.Offset == bad.offset {
			b.t.Error("the poison was processed")
		}
	}
	got := b.recordsOf(letters)
	if len(got) != 1 {
		b.t.Fatalf("%d dead letters", len(got))
	}
	h := headers(got[0])
	if string(got[0].Key) != bad.key() || string(got[0].Value) != strings.Repeat("x", 100) || h["racecar-dlq-offset"] != fmt.Sprint(bad.offset) ||
		h["racecar-dlq-attempts"] != attempts || !regexp.MustCompile(reason).MatchString(h["racecar-dlq-error"]) {
		b.t.Errorf("dead letter %q: %v", got[0].Key, h)
	}
}

// Without a dead-letter topic its partition is paused as poisoned and says so,
// until somebody resumes it.
func TestPoisonWithoutADeadLetterTopic(t *testing.T) {
	t.Parallel()
	b := newBed(t, 800)
	bad := poison{3, 50}
	p := b.start([]string{"JOURNAL_TRAP=" + bad.key() + "=exit"}, "--parallel-workers", "2", "--worker-restart-limit", "1", "Journal")
	b.awaitProcessed(b.total() - 50) // all of the others, and half of 3
	at := fmt.Sprintf("%s/%d", b.topic, bad.partition)
	b.awaitState(p, bad.partition, status.PartitionPoisoned)
	if out := ctlOutput(t, p, "status"); !strings.Contains(out, at) || !strings.Contains(out, "poisoned") || !strings.Contains(out, "killed its process 3 times") {
		t.Errorf("status says:\n%s", out)
	}
	died := strings.Count(p.Stdout(), `msg="worker died"`)
	ctlOutput(t, p, "resume", at) // tries it again
	harness.Eventually(t, "another death", func() error {
		if n := strings.Count(p.Stdout(), `msg="worker died"`); n == died {
			return fmt.Errorf("%d deaths", n)
		}
		return nil
	})
	stop(t, p)
	half := b.evidence()
	half.Unfinished, half.AllowedRepeats = true, 6*b.total()
	b.judge(half)
	if c := b.broker.Committed(b.group, b.topic, bad.partition); c > bad.offset {
		t.Errorf("committed %d", c)
	}
}

// A kill -9 of a worker from outside does not count against the message in hand: it is
// processed in the end, and not dead-lettered.
func TestKillsFromOutsidePoisonNoMessage(t *testing.T) {
	t.Parallel()
	b := newBed(t, 80)
	kills := 3 // the fourth start comes after seconds of backoff
	if b.broker.Real() {
		kills = 5
	}
	letters := b.group + ".dead"
	p := b.start([]string{"JOURNAL_TRAP=3-5=slow"}, "--dead-letter-topic", letters, "--worker-restart-limit", "-1", "Journal")
	mark := 0
	for range kills {
		p.WaitLineAfter(mark, "slow: begun")
		mark = p.Mark()
		if err := syscall.Kill(workers(p)["Journal[0]"], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	b.awaitProcessed(b.total())
	stop(t, p)
	e := b.evidence()
	e.AllowedRepeats = kills * b.total()
	b.judge(e)
	if got := b.recordsOf(letters); len(got) != 0 {
		t.Errorf("%d dead letters, the first of %s", len(got), got[0].Key)
	}
}

// recordsOf reads a topic as it is now.
func (b *bed) recordsOf(topic string) []*sarama.ConsumerMessage {
	b.t.Helper()
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	client, err := sarama.NewClient(b.broker.Addrs(), conf)
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.Close()
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		b.t.Fatal(err)
	}
	partitions, err := client.Partitions(topic)
	if err != nil {
		b.t.Fatalf("topic %s: %v", topic, err)
	}
	var got []*sarama.ConsumerMessage
	for _, n := range partitions {
		end, err := client.GetOffset(topic, n, sarama.OffsetNewest)
		if err != nil {
			b.t.Fatal(err)
		}
		if end == 0 {
			continue
		}
		pc, err := consumer.ConsumePartition(topic, n, sarama.OffsetOldest)
		if err != nil {
			b.t.Fatal(err)
		}
		for m := range pc.Messages() {
			got = append(got, m)
			if m.Offset == end-1 {
				break
			}
		}
		pc.AsyncClose()
	}
	return got
}

func (b *bed) awaitDeadLetters(topic string, n int) {
	b.t.Helper()
	harness.Eventually(b.t, "dead letters", func() error {
		if got := b.recordsOf(topic); len(got) != n {
			return fmt.Errorf("%d, not %d", len(got), n)
		}
		return nil
	})
}

func headers(m *sarama.ConsumerMessage) map[string]string {
	all := map[string]string{}
	for _, h := range m.Headers {
		all[string(h.Key)] = string(h.Value)
	}
	return all
}

// ctlOutput is what racecarctl prints about p; it must go well.
func ctlOutput(t *testing.T, p *harness.Process, args ...string) string {
	t.Helper()
	sockets, err := filepath.Glob(filepath.Join(p.Temp, "run", "*", "*.sock"))
	if more, _ := filepath.Glob(filepath.Join(p.Temp, "run", "*.sock")); err == nil {
		sockets = append(sockets, more...)
	}
	if len(sockets) != 1 {
		t.Fatalf("control sockets: %v", sockets)
	}
	var out, words bytes.Buffer
	if code := ctl.Main(append(slices.Clone(args), "--socket", sockets[0]), strings.NewReader(""), &out, &words); code != 0 {
		t.Fatalf("racecarctl %v: exit code %d: %s", args, code, words.String())
	}
	return out.String()
}

func statusJSON(t *testing.T, p *harness.Process) (st status.Status) {
	t.Helper()
	if err := json.Unmarshal([]byte(ctlOutput(t, p, "status", "--json")), &st); err != nil {
		t.Fatal(err)
	}
	return st
}

// partitionStates is what status says of all partitions, by number.
func partitionStates(t *testing.T, p *harness.Process) map[int32]status.Partition {
	t.Helper()
	all := map[int32]status.Partition{}
	for _, w := range statusJSON(t, p).Workers {
		if w.Report == nil {
			continue
		}
		for _, p := range w.Report.Partitions {
			all[p.Partition] = p
		}
	}
	return all
}

func (b *bed) awaitState(p *harness.Process, partition int32, want status.PartitionState) {
	b.t.Helper()
	harness.Eventually(b.t, fmt.Sprintf("partition %d %s", partition, want), func() error {
		if got := partitionStates(b.t, p)[partition]; got.State != want {
			return fmt.Errorf("it is %s (%s)", got.State, got.Reason)
		}
		return nil
	})
}
