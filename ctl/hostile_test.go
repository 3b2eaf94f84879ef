package ctl

import (
	"bytes"
	"context"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
	"github.com/twmb/franz-go/pkg/kgo"
)

// hostile is text that commands a terminal, forges a line and turns the direction.
const hostile = "x\x1b[2J\x1b]0;title\a\r\nError: forged\n=> Crashed: forged\u202egnp\u2066\u009b31m\u2028y"

// wantPrintable checks that both streams are plain text without a forged line.
func wantPrintable(t *testing.T, what, out string) {
	t.Helper()
	if i := strings.IndexFunc(out, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("%s prints %q", what, out[i:min(len(out), i+20)])
	}
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "Error: forged") || strings.HasPrefix(line, "=> Crashed") {
			t.Errorf("%s prints a forged line: %q", what, out)
		}
	}
}

// Text from a supervisor's socket, a broker or a record reaches the terminal without
// control characters, whichever command prints it.
func TestCommandsPrintOnlyText(t *testing.T) {
	b := testbroker.New(t)
	k := kafkaRun{t: t, addr: strings.Join(b.Addrs(), ","), dir: filepath.Join(t.TempDir(), "run")}
	topic, letters := b.Topic(1), b.Topic(1)
	headers := []kgo.RecordHeader{{Key: hostile, Value: []byte(hostile)}}
	for _, name := range []string{"topic", "error", "attempts", "at", "timestamp"} {
		headers = append(headers, kgo.RecordHeader{Key: "racecar-dlq-" + name, Value: []byte(hostile)})
	}
	headers = append(headers, kgo.RecordHeader{Key: "racecar-dlq-partition", Value: []byte("0")}, kgo.RecordHeader{Key: "racecar-dlq-offset", Value: []byte("1")},
		kgo.RecordHeader{Key: "racecar-dlq-group", Value: []byte(hostile)})
	for _, to := range []string{topic, letters} {
		k.write(&kgo.Record{Topic: to, Key: []byte(hostile), Value: []byte(hostile), Headers: headers})
	}
	conf := settingsOf("A", topic, k.addr, topic)
	conf.Config.DeadLetterTopic = letters
	sup := k.supervised(conf)
	now := time.Now()
	sup.st = status.Status{
		Version: 1, PID: 1, State: hostile, Pidfile: hostile, Socket: hostile,
		Consumers: []status.Consumer{{Name: "A", Group: hostile, State: hostile, Reason: hostile}, {Name: hostile, Group: hostile}},
		Workers: []status.Worker{{
			Consumer: "A", PID: 2, State: hostile, Detail: hostile, LastExit: hostile, LastStderr: hostile, Group: hostile, StartedAt: &now,
			Report: &status.Report{
				Partitions: []status.Partition{{Topic: hostile, State: hostile, Reason: hostile, LastError: hostile}},
				Problems:   []status.Problem{{Topic: hostile, Error: hostile}},
			},
		}},
	}
	sup.config = []ConsumerConfig{{Consumer: "A", Keys: []config.Setting{{Key: hostile, Value: hostile, Source: hostile, Written: hostile}}}, {Consumer: hostile, Keys: []config.Setting{{Key: hostile, Written: hostile}}}}
	sup.steps = []Progress{{Worker: hostile, State: hostile, Message: hostile}}
	commands := [][]string{
		{"status"}, {"status", "-p"}, {"status", "--json"}, {"status", hostile}, {"stop", hostile}, {"restart"}, {"scale", "1"}, {"pause", hostile}, {"resume", hostile + "/1"},
		{"pause", "t/" + hostile}, {"quiet", hostile}, {"continue"}, {"config"}, {"config", "--json"}, {"log-level", hostile}, {"dump"}, {"lag"}, {"lag", "--json"}, {"lag", hostile},
		{"lag", "--group", hostile}, {"reset-offsets", "A", "--to", hostile}, {"reset-offsets", "A", "-t", hostile, "--to", "latest"}, {"reset-offsets", hostile, "--to", "latest"},
		{"reset-offsets", "A", "--to", "latest", "--dry-run"}, {"consume", topic}, {"consume", topic, "--json"}, {"consume", hostile}, {"consume", topic, "--from", hostile},
		{"dlq", "list", "A", "--all-groups"}, {"dlq", "list", "A", "--all-groups", "--json"}, {"dlq", "list", hostile}, {"dlq", "replay", "A", "--all-groups", "--dry-run"},
		{"dlq", "replay", "A", "--all-groups"}, {"dlq", "replay", "A", "--all-groups", "--to", hostile}, {"dlq", "replay", "--group", hostile}, {"produce", "-t", hostile, "-v", "x"},
		{"top"}, {"liveness_probe"}, {hostile}, {"status", hostile, hostile}, {"--" + hostile}, {"completion", hostile}, {"status", "--pidfile", hostile}, {"status", "--socket", hostile},
	}
	covered := map[string]bool{"man": true} // its text is ours alone
	k.env = []string{"RACECAR_MESSAGE_TIMEOUT=1", "RACECAR_LIVENESS_PROBE_FILE_PATH=" + hostile}
	for _, err := range []error{nil, errors.New(hostile)} {
		sup.err = err
		for _, args := range commands {
			covered[args[0]] = true
			out, errs, _ := k.run("", args...)
			wantPrintable(t, strings.Join(args, " "), out+errs)
		}
	}
	var out bytes.Buffer
	a := &app{out: &out, err: &out, now: time.Now}
	if code := a.run(context.Background(), nil); code != exitOK {
		t.Fatalf("exit %d", code)
	}
	for line := range strings.Lines(out.String()) {
		if name, ok := strings.CutPrefix(line, " - "); ok && !covered[strings.TrimSpace(name)] {
			t.Errorf("%q is not tried", name)
		}
	}
}

// A producer chooses a record's time: one that JSON's time has no form for hides no
// record behind it.
func TestTimesBeyondTheCalendarArePrinted(t *testing.T) {
	var b bytes.Buffer
	m := &racecar.Message{Timestamp: time.UnixMilli(math.MaxInt64)}
	if err := jsonLine(&b, jsonOf(m)); err != nil || !strings.Contains(b.String(), `"timestamp":"292278994-08-17T07:12:55.807Z"`) {
		t.Errorf("%s, %v", b.String(), err)
	}
}
