package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/test/harness"
	"github.com/racecar-go/racecar/test/judge"
)

// A message that kills its process takes along the transaction that its process has
// open, and those of the process after. It is dead-lettered after three deaths alone
// in hand, in a transaction with its offset; readers with read_committed see the copy
// of each other message once and in order, and nothing of its own.
func TestPoisonInTransactions(t *testing.T) {
	t.Parallel()
	for _, concurrency := range []string{"1", "4"} {
		t.Run("concurrency "+concurrency, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, 800)
			copies, letters := b.broker.Topic(partitions), b.group+".dead"
			bad := poison{3, 50}
			p := b.startTx(copies, concurrency, bad, "--dead-letter-topic", letters)
			b.awaitProcessed(b.total() - 1)
			b.produce(80)        // its partition goes on
			awaitCommitted(t, b) // what was processed may have died with its transaction
			stop(t, p)

			b.judgeDeaths(p)
			b.judgeCopies(copies, bad, b.counts[bad.partition])
			got := slices.Concat(readCommitted(t, b.broker.Addrs(), letters, partitions)...)
			if len(got) != 1 {
				t.Fatalf("%d dead letters", len(got))
			}
			h := headers(got[0])
			if string(got[0].Key) != bad.key() || h["racecar-dlq-offset"] != fmt.Sprint(bad.offset) || h["racecar-dlq-attempts"] != "3" ||
				!strings.Contains(h["racecar-dlq-error"], "exited with status 9") {
				t.Errorf("dead letter %q: %v", got[0].Key, h)
			}
		})
	}
}

// Without a dead-letter topic its partition is poisoned: what came before is
// committed, and nothing from it on.
func TestPoisonInTransactionsWithoutADeadLetterTopic(t *testing.T) {
	t.Parallel()
	b := newBed(t, 800)
	copies := b.broker.Topic(partitions)
	bad := poison{3, 50}
	p := b.startTx(copies, "1", bad)
	b.awaitProcessed(b.total() - 50) // all of the others, and half of 3
	b.awaitState(p, bad.partition, status.PartitionPoisoned)
	all := b.counts // what was processed may have died with its transaction
	b.counts = slices.Clone(all)
	b.counts[bad.partition] = int(bad.offset)
	awaitCommitted(t, b)
	b.counts = all
	stop(t, p)
	b.judgeDeaths(p)
	b.judgeCopies(copies, bad, int(bad.offset))
	if c := b.broker.Committed(b.group, b.topic, bad.partition); c != bad.offset {
		t.Errorf("committed %d of its partition, want %d", c, bad.offset)
	}
}

// startTx copies the bed's topic in transactions by two workers, slowly enough for
// copies to be stored when a process dies.
func (b *bed) startTx(to, concurrency string, bad poison, args ...string) *harness.Process {
	b.t.Helper()
	env := []string{"JOURNAL_OUT=" + to, "JOURNAL_CONCURRENCY=" + concurrency, "JOURNAL_DELAY=2ms", "JOURNAL_TRAP=" + bad.key() + "=exit"}
	return b.start(env, append(args, "--parallel-workers", "2", "--worker-restart-limit", "1", "--transaction-interval", "0.05", "JournalTx")...)
}

// judgeDeaths: three deaths alone in hand, after at most one beside others, and none
// counted against the slot.
func (b *bed) judgeDeaths(p *harness.Process) {
	b.t.Helper()
	if n := strings.Count(p.Stdout(), `msg="worker died"`); n != 3 && n != 4 {
		b.t.Errorf("%d deaths, want 3, or 4 when others were in hand", n)
	}
	if out := p.Stdout(); strings.Contains(out, "stopped permanently") || strings.Contains(out, "after a backoff") {
		b.t.Error("the deaths counted against the slot")
	}
}

// judgeCopies: each message but the poison has one visible copy, of the poison's
// partition those before an offset.
func (b *bed) judgeCopies(topic string, bad poison, before int) {
	b.t.Helper()
	produced := map[judge.Partition][]int64{}
	want := 0
	for n, count := range b.counts {
		at := judge.Partition{Topic: b.topic, Partition: int32(n)}
		if int32(n) == bad.partition {
			count = before
		}
		for o := range int64(count) {
			if int32(n) != bad.partition || o != bad.offset {
				produced[at] = append(produced[at], o)
				want++
			}
		}
	}
	copies := readCopies(b.t, b.broker.Addrs(), topic)
	for _, finding := range judge.Copies(produced, nil, copies, true) {
		b.t.Error(finding)
	}
	if n := len(slices.Concat(copies...)); n != want {
		b.t.Errorf("%d copies are visible, want %d", n, want)
	}
	if n := len(b.records()); n <= want {
		b.t.Errorf("%d calls for %d messages: no death had anything processed again", n, want)
	}
}
