package e2e

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/racecar-go/racecar/ctl"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/test/judge"
)

// A message that kills its process is dead-lettered after three deaths alone in hand. Its key
// waits, everything else is processed.
func TestByKeyPoisonMessage(t *testing.T) {
	t.Parallel()
	for _, consumer := range []string{"Journal", "JournalBatch"} {
		t.Run(consumer, func(t *testing.T) {
			t.Parallel()
			const each, bad = 400, 57
			b := newKeyBed(t, 1)
			letters := b.group + ".dead"
			commits := b.observe()
			p, c := b.startWith([]string{"JOURNAL_TRAP=bad=exit"}, 4, 2*time.Millisecond, consumer,
				"--ordering", "key", "--dead-letter-topic", letters, "--worker-restart-limit", "1", "--fetch-messages", "20")
			c.statusUntil("the worker runs", allRunning(1))
			b.produce(each, func(n int) string {
				if n == bad {
					return "bad"
				}
				return fmt.Sprintf("key-%d", n%50)
			})
			b.awaitProcessed(b.total() - 1)
			b.awaitDeadLetters(letters, 1)
			b.awaitCommitted()
			e := b.evidence()
			e.AllowedRepeats, e.Commits = 20*b.total(), commits.end() // since the last commit before each death
			stop(t, p)
			e.Skipped = map[judge.Partition][]int64{partitionOf(b.topic): {bad}}
			b.judge(e)
			for _, r := range e.Processed {
				if r.Key == "bad" {
					t.Errorf("offset %d was processed, which kills", r.Offset)
				}
			}
			if out := p.Stdout(); strings.Contains(out, "stopped permanently") || strings.Contains(out, "after a backoff") {
				t.Error("the deaths counted against the slot")
			}
		})
	}
}

// Without retries by themselves, keys wait until somebody resumes their topic. An operator's
// pause begins nothing more of its partition.
func TestByKeyPauseAndResume(t *testing.T) {
	t.Parallel()
	const each = 300
	b := newKeyBed(t, 2)
	b.fail("key-1", "key-2", "key-3")
	p, c := b.start(4, 0, "Journal", "--ordering", "key", "--pause-timeout", "-1")
	key := func(n int) string { return fmt.Sprintf("key-%d", n%10) }
	b.produce(each, key)
	b.awaitProcessed(b.total() * 7 / 10)
	waits := func(p status.Partition) error {
		var keys []string
		for _, k := range p.OldestWaiting {
			if k.Until != nil || k.Attempts != 1 {
				return fmt.Errorf("%s waits until %v, after %d failures", k.Key, k.Until, k.Attempts)
			}
			keys = append(keys, k.Key)
		}
		if want := []string{"key-1", "key-2", "key-3"}; !slices.Equal(keys, want) || p.WaitingKeys != 3 {
			return fmt.Errorf("waiting keys: %d, %v", p.WaitingKeys, keys)
		}
		return nil
	}
	b.partitionUntil(c, "three keys that wait", waits)
	var out, words bytes.Buffer
	if code := ctl.Main([]string{"status", "--socket", b.socket}, strings.NewReader(""), &out, &words); code != 0 ||
		!strings.Contains(out.String(), "WAITING KEY") || !strings.Contains(out.String(), "key-2") {
		t.Errorf("status says:\n%s%s", out.String(), words.String())
	}
	b.fail()
	if err := c.Resume(t.Context(), "", b.topic, -1); err != nil {
		t.Fatal(err)
	}
	b.awaitProcessed(b.total())

	if err := c.Pause(t.Context(), "", b.topic, 0); err != nil {
		t.Fatal(err)
	}
	b.partitionUntil(c, "a paused partition", func(p status.Partition) error {
		if p.State != status.PartitionPaused || p.InHand > 0 {
			return fmt.Errorf("%s, %d in hand", p.State, p.InHand)
		}
		return nil
	})
	b.produce(each, key)
	b.awaitProcessed(b.total() - each)
	if n := b.processedOf(0); n != each {
		t.Errorf("%d of the paused partition were processed", n)
	}
	if err := c.Resume(t.Context(), "", b.topic, 0); err != nil {
		t.Fatal(err)
	}
	b.awaitProcessed(b.total())
	b.awaitCommitted()
	stop(t, p)
	b.judge(b.evidence())
}

// Without an order a message that fails delays no other, not even of its key.
func TestUnorderedFailingMessages(t *testing.T) {
	t.Parallel()
	const each = 300
	b := newKeyBed(t, 1)
	p, c := b.startWith([]string{"JOURNAL_TRAP=bad=fail"}, 4, 0, "Journal", "--ordering", "none", "--max-retries", "2", "--dead-letter-topic", b.group+".dead")
	b.produce(each, func(n int) string {
		if n%100 == 5 {
			return "bad"
		}
		return "key"
	})
	b.partitionUntil(c, "three messages that wait", func(p status.Partition) error {
		if p.WaitingKeys != 3 && p.Position < each {
			return fmt.Errorf("%d wait", p.WaitingKeys)
		}
		return nil
	})
	b.awaitProcessed(each - 3)
	b.awaitDeadLetters(b.group+".dead", 3)
	b.awaitCommitted()
	stop(t, p)
	e := b.evidence()
	e.Order, e.Skipped = judge.Unordered, map[judge.Partition][]int64{partitionOf(b.topic): {5, 105, 205}}
	b.judge(e)
}

// What a batch by key does to each message: copied, skipped or dead-lettered, once.
func TestByKeyOutcomesOfBatches(t *testing.T) {
	t.Parallel()
	b := newBed(t, 800)
	out, letters := b.broker.Topic(2), b.group+".dead"
	p := b.start([]string{"LEDGER_DIR=" + t.TempDir(), "LEDGER_OUT=" + out}, "--ordering", "key", "--concurrency", "4", "--fetch-messages", "20",
		"--pause-timeout", "0.05", "--dead-letter-topic", letters, "Ledger")
	kb := &keyBed{bed: b, keys: make([][]string, partitions)}
	kb.awaitCommitted()
	stop(t, p)
	copies := map[string]int{}
	for _, messages := range readCommitted(t, b.broker.Addrs(), out, 2) {
		for _, m := range messages {
			copies[string(m.Key)]++
		}
	}
	dead := map[string]int{}
	for _, m := range b.recordsOf(letters) {
		dead[string(m.Key)]++
	}
	for i, n := range b.counts {
		for number := range n {
			key, want, letter := fmt.Sprintf("%d-%d", i, number), 1, 0
			switch number % 50 {
			case 17:
				want = 0
			case 27:
				want, letter = 0, 1
			}
			if copies[key] != want || dead[key] != letter {
				t.Errorf("%s: %d copies, %d dead letters", key, copies[key], dead[key])
			}
		}
	}
}
