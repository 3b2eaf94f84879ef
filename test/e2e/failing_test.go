package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/test/harness"
	"github.com/racecar-go/racecar/test/judge"
)

// kill -9 between the third attempt and the fourth: whoever comes next says that it
// is the fourth. After it the message is dead-lettered, once and byte for byte, and a
// replay brings it back, once however often it is run.
func TestAttemptsSurviveAKillAndReplayBringsBack(t *testing.T) {
	t.Parallel()
	b := newBed(t, 80)
	letters := b.group + ".dlq"
	p := b.start([]string{"JOURNAL_TRAP=3-5=fail"}, "--max-retries", "3", "--pause-timeout", "0.5", "--pause-with-exponential-backoff", "Journal")
	p.WaitLine(`msg="message failed, to be retried" attempt=3 .* offset=5 partition=3`)
	harness.Eventually(t, "the third attempt committed", func() error {
		if got := b.commitMetadata(3); got != "racecar:1;5;3" {
			return fmt.Errorf("metadata %q", got)
		}
		return nil
	})
	mark := p.Mark()
	victim := workers(p)["Journal[0]"]
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	line := p.WaitLineAfter(mark, `msg="message failed.* offset=5 partition=3`)
	if !strings.Contains(line, `msg="message failed, to be dead-lettered" attempt=4 `) || strings.Contains(line, fmt.Sprintf("pid=%d ", victim)) {
		t.Errorf("the next attempt said: %s", line)
	}
	b.awaitDeadLetters(letters, 1)
	b.awaitProcessed(79)
	stop(t, p)
	e := b.evidence()
	e.AllowedRepeats = b.total()
	e.Skipped = map[judge.Partition][]int64{{Topic: b.topic, Partition: 3}: {5}}
	b.judge(e)
	letter := b.recordsOf(letters)[0]
	if h := headers(letter); h["racecar-dlq-attempts"] != "4" || h["racecar-dlq-error"] != "told to fail" || h["racecar-dlq-offset"] != "5" {
		t.Errorf("dead letter with %v", h)
	}

	// The consumer is mended, and the message comes back.
	p = b.start(nil, "--max-retries", "3", "Journal")
	p.WaitLine(`state=running`)
	list := ctlOutput(t, p, "dlq", "list", "--json", "Journal") // group and brokers are the supervisor's
	var shown struct {
		Key      string
		Replayed bool
	}
	if err := json.Unmarshal([]byte(list), &shown); err != nil || shown.Key != "3-5" || shown.Replayed {
		t.Errorf("dlq list: %v: %s", err, list)
	}
	if out := ctlOutput(t, p, "dlq", "replay", "Journal"); out != "Replayed 1 dead letter\n" {
		t.Errorf("dlq replay: %q", out)
	}
	if out := ctlOutput(t, p, "dlq", "replay", "Journal"); out != "No dead letters to replay\n" {
		t.Errorf("a second dlq replay: %q", out)
	}
	harness.Eventually(t, "the message processed", func() error {
		if n := b.processedByKey("3-5"); n != 1 {
			return fmt.Errorf("%d times", n)
		}
		return nil
	})
	b.produce(80) // what comes after a second copy, if there were one
	b.awaitProcessed(79 + 1 + 80)
	if n := b.processedByKey("3-5"); n != 1 {
		t.Errorf("it was brought back %d times", n)
	}
	stop(t, p)
}

func (b *bed) processedByKey(key string) (n int) {
	b.t.Helper()
	for _, r := range b.records() {
		if r.Key == key {
			n++
		}
	}
	return n
}

// commitMetadata is what the group has committed beside its offset.
func (b *bed) commitMetadata(partition int32) string {
	b.t.Helper()
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	admin, err := sarama.NewClusterAdmin(b.broker.Addrs(), conf)
	if err != nil {
		b.t.Fatal(err)
	}
	defer admin.Close()
	got, err := admin.ListConsumerGroupOffsets(b.group, map[string][]int32{b.topic: {partition}})
	if err != nil {
		b.t.Fatal(err)
	}
	if block := got.GetBlock(b.topic, partition); block != nil {
		return block.Metadata
	}
	return ""
}

// racecarctl pause and resume on a running product: of one partition and of a topic,
// shown by status, over the death of a worker.
func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	b := newBed(t, 80)
	p := b.start(nil, "--parallel-workers", "2", "Journal")
	awaitBoth(t, p)
	b.awaitProcessed(80)
	at := fmt.Sprintf("%s/3", b.topic)
	if out := ctlOutput(t, p, "pause", at); !strings.Contains(out, "Paused "+at) {
		t.Errorf("pause printed %q", out)
	}
	b.awaitState(p, 3, status.PartitionPaused)
	if out := ctlOutput(t, p, "status"); !strings.Contains(out, at) || !strings.Contains(out, "paused") {
		t.Errorf("status says:\n%s", out)
	}
	for _, pid := range workers(p) { // whoever comes after it keeps to the order
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	b.produce(80)
	b.awaitProcessed(150) // all but those of partition 3
	b.awaitState(p, 3, status.PartitionPaused)
	if n := b.processedOf(3); n != 10 {
		t.Errorf("%d of the paused partition were processed", n)
	}
	if out := ctlOutput(t, p, "resume", at); !strings.Contains(out, "Resumed "+at) {
		t.Errorf("resume printed %q", out)
	}
	b.awaitProcessed(160)
	ctlOutput(t, p, "pause", b.topic)
	for n := range int32(partitions) {
		b.awaitState(p, n, status.PartitionPaused)
	}
	ctlOutput(t, p, "resume", b.topic)
	b.produce(8)
	b.awaitProcessed(168)
	ctlOutput(t, p, "pause", b.topic+"/100") // a partition that is yet to come
	if out := ctlOutput(t, p, "status"); !strings.Contains(out, b.topic+"/100 of Journal is paused by an operator") {
		t.Errorf("status says:\n%s", out)
	}
	stop(t, p)
	e := b.evidence()
	e.AllowedRepeats = 80 // by the kills
	b.judge(e)
}

func (b *bed) processedOf(partition int32) int {
	seen := map[int64]bool{}
	for _, r := range b.records() {
		if r.Partition == partition {
			seen[r.Offset] = true
		}
	}
	return len(seen)
}

// A permanent failure appears once in the log, with its worker, and once as the last
// line.
func TestPermanentFailureIsReportedOnce(t *testing.T) {
	t.Parallel()
	b := newBed(t, 0)
	p := b.start([]string{"JOURNAL_BOOT=fatal"}, "--log-level", "info", "Journal")
	if code := p.Wait(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	const text = "told to fail for good"
	var told []string
	for _, l := range logLines(p.Stdout()) {
		if strings.Contains(fmt.Sprint(l), text) {
			told = append(told, l.msg+" of "+l.fields["worker"])
		}
	}
	if len(told) != 1 || told[0] != "worker died of Journal[0]" {
		t.Errorf("the log tells it in %q", told)
	}
	lines := strings.Split(strings.TrimSpace(p.Stderr()), "\n")
	if n := strings.Count(p.Stderr(), text); n != 1 || !strings.HasPrefix(lines[len(lines)-1], "=> Crashed: ") || !strings.Contains(lines[len(lines)-1], text) {
		t.Errorf("stderr tells it %d times:\n%s", n, p.Stderr())
	}
}

// So does a missing right.
func TestMissingRightIsReportedOnce(t *testing.T) {
	t.Parallel()
	b := newBed(t, 0)
	cluster := b.broker.Embedded()
	cluster.ControlKey(kmsg.FindCoordinator.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
		resp.ErrorCode = kerr.GroupAuthorizationFailed.Code
		return resp, nil, true
	})
	p := b.start(nil, "--log-level", "info", "Journal")
	if code := p.Wait(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if n := strings.Count(p.Stdout(), "authorized"); n != 1 {
		t.Errorf("the log tells it %d times:\n%s", n, p.Stdout())
	}
	if strings.Contains(p.Stdout(), "level=warning") {
		t.Errorf("warnings beside it:\n%s", p.Stdout())
	}
	if n := strings.Count(p.Stderr(), "authorized"); n != 1 {
		t.Errorf("stderr tells it %d times:\n%s", n, p.Stderr())
	}
}
