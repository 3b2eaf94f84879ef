package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/consumers"
	"github.com/racecar-go/racecar/test/harness"
)

// agent is a Datadog agent that adds up counts.
type agent struct {
	port   int
	mu     sync.Mutex
	counts map[string]uint64
}

func newAgent(t *testing.T) *agent {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{port: conn.LocalAddr().(*net.UDPAddr).Port, counts: map[string]uint64{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			a.take(string(buf[:n]))
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return a
}

func (a *agent) take(packet string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for line := range strings.Lines(packet) {
		fields := strings.Split(strings.TrimSpace(line), "|")
		name, value, _ := strings.Cut(fields[0], ":")
		if len(fields) > 1 && fields[1] == "c" {
			n, _ := strconv.ParseUint(value, 10, 64) // what is no number is missing in the sum
			a.counts[strings.TrimPrefix(name, "racecar.")] += n
		}
	}
}

func (a *agent) count(name string) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.counts[name]
}

// ledgers are what the calls of all processes have done, counted by themselves, which
// messages have no copy, and the last statistics of each process, added up.
func ledgers(t *testing.T, dir string) (all consumers.LedgerEntry, without map[string]bool, s racecar.Statistics) {
	t.Helper()
	without = map[string]bool{}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		var last racecar.Statistics
		for lines := bufio.NewScanner(f); lines.Scan(); {
			var e consumers.LedgerEntry
			if json.Unmarshal(lines.Bytes(), &e) != nil {
				break // it is being written
			}
			if e.Statistics != nil {
				last = *e.Statistics
			}
			if e.Without != "" {
				without[e.Without] = true
			}
			all.Calls, all.Errors, all.Done = all.Calls+e.Calls, all.Errors+e.Errors, all.Done+e.Done
			all.Skipped, all.Dead, all.Produced, all.Refused = all.Skipped+e.Skipped, all.Dead+e.Dead, all.Produced+e.Produced, all.Refused+e.Refused
		}
		_ = f.Close()
		s.Messages, s.Errors = s.Messages+last.Messages, s.Errors+last.Errors
		s.Producer.Messages += last.Producer.Messages
		s.Producer.Acknowledged += last.Producer.Acknowledged
		s.Producer.Errors += last.Producer.Errors
	}
	return all, without, s
}

// numbers is a bed of which all that happens is counted by hand.
type numbers struct {
	*bed
	consumer string
	ledger   string
	out      string
	agent    *agent
	url      string
}

// truth is what the counters must be, by the ledgers.
func (x *numbers) truth() (want map[string]uint64, s racecar.Statistics) {
	x.t.Helper()
	e, without, s := ledgers(x.t, x.ledger)
	// What an aborted transaction held is not produced, but for what was refused.
	acknowledged := uint64(x.total() - len(without))
	want = map[string]uint64{
		status.CountMessages: e.Done + e.Skipped + e.Dead, status.CountErrors: e.Errors, status.CountSkipped: e.Skipped, status.CountDeadLetters: e.Dead,
		status.CountProduced: acknowledged + e.Refused, status.CountAcknowledged: acknowledged, status.CountProduceErrors: e.Refused,
		status.CountBatches: e.Calls, "produce": e.Produced,
	}
	if x.consumer == "LedgerTx" {
		want[status.CountBatches] = 0
	}
	want["calls"] = e.Calls
	return want, s
}

// everyMessage waits until all messages are committed and the workers have told Datadog
// and OnStatistics, without asking the supervisor.
func (x *numbers) everyMessage() {
	x.t.Helper()
	harness.Eventually(x.t, "all messages committed", func() error {
		for p, n := range x.counts {
			if got := x.broker.Committed(x.group, x.topic, int32(p)); got < int64(n) {
				return fmt.Errorf("partition %d: %d of %d", p, got, n)
			}
		}
		return nil
	})
	harness.Eventually(x.t, "Datadog and OnStatistics", func() error {
		want, s := x.truth()
		got := map[string]uint64{status.CountMessages: s.Messages, status.CountErrors: s.Errors, status.CountProduced: s.Producer.Messages, status.CountAcknowledged: s.Producer.Acknowledged, status.CountProduceErrors: s.Producer.Errors}
		for name, n := range got {
			if n != want[name] {
				return fmt.Errorf("OnStatistics: %s is %d, in truth %d", name, n, want[name])
			}
		}
		failed := x.agent.count("consumer.process_message.errors") + x.agent.count("consumer.process_batch.errors")
		for name, pair := range map[string][2]uint64{
			"messages":     {x.agent.count("consumer.messages"), want[status.CountMessages]},
			"errors":       {failed, want[status.CountErrors]},
			"dead letters": {x.agent.count("consumer.dead_letters"), want[status.CountDeadLetters]},
			"produced":     {x.agent.count("producer.produce.messages"), want["produce"]},
			"acknowledged": {x.agent.count("producer.ack.messages"), want[status.CountAcknowledged]},
			"lost":         {x.agent.count("producer.produce.delivery.errors"), want[status.CountProduceErrors]},
		} {
			if pair[0] != pair[1] {
				return fmt.Errorf("Datadog: %s is %d, in truth %d", name, pair[0], pair[1])
			}
		}
		return nil
	})
}

// asked holds what the supervisor tells against the truth.
func (x *numbers) asked() {
	x.t.Helper()
	want, _ := x.truth()
	socket := statusOf(x.t, x.url, "").Socket
	harness.Eventually(x.t, "the supervisor's numbers", func() error {
		page, command, metrics := statusOf(x.t, x.url, ""), byCommand(x.t, socket), scrape(x.t, x.url)
		label := fmt.Sprintf(`{consumer="%s",group="%s"}`, x.consumer, x.group)
		for name, n := range want {
			if name == "produce" || name == "calls" {
				continue
			}
			if a, b, c := page.Totals[name], command.Totals[name], metrics["racecar_"+name+"_total"+label]; a != n || b != n || c != float64(n) {
				return fmt.Errorf("%s: the page has %d, status --json %d, /metrics %v, in truth %d", name, a, b, c, n)
			}
		}
		if n := metrics["racecar_process_seconds_count"+label]; n != float64(want["calls"]) {
			return fmt.Errorf("%v calls, in truth %d", n, want["calls"])
		}
		return nil
	})
}

// refuseLarge has the embedded broker refuse what a real one refuses by its topic's
// max.message.bytes.
func (x *numbers) refuseLarge() {
	if x.broker.Real() {
		return
	}
	cluster := x.broker.Embedded()
	cluster.ControlKey(kmsg.Produce.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		resp, large := req.ResponseKind().(*kmsg.ProduceResponse), false
		for _, topic := range req.(*kmsg.ProduceRequest).Topics {
			rt := kmsg.ProduceResponseTopic{Topic: topic.Topic, TopicID: topic.TopicID}
			for _, p := range topic.Partitions {
				rp := kmsg.ProduceResponseTopicPartition{Partition: p.Partition, ErrorCode: kerr.NotEnoughReplicas.Code} // to be sent again
				if len(p.Records) >= consumers.LedgerTooLarge {
					rp.ErrorCode, large = kerr.MessageTooLarge.Code, true
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, large
	})
}

// 1,000 messages are done, fail, are skipped and dead-lettered, by FailedAt in batches,
// and in transactions of which one aborts, while a worker is killed, all are rolled and
// their number changes. Whoever tells numbers tells those that were counted by hand.
func TestAllNumbersAreTrue(t *testing.T) {
	t.Parallel()
	for _, consumer := range []string{"Ledger", "LedgerTx"} {
		t.Run(consumer, func(t *testing.T) {
			t.Parallel()
			x := &numbers{bed: newBed(t, 0), consumer: consumer, ledger: t.TempDir(), agent: newAgent(t)}
			x.out = x.broker.Group() + ".out"
			x.broker.CreateTopicWith(x.out, 2, map[string]string{"max.message.bytes": strconv.Itoa(consumers.LedgerTooLarge / 2)})
			if consumer == "LedgerTx" {
				x.refuseLarge()
			}
			p := x.start([]string{consumers.EnvLedger + "=" + x.ledger, consumers.EnvLedgerOut + "=" + x.out},
				"--status-addr", "127.0.0.1:0", "--parallel-workers", "2", "--pause-timeout", "0.1", "--offset-commit-interval", "0.2",
				"--statistics-interval", "0.5", "--dead-letter-topic", x.group+".dlq", "--fetch-messages", "20",
				"--datadog-enabled", "--datadog-host", "127.0.0.1", "--datadog-port", strconv.Itoa(x.agent.port), consumer)
			x.url = pageOf(p)
			// A call that ends while its partition is released counts for nothing and is made
			// again, which the ledgers cannot know.
			x.broker.AwaitGroup(x.group, 2)
			x.produce(400)
			x.everyMessage()

			// Nobody has asked yet: what the worker had counted is not lost.
			if err := syscall.Kill(workers(p)[consumer+"[0]"], syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			x.asked()
			socket := newControl(t, statusOf(t, x.url, "").Socket)
			socket.statusUntil("the replacement", allRunning(2))
			more := func(workers, n int) {
				t.Helper()
				x.broker.AwaitGroup(x.group, workers)
				x.produce(n)
				x.everyMessage()
				x.asked()
			}
			more(2, 300)
			if err := socket.Restart(context.Background(), "", discard); err != nil {
				t.Fatal(err)
			}
			socket.statusUntil("all rolled", allRunning(2))
			more(2, 100)
			for _, n := range []int{3, 1} {
				if err := socket.Scale(context.Background(), "", n, discard); err != nil {
					t.Fatal(err)
				}
				socket.statusUntil("scaled", allRunning(n))
				more(n, 100)
			}
			wantLedgers(t, x)
			stop(t, p)
		})
	}
}

// wantLedgers: by their numbers 24 of the messages are skipped and 16 or 8 are
// dead-lettered, and only a transaction has aborted.
func wantLedgers(t *testing.T, x *numbers) {
	t.Helper()
	e, without, _ := ledgers(t, x.ledger)
	dead := 16
	if x.consumer == "LedgerTx" {
		dead = 8
	}
	if len(without) != 24+dead || e.Dead != uint64(dead) || (e.Refused > 0) != (x.consumer == "LedgerTx") {
		t.Errorf("%d messages without a copy, %d of them dead-lettered, %d copies refused", len(without), e.Dead, e.Refused)
	}
}
