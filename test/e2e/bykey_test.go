package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/ctl/view"
	"github.com/racecar-go/racecar/internal/offsetmap"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/test/harness"
	"github.com/racecar-go/racecar/test/judge"
	"github.com/racecar-go/racecar/test/seeds"
)

// keyBed is a bed whose messages share keys.
type keyBed struct {
	*bed
	keys    [][]string // of each partition's messages; "": none
	failing string     // see consumers.EnvFailing
	socket  string
}

func newKeyBed(t *testing.T, partitions int) *keyBed {
	b := &keyBed{bed: newWideBed(t, partitions, 0), keys: make([][]string, partitions), failing: filepath.Join(t.TempDir(), "failing")}
	b.socket = filepath.Join(t.TempDir(), "s.sock")
	return b
}

// produce adds so many messages to each partition, with the key that key returns for the
// number of the message in this call.
func (b *keyBed) produce(each int, key func(n int) string) {
	b.t.Helper()
	conf := sarama.NewConfig()
	conf.Producer.Return.Successes = true
	conf.Producer.RequiredAcks = sarama.WaitForAll
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	p, err := sarama.NewSyncProducer(b.broker.Addrs(), conf)
	if err != nil {
		b.t.Fatal(err)
	}
	defer p.Close()
	for from := 0; from < each; from += 5000 {
		var batch []*sarama.ProducerMessage
		for n := from; n < min(each, from+5000); n++ {
			for i := range b.keys {
				m := &sarama.ProducerMessage{Topic: b.topic, Partition: int32(i), Value: sarama.StringEncoder(strings.Repeat("x", 100))}
				k := key(n)
				if k != "" {
					m.Key = sarama.StringEncoder(k)
				}
				b.keys[i] = append(b.keys[i], k)
				b.counts[i]++
				batch = append(batch, m)
			}
		}
		if err := p.SendMessages(batch); err != nil {
			b.t.Fatal(err)
		}
	}
}

// fail has messages with these keys fail from now on; none: no longer.
func (b *keyBed) fail(keys ...string) {
	b.t.Helper()
	if len(keys) == 0 {
		if err := os.Remove(b.failing); err != nil {
			b.t.Fatal(err)
		}
		return
	}
	writeFile(b.t, b.failing, strings.Join(keys, "\n"))
}

func (b *keyBed) start(concurrency int, delay time.Duration, consumer string, args ...string) (*harness.Process, control) {
	b.t.Helper()
	return b.startWith(nil, concurrency, delay, consumer, args...)
}

func (b *keyBed) startWith(env []string, concurrency int, delay time.Duration, consumer string, args ...string) (*harness.Process, control) {
	b.t.Helper()
	env = append(env, "JOURNAL_CONCURRENCY="+strconv.Itoa(concurrency), "JOURNAL_DELAY="+delay.String(), "JOURNAL_FAILING="+b.failing)
	args = slices.Concat([]string{"--control-socket", b.socket, "--pause-timeout", "0.2", "--offset-commit-interval", "0.5"}, args, []string{consumer})
	return b.bed.start(env, args...), newControl(b.t, b.socket)
}

// observer collects the group's commits.
type observer struct {
	b      *keyBed
	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	seen   map[judge.Partition][]judge.Commit
}

func (b *keyBed) observe() *observer {
	b.t.Helper()
	conf := sarama.NewConfig()
	conf.Version = sarama.V3_6_0_0
	admin, err := sarama.NewClusterAdmin(b.broker.Addrs(), conf)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	o := &observer{b: b, cancel: cancel, seen: map[judge.Partition][]judge.Commit{}}
	o.wg.Go(func() {
		defer admin.Close()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			if got, err := admin.ListConsumerGroupOffsets(b.group, map[string][]int32{b.topic: b.numbers()}); err == nil {
				o.note(got, time.Now()) // an error: the group may not exist yet
			}
		}
	})
	return o
}

func (o *observer) note(got *sarama.OffsetFetchResponse, at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, n := range o.b.numbers() {
		block := got.GetBlock(o.b.topic, n)
		if block == nil || block.Offset < 0 {
			continue
		}
		c := judge.Commit{At: at, Offset: block.Offset}
		m, err := offsetmap.Decode(block.Metadata)
		if err != nil {
			o.b.t.Errorf("commit of %d: %v", block.Offset, err)
		}
		if m.Applies(block.Offset, block.LeaderEpoch, offsetmap.TopicID{}) {
			for _, r := range m.Finished {
				c.Finished = append(c.Finished, judge.Range(r))
			}
		}
		p := judge.Partition{Topic: o.b.topic, Partition: n}
		o.seen[p] = append(o.seen[p], c)
	}
}

// awaitBeyond waits until so many messages of each partition are committed as finished beyond
// the committed offset.
func (o *observer) awaitBeyond(n int64) {
	o.b.t.Helper()
	harness.Eventually(o.b.t, fmt.Sprintf("%d messages committed beyond the offset", n), func() error {
		o.mu.Lock()
		defer o.mu.Unlock()
		for _, i := range o.b.numbers() {
			all, got := o.seen[judge.Partition{Topic: o.b.topic, Partition: i}], int64(0)
			if len(all) == 0 {
				return fmt.Errorf("nothing is committed in partition %d", i)
			}
			for _, r := range all[len(all)-1].Finished {
				got += r.Next - r.First
			}
			if got != n {
				return fmt.Errorf("partition %d: %d", i, got)
			}
		}
		return nil
	})
}

// end returns what was seen.
func (o *observer) end() map[judge.Partition][]judge.Commit {
	o.cancel()
	o.wg.Wait()
	return o.seen
}

func (b *keyBed) numbers() (all []int32) {
	for i := range b.keys {
		all = append(all, int32(i))
	}
	return all
}

// evidence is that of the bed, with the keys.
func (b *keyBed) evidence() judge.Evidence {
	b.t.Helper()
	e := b.bed.evidence()
	e.Order, e.Keys = judge.ByKey, map[judge.Partition][][]byte{}
	for i, keys := range b.keys {
		p := judge.Partition{Topic: b.topic, Partition: int32(i)}
		for _, k := range keys {
			if k == "" {
				e.Keys[p] = append(e.Keys[p], nil)
			} else {
				e.Keys[p] = append(e.Keys[p], []byte(k))
			}
		}
	}
	return e
}

// awaitCommitted waits until everything is committed.
func (b *keyBed) awaitCommitted() {
	b.t.Helper()
	harness.Eventually(b.t, "everything committed", func() error {
		for i, n := range b.counts {
			if c := b.broker.Committed(b.group, b.topic, int32(i)); c != int64(n) {
				return fmt.Errorf("committed %d of %d in partition %d", c, n, i)
			}
		}
		return nil
	})
}

// partitionUntil waits for the state of the bed's first partition.
func (b *keyBed) partitionUntil(c control, what string, ok func(status.Partition) error) status.Partition {
	b.t.Helper()
	var found status.Partition
	c.statusUntil(what, func(st status.Status) error {
		for _, p := range view.AllPartitions(st) {
			if p.Partition.Partition == 0 {
				found = p.Partition
				return ok(found)
			}
		}
		return fmt.Errorf("no worker has the partition")
	})
	return found
}

// Messages that arrive at 2,500 a second are processed as fast while keys fail, apart from those
// keys: one of 10,000 on a single partition, and 5 % of them on twelve.
func TestByKeyFailingKeysKeepTheRate(t *testing.T) {
	seeds.Measure(t)
	length := 20 * time.Second
	if os.Getenv(seeds.SoakVar) != "" {
		length = 5 * time.Minute
	}
	const perSecond, keys = 2500, 10_000
	for _, c := range []struct{ partitions, failing int }{{1, 1}, {12, keys / 20}} {
		t.Run(fmt.Sprintf("%d partitions, %d keys", c.partitions, c.failing), func(t *testing.T) {
			bestOfThree(t, 0.9, func() float64 { return rateBesideFailingKeys(t, c.partitions, c.failing, perSecond, keys, length) })
		})
	}
}

// rateBesideFailingKeys sends perSecond messages a second for so long, and returns the share of
// those of other keys that were processed meanwhile.
func rateBesideFailingKeys(t *testing.T, partitions, failingKeys, perSecond, keys int, length time.Duration) float64 {
	t.Helper()
	b := newKeyBed(t, partitions)
	p, ctl := b.start(75, 20*time.Millisecond, "Journal", "--ordering", "key")
	ctl.statusUntil("the worker runs", allRunning(1))
	var failing []string
	for i := range failingKeys {
		failing = append(failing, fmt.Sprintf("key-%d", i*(keys/failingKeys)))
	}
	b.fail(failing...)
	next := 0
	begun := time.Now()
	for sent := 0; time.Since(begun) < length; {
		<-time.After(50 * time.Millisecond) // the pace of the producer
		due := int(time.Since(begun).Seconds()*float64(perSecond)) / partitions
		b.produce(due-sent, func(int) string { next++; return fmt.Sprintf("key-%d", (next*7919)%keys) })
		sent = due
	}
	sent, records := b.total(), b.records()
	behind := time.Now()
	b.awaitProcessedBut(failing)
	others := float64(sent) / length.Seconds() * float64(keys-failingKeys) / float64(keys)
	t.Logf("%.0f messages/s of other keys were sent, %.0f/s processed when the last was sent, the rest within %v",
		others, rate(records), time.Since(behind).Round(time.Millisecond))
	b.fail()
	b.awaitProcessed(b.total())
	b.awaitCommitted()
	e := b.evidence()
	stop(t, p)
	b.judge(e)
	return rate(records) / others
}

// awaitProcessedBut waits until all messages were processed but those with these keys.
func (b *keyBed) awaitProcessedBut(failing []string) {
	b.t.Helper()
	n := b.total()
	is := map[string]bool{}
	for _, k := range failing {
		is[k] = true
	}
	for _, keys := range b.keys {
		for _, k := range keys {
			if is[k] {
				n--
			}
		}
	}
	b.awaitProcessed(n)
}

// rate is how many messages a second were processed, by when they ended.
func rate(records []judge.Record) (perSecond float64) {
	slices.SortFunc(records, func(a, b judge.Record) int { return a.End.Compare(b.End) })
	if len(records) < 2 {
		return 0
	}
	first, last := records[0].Start, records[len(records)-1].End
	return float64(len(records)) / last.Sub(first).Seconds()
}

// One worker with one partition has as many calls in hand as its concurrency, and processes
// that much faster. Each key stays in order.
func TestByKeyOnOnePartition(t *testing.T) {
	seeds.Measure(t)
	const concurrency, delay = 50, 20 * time.Millisecond
	bestOfThree(t, 0.9, func() float64 {
		b := newKeyBed(t, 1)
		p, c := b.start(concurrency, delay, "Journal", "--ordering", "key")
		c.statusUntil("the worker runs", allRunning(1))
		b.produce(25_000, func(n int) string { return fmt.Sprintf("key-%d", n%1000) })
		c.statusUntil("calls in hand", func(st status.Status) error {
			if got := view.Parallelism(st.Workers[0]); got != "50/50" {
				return fmt.Errorf("calls in hand: %s", got)
			}
			return nil
		})
		b.awaitProcessed(b.total())
		b.awaitCommitted()
		stop(t, p)
		b.judge(b.evidence())
		got, possible := rate(b.records()), concurrency/delay.Seconds()
		t.Logf("%.0f messages/s on one partition, %.0f are possible", got, possible)
		return got / possible
	})
}

// bestOfThree measures a share until it is as large as wanted, three times at most: the
// machine may have had something else to do.
func bestOfThree(t *testing.T, want float64, measure func() float64) {
	t.Helper()
	best := 0.0
	for i := 0; i < 3 && best < want; i++ {
		best = max(best, measure())
	}
	if best < want {
		t.Errorf("%.0f %%, want %.0f %%", 100*best, 100*want)
	}
}

// A key that fails delays nobody else; status names it, and lag does not count what is
// finished behind it. After a kill -9 nothing is repeated that the last commit had as
// finished.
func TestByKeyFailingKeyDelaysNoOther(t *testing.T) {
	t.Parallel()
	for _, consumer := range []string{"Journal", "JournalBatch"} {
		t.Run(consumer, func(t *testing.T) {
			const each = 4000
			b := newKeyBed(t, 3)
			b.fail("key-7")
			p, c := b.start(8, 0, consumer, "--ordering", "key", "--worker-restart-limit", "-1")
			c.statusUntil("the worker runs", allRunning(1))
			commits := b.observe()
			b.produce(each, func(n int) string {
				if n%10 == 9 {
					return ""
				}
				return fmt.Sprintf("key-%d", n%100)
			})
			waiting := each / 100 // in each partition
			b.awaitProcessed(b.total() - 3*waiting)
			good := func(p status.Partition) error {
				switch {
				case p.WaitingKeys != 1 || len(p.OldestWaiting) != 1 || p.OldestWaiting[0].Key != "key-7" || p.OldestWaiting[0].Offset != 7 || p.OldestWaiting[0].Attempts == 0:
					return fmt.Errorf("waiting keys: %d, %+v", p.WaitingKeys, p.OldestWaiting)
				case p.Position != 7 || p.Lag != int64(waiting) || p.Beyond != int64(each-7-waiting):
					return fmt.Errorf("position %d, lag %d, %d finished beyond", p.Position, p.Lag, p.Beyond)
				case p.State != status.PartitionRunning || p.WindowFull != nil:
					return fmt.Errorf("state %s, window full %+v", p.State, p.WindowFull)
				}
				return nil
			}
			b.partitionUntil(c, "the key that waits in the status", good)
			commits.awaitBeyond(int64(each - 7 - waiting))
			for _, w := range c.statusUntil("a worker", allRunning(1)).Workers {
				if err := syscall.Kill(w.PID, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			p.WaitLine(`msg="worker died"`)
			b.partitionUntil(c, "the key that waits in the next process", good)
			b.fail()
			b.awaitProcessed(b.total())
			b.awaitCommitted()
			e := b.evidence()
			e.Commits = commits.end()
			stop(t, p)
			b.judge(e) // which allows no repeats: all was committed
		})
	}
}

// Every second message has a key that fails, so that nothing is shorter in the map than a
// bit for each message, and the window becomes full. The worker is killed there again and
// again: nothing that the last commit had as finished is repeated.
func TestByKeyKilledInAFullWindow(t *testing.T) {
	kills := 3
	if os.Getenv(seeds.SoakVar) != "" {
		kills = 10
	}
	b := newKeyBed(t, 1)
	const messages = 60_000
	b.fail("bad")
	b.produce(messages, func(n int) string {
		if n%2 == 0 {
			return "bad"
		}
		return fmt.Sprintf("key-%d", n%999)
	})
	commits := b.observe()
	p, c := b.start(8, 0, "Journal", "--ordering", "key", "--worker-restart-limit", "-1")
	full := func(p status.Partition) error {
		if p.WindowFull == nil || p.WindowFull.Key != "bad" || p.WindowFull.Offset != 0 || p.Beyond < 8_000 || p.InHand > 0 {
			return fmt.Errorf("position %d, %d finished beyond, %d in hand, window full: %+v", p.Position, p.Beyond, p.InHand, p.WindowFull)
		}
		return nil
	}
	var memory []int64
	for range kills {
		commits.awaitBeyond(b.partitionUntil(c, "a full window", full).Beyond)
		st := c.statusUntil("a report", func(st status.Status) error {
			if len(st.Workers) != 1 || st.Workers[0].Report == nil || st.Workers[0].PID == 0 {
				return fmt.Errorf("%d workers", len(st.Workers))
			}
			return nil
		})
		memory = append(memory, st.Workers[0].Report.RSS>>20)
		mark := p.Mark()
		if err := syscall.Kill(st.Workers[0].PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		p.WaitLineAfter(mark, `msg="worker died"`)
	}
	found := b.partitionUntil(c, "a full window at the end", full)
	t.Logf("%d kills, %d of %d finished beyond, memory in MiB %v", kills, found.Beyond, messages, memory)
	b.fail()
	b.awaitProcessed(b.total())
	b.awaitCommitted()
	e := b.evidence()
	e.Commits = commits.end()
	stop(t, p)
	b.judge(e)
}

// While a window is full, a worker's memory stays as it is, however much is behind it.
func TestByKeyMemoryInAFullWindow(t *testing.T) {
	seeds.Measure(t)
	b := newKeyBed(t, 1)
	b.fail("bad")
	key := func(n int) string {
		if n%2 == 0 {
			return "bad"
		}
		return fmt.Sprintf("key-%d", n%999)
	}
	b.produce(100_000, key)
	p, c := b.start(8, 0, "Journal", "--ordering", "key")
	full := func(p status.Partition) error {
		if p.WindowFull == nil {
			return fmt.Errorf("%d finished beyond", p.Beyond)
		}
		return nil
	}
	b.partitionUntil(c, "a full window", full)
	var memory []int64
	for i := range 20 {
		if i == 5 {
			b.produce(200_000, key)
		}
		<-time.After(time.Second) // what is measured
		st, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		memory = append(memory, st.Workers[0].Report.RSS>>20)
	}
	found := b.partitionUntil(c, "a full window at the end", full)
	t.Logf("MiB, second by second: %v; %d finished beyond, lag %d", memory, found.Beyond, found.Lag)
	if early, late := slices.Max(memory[:10]), slices.Max(memory[10:]); late > early+16 || late > 120 {
		t.Errorf("at most %d MiB, then %d", early, late)
	}
	stop(t, p)
}

// A rolling restart changes the order and back while messages arrive and a key fails: nothing
// is lost or repeated, and no key out of order.
func TestOrderingChangesInARollingRestart(t *testing.T) {
	t.Parallel()
	b := newKeyBed(t, 4)
	b.workdir = t.TempDir()
	if err := os.Mkdir(filepath.Join(b.workdir, "config"), 0o755); err != nil {
		t.Fatal(err)
	}
	order := func(name string) {
		writeFile(t, filepath.Join(b.workdir, "config", "racecar.yml"), "common:\n  ordering: "+name+"\ndevelopment: {}\n")
	}
	order("partition")
	p, c := b.start(8, time.Millisecond, "Journal", "--parallel-workers", "2")
	c.statusUntil("two workers at work", allRunning(2))
	commits := b.observe()
	burst := func() {
		b.produce(1000, func(n int) string { return fmt.Sprintf("key-%d", n%50) })
	}
	burst()
	for i, next := range []string{"key", "partition", "none", "key", "partition"} {
		if i%2 == 0 {
			b.fail("key-7")
		}
		burst()
		order(next)
		if err := c.Restart(t.Context(), "", discard); err != nil {
			t.Fatalf("to %s: %v", next, err)
		}
		burst()
		if i%2 == 0 {
			b.fail()
		}
	}
	b.awaitProcessed(b.total())
	b.awaitCommitted()
	stop(t, p)
	e := b.evidence()
	e.Order, e.Commits = judge.Unordered, commits.end() // for a while there was none
	b.judge(e)
}
