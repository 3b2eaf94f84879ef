package e2e

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/ctl"
	"github.com/racecar-go/racecar/test/harness"
	"github.com/racecar-go/racecar/test/judge"
	"github.com/racecar-go/racecar/test/seeds"
)

// Random commands, kills, pauses and refused deliveries while messages arrive and are
// processed and copied: each at least once, in order, by one at a time. Only a kill or a
// failed delivery repeats messages, and only those processed shortly before. No message is
// committed without its copy.
func TestSchedules(t *testing.T) {
	t.Parallel()
	seeds.Run(t, func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		const partitions = 12
		b := newWideBed(t, partitions, 6000)
		out := b.broker.Topic(partitions)
		strategy := []string{"range,roundrobin", "sticky", "cooperative-sticky"}[r.IntN(3)]
		membership := []string{"run", "host", "dynamic"}[r.IntN(3)]
		concurrency := []string{"1", "4"}[r.IntN(2)]
		t.Logf("%s, membership %s, concurrency %s", strategy, membership, concurrency)
		socket := filepath.Join(t.TempDir(), "control.sock")
		if !b.broker.Real() {
			keepOutOfSync(b.broker.Embedded())
		}
		p := b.start([]string{"JOURNAL_DELAY=1ms", "JOURNAL_CONCURRENCY=" + concurrency, "JOURNAL_OUT=" + out},
			"--parallel-workers", "3", "--partition-assignment-strategy", strategy, "--membership", membership,
			"--static-id", b.group, "--offset-commit-interval", "0.5", "--worker-restart-limit", "-1",
			"--pause-timeout", "0.2", "--control-socket", socket, "Journal")
		b.awaitProcessed(100)
		control := ctl.NewClient(socket)
		defer control.Close()

		excuses := &excuses{}
		for range 6 + r.IntN(6) {
			what := r.IntN(9)
			switch what {
			case 0, 1:
				if pids := slices.Sorted(pidsOf(p)); len(pids) > 0 {
					excuses.add()
					_ = syscall.Kill(pids[r.IntN(len(pids))], syscall.SIGKILL) // it may have ended meanwhile
				}
			case 2:
				if pids := slices.Sorted(pidsOf(p)); len(pids) > 0 {
					_ = syscall.Kill(pids[r.IntN(len(pids))], syscall.SIGTERM)
				}
			case 3:
				p.Signal(syscall.SIGTTIN)
			case 4:
				if len(workers(p)) > 1 { // the last one stays
					p.Signal(syscall.SIGTTOU)
				}
			case 5:
				mark := p.Mark()
				p.Signal(syscall.SIGTSTP)
				p.WaitLineAfter(mark, `signal=stopped`) // two signals at once come in any order
				p.Signal(syscall.SIGCONT)
			case 6:
				n := int32(r.IntN(partitions))
				if err := control.Pause(t.Context(), "Journal", b.topic, n); err != nil {
					t.Fatal(err)
				}
				<-time.After(time.Duration(r.IntN(300)) * time.Millisecond)
				if err := control.Resume(t.Context(), "Journal", b.topic, n); err != nil {
					t.Fatal(err)
				}
			case 7:
				b.produce(partitions * (1 + r.IntN(50)))
			case 8:
				if !b.broker.Real() {
					refuseOne(b.broker.Embedded(), out, excuses.add)
				}
			}
			<-time.After(time.Duration(r.IntN(400)) * time.Millisecond) // when the next one comes is random, too
		}
		b.awaitProcessed(b.total())
		stop(t, p)

		e := b.evidence()
		e.Excused = func(first, _ judge.Record) bool { return excuses.cover(first.End) }
		b.judge(e)
		copies := origins(t, b.broker.Addrs(), out, partitions)
		for at, committed := range e.Committed {
			for o := range committed {
				if origin := fmt.Sprintf("%s/%d/%d", at.Topic, at.Partition, o); !copies[origin] {
					t.Errorf("committed up to %s/%d offset %d, but %s was not copied", at.Topic, at.Partition, committed, origin)
					break
				}
			}
		}
	})
}

// keepOutOfSync has members wait for their assignment at the door, so that none is
// removed or replaced while it waits in the embedded broker. That takes such a one, a
// worker that was killed, for one of those that join, counts those wrongly from then
// on, and answers no join any more.
func keepOutOfSync(c *kfake.Cluster) {
	var mu sync.Mutex
	changed := make(chan struct{})
	given := int32(0) // the generation whose assignment is there
	change := func(generation int32) {
		mu.Lock()
		defer mu.Unlock()
		given = max(given, generation)
		close(changed)
		changed = make(chan struct{})
	}
	c.ControlKey(int16(kmsg.SyncGroup), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := r.(*kmsg.SyncGroupRequest)
		if len(req.GroupAssignment) > 0 { // the leader's
			change(req.Generation)
			return nil, nil, false
		}
		mu.Lock()
		there, next := given >= req.Generation, changed
		mu.Unlock()
		if !there {
			c.SleepControl(func() { // until it is there or somebody joins
				select {
				case <-next:
				case <-time.After(5 * time.Second):
				}
			})
		}
		return nil, nil, false
	})
	c.ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		change(0)
		return nil, nil, false
	})
}

// excuses are the times around which messages may be processed again.
type excuses struct {
	mu  sync.Mutex
	ats []time.Time
}

func (e *excuses) add() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ats = append(e.ats, time.Now())
}

func (e *excuses) cover(processed time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.ContainsFunc(e.ats, func(at time.Time) bool {
		return processed.After(at.Add(-2*time.Second)) && processed.Before(at.Add(time.Second))
	})
}

// refuseOne has the broker refuse one request with copies for good, and tells of it.
func refuseOne(c *kfake.Cluster, topic string, refused func()) {
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidRecord, When: func(r kmsg.Request) bool {
		topics := r.(*kmsg.ProduceRequest).Topics
		if len(topics) == 0 || topics[0].Topic != topic {
			return false
		}
		refused()
		return true
	}})
}

// origins reads all of a topic of copies and returns what they are copies of.
func origins(t *testing.T, addrs []string, topic string, partitions int) map[string]bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	client, err := sarama.NewClient(addrs, sarama.NewConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	found := map[string]bool{}
	for n := range int32(partitions) {
		end, err := client.GetOffset(topic, n, sarama.OffsetNewest)
		if err != nil {
			t.Fatal(err)
		}
		pc, err := consumer.ConsumePartition(topic, n, sarama.OffsetOldest)
		if err != nil {
			t.Fatal(err)
		}
		for next := int64(0); next < end; {
			select {
			case m := <-pc.Messages():
				next = m.Offset + 1
				for _, h := range m.Headers {
					if string(h.Key) == "origin" {
						found[string(h.Value)] = true
					}
				}
			case <-ctx.Done():
				t.Fatalf("%s/%d: read up to %d of %d", topic, n, next, end)
			}
		}
		if err := pc.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func pidsOf(p *harness.Process) iter.Seq[int] { return maps.Values(workers(p)) }
