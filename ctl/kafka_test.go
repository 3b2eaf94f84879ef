package ctl

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/devkafka"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// kafkaRun runs racecarctl against a broker and returns its streams and exit code.
type kafkaRun struct {
	t      *testing.T
	broker *racecartest.Broker
	addr   string
	env    []string
	create func(topic string)
	dir    string // of control sockets; empty: nothing runs
}

func (k kafkaRun) run(stdin string, args ...string) (stdout, stderr string, code int) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	a := &app{
		in: strings.NewReader(stdin), out: &out, err: &errs, now: time.Now,
		runtime: Runtime{Dirs: []string{cmp.Or(k.dir, filepath.Join(k.t.TempDir(), "run"))}},
		environ: append([]string{"RACECAR_BROKERS=" + k.addr, "RACECAR_MESSAGE_TIMEOUT=10"}, k.env...),
	}
	begun := time.Now()
	code = a.run(ctx, args)
	k.t.Logf("%s: %s", strings.Join(args, " "), time.Since(begun))
	return out.String(), errs.String(), code
}

// ok runs it and wants these streams and 0.
func (k kafkaRun) ok(stdin, wantOut, wantErr string, args ...string) {
	k.t.Helper()
	out, errs, code := k.run(stdin, args...)
	if code != 0 || out != wantOut || errs != wantErr {
		k.t.Errorf("racecarctl %s: exit %d\nstdout %q\nwant   %q\nstderr %q\nwant   %q", strings.Join(args, " "), code, out, wantOut, errs, wantErr)
	}
}

// fails runs it and wants exit 1 with that on stderr.
func (k kafkaRun) fails(stdin, want string, args ...string) {
	k.t.Helper()
	out, errs, code := k.run(stdin, args...)
	if code != exitFailed || !strings.Contains(errs, want) {
		k.t.Errorf("racecarctl %s: exit %d\nstdout %q\nstderr %q, want %q", strings.Join(args, " "), code, out, errs, want)
	}
}

func newKafkaRun(t *testing.T) kafkaRun {
	b := racecartest.NewBroker(t)
	return kafkaRun{t: t, broker: b, addr: b.Addrs()[0]}
}

// strict is a broker that does not make the topics it is asked for.
func strict(t *testing.T) kafkaRun {
	t.Helper()
	b, err := devkafka.Start(devkafka.Options{NoTopicsOnDemand: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	if err := b.CreateTopic("g.dlq", 1); err != nil {
		t.Fatal(err)
	}
	return kafkaRun{t: t, addr: b.Addr(), create: func(topic string) {
		t.Helper()
		if err := b.CreateTopic(topic, 1); err != nil {
			t.Fatal(err)
		}
	}}
}

func TestMissingTopics(t *testing.T) {
	k := strict(t)
	k.fails("", `Error: topic "none": there is no such topic`, "reset-offsets", "--group", "g", "-t", "none", "--to", "latest")
	k.fails("", `Error: topic "none": there is no such topic`, "dlq", "list", "--topic", "none")
	k.ok("not ours\n", "", "=> Delivered message to Kafka cluster\n", "produce", "-t", "g.dlq")
	k.fails("", `0/0: topic "none": there is no such topic`, "dlq", "replay", "--group", "g", "--all-groups", "--to", "none")
	k.env = []string{"RACECAR_MESSAGE_TIMEOUT=1"}
	k.fails("", `Error: message for topic "none"`, "produce", "-t", "none", "-v", "x")
}

// text writes a message for comparing.
func text(m *racecar.Message) string {
	var hs []string
	for _, h := range m.Headers {
		hs = append(hs, h.Key+"="+string(h.Value))
	}
	value := string(m.Value)
	if m.Value == nil {
		value = "null"
	}
	return fmt.Sprintf("%s/%d %s:%s [%s]", m.Topic, m.Partition, m.Key, value, strings.Join(hs, " "))
}

func (k kafkaRun) topic(name string) []string {
	var all []string
	for _, m := range k.broker.Messages(name) {
		all = append(all, text(m))
	}
	slices.Sort(all)
	return all
}

func TestProduce(t *testing.T) {
	k := newKafkaRun(t)
	k.broker.Topic("t", 3)
	const one = "=> Delivered message to Kafka cluster\n"
	k.ok("", "", one, "produce", "-t", "t", "-v", "hello", "-k", "k1", "-p", "2")
	k.ok("", "", one, "produce", "-t", "t", "-v", "", "-H", "a=1", "-H", "a=x=y,z", "-p", "0")
	k.ok("one\r\n\nthree", "", "=> Delivered 3 messages to Kafka cluster\n", "produce", "-t", "t", "-p", "1")
	k.ok(`{"key":"k","value":null,"partition":2}
{"value":{"a": [1, 2]},"headers":{"z":"1","a":"2"},"partition":2}
{"value":"text","headers":[{"key":"h","value":"1"},{"key":"h","value":"2"}],"partition":2,"topic":"t"}
`, "", "=> Delivered 3 messages to Kafka cluster\n", "produce", "-t", "t", "--json", "-H", "all=yes")
	want := []string{
		"t/0 : [a=1 a=x=y,z]",
		"t/1 : []", "t/1 :one []", "t/1 :three []",
		`t/2 :text [all=yes h=1 h=2]`, `t/2 :{"a": [1, 2]} [all=yes z=1 a=2]`, "t/2 k1:hello []", "t/2 k:null [all=yes]",
	}
	if got := k.topic("t"); !slices.Equal(got, want) {
		t.Errorf("in the topic:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	file := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(file, bytes.Repeat([]byte("line\n"), 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	k.ok("", "", "=> Delivered 5000 messages to Kafka cluster\n", "produce", "-t", "many", file)
	if got := len(k.broker.Messages("many")); got != 5000 {
		t.Errorf("%d messages in the topic", got)
	}
}

func TestProduceFailures(t *testing.T) {
	k := newKafkaRun(t)
	k.broker.Topic("t", 1)
	k.fails("", "Error: no topic specified\n", "produce", "-v", "hello")
	k.fails("", "Error: no message value specified\n", "produce", "-t", "t")
	k.fails("", `Error: header "a": expected NAME=VALUE`, "produce", "-t", "t", "-v", "x", "-H", "a")
	k.fails("", "Error: --value is one message; leave it out to send lines", "produce", "-t", "t", "-v", "x", "--json")
	k.fails("", "no such file", "produce", "-t", "t", "/nonexistent/lines")
	k.fails("{\"value\":\"1\"}\n{\"values\":1}\n", `Error: line 2: json: unknown field "values"`, "produce", "-t", "t", "--json")
	k.fails("{\"value\":\n", "Error: line 1: not JSON: unexpected EOF", "produce", "-t", "t", "--json")
	k.fails("hello\n", "Error: line 1: not JSON: invalid character 'h'", "produce", "-t", "t", "--json")
	k.fails("[1]\n", `Error: line 1: not an object but array: write {"value":…}`, "produce", "-t", "t", "--json")
	k.fails("{\"value\":1,\"partition\":\"x\"}\n", `Error: line 1: "partition" cannot be string`, "produce", "-t", "t", "--json")
	k.fails("{}\n", `Error: line 1: no "value"`, "produce", "-t", "t", "--json")
	k.fails("{\"value\":1,\"headers\":7}\n", `line 1: "headers" is neither an object`, "produce", "-t", "t", "--json")
	k.fails("{\"value\":1} {\"value\":2}\n", "line 1: more than one JSON value", "produce", "-t", "t", "--json")
	k.fails("", `Error: message for topic "t"`, "produce", "-t", "t", "-v", strings.Repeat("x", 2_000_000))
	k.fails("a\n"+strings.Repeat("x", 2_000_000)+"\nc\n", `Error: 1 of 2 messages were not delivered: line 2: message for topic "t"`, "produce", "-t", "t")

	k.env = []string{"RACECAR_BROKERS=127.0.0.1:1", "RACECAR_MESSAGE_TIMEOUT=1"}
	_, errs, code := k.run("", "produce", "-t", "t", "-v", "hello")
	if code != exitFailed || !strings.Contains(errs, `Error: message for topic "t" not acknowledged within message_timeout`) ||
		!strings.Contains(errs, "127.0.0.1:1") {
		t.Errorf("unreachable: exit %d, %q", code, errs)
	}
	k.env = []string{"RACECAR_NOPE=1"}
	k.fails("", "RACECAR_NOPE", "produce", "-t", "t", "-v", "hello")
}

// An interrupt ends it although its input says nothing, as `tail -f` does.
func TestProduceIsInterrupted(t *testing.T) {
	input, feed := io.Pipe()
	defer feed.Close() //nolint:errcheck // it is a pipe in memory
	var errs bytes.Buffer
	a := &app{in: input, out: io.Discard, err: &errs, now: time.Now, environ: []string{"RACECAR_BROKERS=127.0.0.1:1"}}
	ctx, interrupt := context.WithCancel(t.Context())
	code := make(chan int, 1)
	go func() { code <- a.run(ctx, []string{"produce", "-t", "t"}) }()
	if _, err := io.WriteString(feed, "a\nb\n"); err != nil {
		t.Fatal(err)
	}
	interrupt()
	select {
	case got := <-code:
		if got != exitFailed || !strings.Contains(errs.String(), "Error: interrupted") {
			t.Errorf("exit %d, %q", got, errs.String())
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it does not end")
	}
}

// An interrupt ends a command although it hangs where no context reaches.
func TestInterruptEndsAHungCommand(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	hung := make(chan struct{}, 1)
	var errs lockedBuffer
	a := &app{in: strings.NewReader(""), out: io.Discard, err: &errs, now: func() time.Time {
		hung <- struct{}{}
		<-hang
		return time.Now()
	}}
	ctx, interrupt := context.WithCancel(t.Context())
	go func() {
		<-hung
		interrupt()
	}()
	if code := a.bounded(ctx, []string{"reset-offsets", "A", "--to", "2h"}, 10*time.Millisecond); code != exitFailed ||
		errs.String() != "Error: interrupted while reset-offsets was waiting for an answer\n" {
		t.Errorf("exit %d, %q", code, errs.String())
	}
}

func TestLivenessProbe(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	file := filepath.Join(dir, "live")
	now := time.Date(2026, 11, 23, 9, 11, 31, 358998729, time.UTC)
	probe := func(env ...string) (string, int) {
		var out, errs bytes.Buffer
		switch last := len(env) - 1; {
		case last >= 0 && env[last] == "NONE":
			env = env[:last]
		case last >= 0 && env[last] == "LINK":
			env = append(env[:last], "RACECAR_LIVENESS_PROBE_FILE_PATH="+filepath.Join(dir, "link"))
		default:
			env = append(env, "RACECAR_LIVENESS_PROBE_FILE_PATH="+file)
		}
		a := &app{out: &out, err: &errs, now: func() time.Time { return now }, environ: env}
		code := a.run(context.Background(), []string{"liveness_probe"})
		if out.Len() > 0 {
			t.Errorf("stdout %q", &out)
		}
		return errs.String(), code
	}
	expect := func(wantErr string, wantCode int, env ...string) {
		t.Helper()
		if errs, code := probe(env...); errs != wantErr || code != wantCode {
			t.Errorf("exit %d, %q\nwant %d, %q", code, errs, wantCode, wantErr)
		}
	}
	expect("Racecar healthcheck failed: Liveness file not found `"+file+"`\n", 1)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	touched := time.Date(2026, 11, 23, 9, 11, 23, 0, time.UTC)
	if err := os.Chtimes(file, touched, touched); err != nil {
		t.Fatal(err)
	}
	stamp := touched.In(time.Local).Format("2006-01-02 15:04:05 -0700")
	expect("Racecar healthcheck failed: No liveness within interval 5s. Last liveness at "+stamp+", 8.358998729 seconds ago.\n", 1)
	expect("", 0, "RACECAR_LIVENESS_PROBE_MAX_INTERVAL=8.5")
	expect("Racecar healthcheck failed: No liveness within interval 7.5s. Last liveness at "+stamp+", 8.358998729 seconds ago.\n", 1,
		"RACECAR_LIVENESS_PROBE_MAX_INTERVAL=7.5")

	// A file that lies in the future is no sign of life: the clock was put back.
	future := now.Add(time.Hour)
	if err := os.Chtimes(file, future, future); err != nil {
		t.Fatal(err)
	}
	if errs, code := probe(); code != 1 || !strings.Contains(errs, "No liveness within interval 5s") {
		t.Errorf("in the future: exit %d, %q", code, errs)
	}
	if err := os.Chtimes(file, touched, touched); err != nil {
		t.Fatal(err)
	}

	// Neither is what is no file of this user's.
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	expect("Racecar healthcheck failed: `"+link+"` is no file of this user\n", 1, "RACECAR_LIVENESS_PROBE_MAX_INTERVAL=9", "LINK")

	// Without a path it is the only one in the user's own folder.
	own := config.LivenessDir([]string{"TMPDIR=" + dir})
	if err := os.Mkdir(own, 0o700); err != nil {
		t.Fatal(err)
	}
	expect("Racecar healthcheck failed: Liveness file not found `"+own+"/*.liveness`\n", 1, "TMPDIR="+dir, "NONE")
	for i, want := range []int{0, 1} {
		name := filepath.Join(own, fmt.Sprintf("g%d.liveness", i))
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, touched, touched); err != nil {
			t.Fatal(err)
		}
		if errs, code := probe("TMPDIR="+dir, "RACECAR_LIVENESS_PROBE_MAX_INTERVAL=9", "NONE"); code != want {
			t.Errorf("%d files: exit %d, %q", i+1, code, errs)
		}
	}

	// The file's values, unless config files are skipped, even broken ones.
	if err := os.Mkdir("config", 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		if err := os.WriteFile("config/racecar.yml", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("development:\n  liveness_probe_max_interval: 9\n")
	expect("", 0)
	write("development: [")
	if errs, code := probe("RAILS_ENV=development"); code != 1 || !strings.HasPrefix(errs, "Error: ") {
		t.Errorf("broken file: exit %d, %q", code, errs)
	}
	// Without an environment Ruby's probe reads no file.
	write("production:\n  liveness_probe_max_interval: 1\n")
	errs, code := probe("RACECAR_LIVENESS_PROBE_MAX_INTERVAL=9")
	if !strings.HasPrefix(errs, "Warning: the configuration file is ignored: config/racecar.yml") || code != 0 {
		t.Errorf("no section for no environment: exit %d, %q", code, errs)
	}
	if errs, code := probe("RACECAR_LIVENESS_PROBE_MAX_INTERVAL=x"); code != 1 || !strings.Contains(errs, "Error: RACECAR_LIVENESS_PROBE_MAX_INTERVAL: ") {
		t.Errorf("a bad variable: exit %d, %q", code, errs)
	}
	expect("", 0, "RACECAR_LIVENESS_PROBE_SKIP_CONFIG_FILES=true", "RACECAR_LIVENESS_PROBE_MAX_INTERVAL=9")

	// What the application says in Configure counts as the file does.
	write("")
	configured := true
	racecar.Configure(func(c *racecar.Config) error {
		if configured {
			c.LivenessProbeMaxInterval = 9 * time.Second
		}
		return nil
	})
	defer func() { configured = false }() // it stays in this process
	expect("", 0)
	if _, code := probe("RACECAR_LIVENESS_PROBE_SKIP_CONFIG_FILES=true"); code != 1 {
		t.Error("Configure is asked although only the environment is to be")
	}
}

func TestLagAndResetOffsets(t *testing.T) {
	k := newKafkaRun(t)
	k.broker.Topic("t", 2)
	var ms []racecar.ProducerMessage
	for i := range 10 {
		p := int32(i % 2)
		ms = append(ms, racecar.ProducerMessage{Topic: "t", Partition: &p, Value: []byte("x"), Timestamp: time.UnixMilli(int64(1000 * i))})
	}
	k.broker.Produce(ms...)

	k.fails("", "Error: no supervisor is running: name a consumer or give --group", "lag")
	k.fails("", `Error: group "g" has committed nothing`, "lag", "--group", "g")
	k.fails("", `Error: group "g" has committed nothing; say which with --topic`, "reset-offsets", "--group", "g", "--to", "latest")
	k.fails("", `Error: no supervisor is running: name a consumer or give --group`, "reset-offsets", "--to", "latest")
	k.fails("", `Error: --to "soon": expected earliest, latest, an offset`, "reset-offsets", "--group", "g", "--to", "soon")
	k.fails("", `Error: topic "t" has 2 partitions, and none is number 7`, "reset-offsets", "--group", "g", "-t", "t/7", "--to", "latest")
	k.fails("", `Error: t/0: offset 6 is not there; it holds 0 to 5`, "reset-offsets", "--group", "g", "-t", "t", "--to", "6")
	k.ok("", "PARTITION  FROM  TO         MOVED\nt/0           -  → 5  none before\nt/1           -  → 5  none before\nNothing was changed (--dry-run)\n", "",
		"reset-offsets", "--group", "g", "-t", "t", "--to", "latest", "--dry-run")
	if got := k.broker.Committed("g", "t"); len(got) != 0 {
		t.Errorf("a dry run committed %v", got)
	}
	k.ok("", "To the first message from 1970-01-01T00:00:05Z on\nPARTITION  FROM  TO         MOVED\nt/0           -  → 3  none before\nt/1           -  → 2  none before\nReset 2 partitions of group g\n", "",
		"reset-offsets", "--group", "g", "-t", "t", "--to", "1970-01-01T00:00:05Z")
	k.ok("", "PARTITION  WORKER  POSITION  END  LAG\nt/0        -              3    5    2\nt/1        -              2    5    3\ntotal 5\n", "",
		"lag", "--group", "g")
	k.ok("", "PARTITION  FROM  TO   MOVED\nt/1           2  → 4     +2\nReset 1 partition of group g\n", "",
		"reset-offsets", "--group", "g", "-t", "t/1", "--to", "4")
	k.ok("", "PARTITION  FROM  TO   MOVED\nt/0           3  → 0     -3\nt/1           4  → 0     -4\nReset 2 partitions of group g\n", "",
		"reset-offsets", "--group", "g", "--to", "earliest")
	out, _, _ := k.run("", "reset-offsets", "--group", "g", "-t", "t/1", "--to", "1970-01-01 00:00:05", "--dry-run", "--json")
	var moved, want resetJSON
	at, zero := time.UnixMilli(5000).UTC(), int64(0)
	want = resetJSON{Group: "g", To: "1970-01-01 00:00:05", Time: &at, DryRun: true, Partitions: []moveJSON{{Topic: "t", Partition: 1, From: &zero, To: 2}}}
	if err := json.Unmarshal([]byte(out), &moved); err != nil || !reflect.DeepEqual(moved, want) {
		t.Errorf("json: %v, %s", err, out)
	}
	out, _, _ = k.run("", "lag", "--group", "g", "--json")
	var rows []lagRow
	if err := json.Unmarshal([]byte(out), &rows); err != nil || len(rows) != 2 || rows[0] != (lagRow{Topic: "t", Position: 0, End: 5, Lag: 5}) {
		t.Errorf("json: %v, %+v", err, rows)
	}
}

func TestGroupWithMembersIsNotReset(t *testing.T) {
	k := newKafkaRun(t)
	k.broker.Topic("t", 1)
	p := int32(0)
	k.broker.Produce(racecar.ProducerMessage{Topic: "t", Partition: &p, Value: []byte("x")})
	member, err := kgo.NewClient(kgo.SeedBrokers(k.addr), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.InstanceID("racecar-1-A-0"))
	if err != nil {
		t.Fatal(err)
	}
	defer member.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if fetches := member.PollFetches(ctx); fetches.Err() != nil {
		t.Fatal(fetches.Err())
	}
	k.fails("", `Error: group "g" has members (racecar-1-A-0): stop its consumers first`, "reset-offsets", "--group", "g", "-t", "t", "--to", "latest")
}

// A group of the newer protocol (KIP-848) is left alone as well, before anything is
// said to be possible.
func TestGroupOfTheConsumerProtocolIsNotReset(t *testing.T) {
	k, b := bed(t)
	b.RealOnly()
	topic, group := b.Topic(1), b.Group()
	client := k.client(kgo.ClientID("java-app"))
	defer client.Close()
	beat := func(epoch int32) {
		t.Helper()
		req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		req.Group, req.MemberID, req.MemberEpoch, req.RebalanceTimeoutMillis = group, group+"-member", epoch, 10_000
		req.SubscribedTopicNames, req.Topics = []string{topic}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		resp, err := req.RequestWith(t.Context(), client)
		if err != nil || resp.ErrorCode != 0 {
			t.Fatalf("%v, %+v", err, resp)
		}
	}
	beat(0)
	for _, more := range [][]string{nil, {"--dry-run"}} {
		args := append([]string{"reset-offsets", "--group", group, "-t", topic, "--to", "latest"}, more...)
		out, errs, code := k.run("", args...)
		if code != exitFailed || out != "" || !strings.HasPrefix(errs, fmt.Sprintf("Error: group %q has members (java-app/", group)) {
			t.Errorf("%q: exit %d, %q, %q", more, code, out, errs)
		}
	}
	beat(-1)
	if out, errs, code := k.run("", "reset-offsets", "--group", group, "-t", topic, "--to", "latest"); code != exitOK {
		t.Errorf("without members: exit %d, %q, %q", code, out, errs)
	}
}

func TestParseStart(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.FixedZone("New York", -5*3600)).UTC()
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]start{
		"earliest": {-1, -2}, "latest": {-1, -1}, "0": {0, 0}, "17": {17, 0},
		"2h": {-1, now.Add(-2 * time.Hour).UnixMilli()}, "2026-11-23T09:00:00Z": {-1, noon.Add(-3 * time.Hour).UnixMilli()},
		"2026-11-23T10:00:00+01:00": {-1, noon.Add(-3 * time.Hour).UnixMilli()}, "2026-11-23": {-1, noon.Add(-12 * time.Hour).UnixMilli()},
		"2026-11-23 09:00": {-1, noon.Add(-3 * time.Hour).UnixMilli()}, "2026-11-23T09:00": {-1, noon.Add(-3 * time.Hour).UnixMilli()},
		"2026-11-23 04:00:00-05:00": {-1, noon.Add(-3 * time.Hour).UnixMilli()},
	} {
		if got, err := parseStart("--to", s, now.Local()); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", s, got, err, want)
		}
	}
	for s, want := range map[string]string{
		"": `--to "": expected earliest, latest, an offset, or a time`, "yesterday": `--to "yesterday": expected`, "2026-13-01": `--to "2026-13-01": expected`,
		"-1": "--to -1: an offset cannot be negative", "1900-01-01": "--to 1900-01-01: Kafka has no times before 1970",
		"-2h":                  "--to -2h: 2026-11-23T19:00:00Z is in the future; it is 2026-11-23T17:00:00Z now (a time without a zone is UTC)",
		"2027-01-01T00:00:00Z": "--to 2027-01-01T00:00:00Z: 2027-01-01T00:00:00Z is in the future",
		"2026-11-23 17:01":     "--to 2026-11-23 17:01: 2026-11-23T17:01:00Z is in the future",
	} {
		if got, err := parseStart("--to", s, now); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %+v, %v; want %s", s, got, err, want)
		}
	}
}

// deadLettersOf are what a worker of a group makes of n messages of a topic.
func deadLettersOf(group string, n int, from, dlq string) []racecar.ProducerMessage {
	var ms []racecar.ProducerMessage
	for i := range n {
		p := int32(0)
		ms = append(ms, racecar.ProducerMessage{
			Topic: dlq, Partition: &p, Key: []byte(fmt.Sprint("k", i)), Value: []byte(fmt.Sprint("v", i)),
			Headers: []racecar.Header{
				{Key: "own", Value: []byte("1")}, {Key: "own", Value: []byte("2")},
				{Key: "racecar-dlq-topic", Value: []byte(from)}, {Key: "racecar-dlq-partition", Value: []byte(fmt.Sprint(i % 2))},
				{Key: "racecar-dlq-offset", Value: []byte(fmt.Sprint(100 + i))}, {Key: "racecar-dlq-group", Value: []byte(group)}, {Key: "racecar-dlq-timestamp", Value: []byte("2026-11-01T00:00:00Z")}, {Key: "racecar-dlq-error", Value: []byte("no such\nuser")},
				{Key: "racecar-dlq-attempts", Value: []byte("3")}, {Key: "racecar-dlq-at", Value: []byte(time.Now().Add(-time.Hour).Format(time.RFC3339Nano))},
			},
		})
	}
	return ms
}

func TestDeadLettersAreReplayedOnce(t *testing.T) {
	k := newKafkaRun(t)
	k.broker.Topic("bans", 2)
	k.broker.Topic("user-ban-consumer.dlq", 1)
	k.supervised(settingsOf("UserBanConsumer", "user-ban-consumer", k.addr, "bans"))
	k.broker.Produce(deadLettersOf("user-ban-consumer", 3, "bans", "user-ban-consumer.dlq")...)

	out, errs, code := k.run("", "dlq", "list", "UserBanConsumer")
	lines := strings.Split(out, "\n")
	if code != 0 || errs != "" || len(lines) != 5 || !strings.HasPrefix(lines[1], "   0/0  bans/0@100  user-ban-consumer  k0       3  1h00m") || !strings.HasSuffix(lines[1], "no such user") {
		t.Errorf("list: exit %d, %q\n%s", code, errs, out)
	}
	k.ok("", "0/0 → bans/0\n0/1 → bans/1\n0/2 → bans/0\nNothing was sent (--dry-run)\n", "", "dlq", "replay", "UserBanConsumer", "--dry-run")
	k.ok("", "Replayed 2 dead letters\n", "", "dlq", "replay", "UserBanConsumer", "--limit", "2")
	const headers = "[own=1 own=2 racecar-replay-group=user-ban-consumer racecar-replay-timestamp=2026-11-01T00:00:00Z]"
	want := []string{"bans/0 k0:v0 " + headers, "bans/1 k1:v1 " + headers}
	if got := k.topic("bans"); !slices.Equal(got, want) {
		t.Errorf("after two: %q, want %q", got, want)
	}
	out, _, _ = k.run("", "dlq", "list", "UserBanConsumer", "--json")
	dec := json.NewDecoder(strings.NewReader(out))
	var all []deadLetterJSON
	for {
		var l deadLetterJSON
		if err := dec.Decode(&l); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	if len(all) != 3 || !all[1].Replayed || all[2].Replayed || *all[2].Key != "k2" || *all[2].Value != "v2" || len(all[2].Headers) != 10 || all[2].Group != "user-ban-consumer" {
		t.Errorf("as JSON: %s", out)
	}
	out, _, _ = k.run("", "dlq", "list", "--topic", "user-ban-consumer.dlq", "--new")
	if strings.Contains(out, "k1") || !strings.Contains(out, "k2") {
		t.Errorf("the new ones:\n%s", out)
	}
	k.ok("", "Replayed 1 dead letter\n", "", "dlq", "replay", "--group", "user-ban-consumer")
	k.ok("", "No dead letters to replay\n", "", "dlq", "replay", "UserBanConsumer")
	if got := k.topic("bans"); !slices.Equal(got, append(want[:1:1], "bans/0 k2:v2 "+headers, want[1])) {
		t.Errorf("after all: %q", got)
	}
	k.broker.Produce(deadLettersOf("user-ban-consumer", 1200, "bans", "user-ban-consumer.dlq")...)
	k.broker.Topic("elsewhere", 1)
	k.ok("", "Replayed 1200 dead letters\n", "", "dlq", "replay", "UserBanConsumer", "--to", "elsewhere")
	if got := len(k.topic("elsewhere")); got != 1200 {
		t.Errorf("%d elsewhere", got)
	}
}

// A record of an aborted transaction is no dead letter: its message was processed again.
// One of a transaction that is still open is neither sent nor skipped.
func TestDeadLettersOfTransactions(t *testing.T) {
	k := newKafkaRun(t)
	k.broker.Topic("bans", 1)
	k.broker.Topic("g.dlq", 1)
	k.supervised(settingsOf("G", "g", k.addr, "bans"))
	client, err := kgo.NewClient(kgo.SeedBrokers(k.addr), kgo.TransactionalID("worker"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	letter := func(key string) {
		t.Helper()
		r := &kgo.Record{Topic: "g.dlq", Key: []byte(key), Headers: []kgo.RecordHeader{
			{Key: "racecar-dlq-topic", Value: []byte("bans")}, {Key: "racecar-dlq-partition", Value: []byte("0")}, {Key: "racecar-dlq-offset", Value: []byte("7")},
			{Key: "racecar-dlq-group", Value: []byte("g")}, {Key: "racecar-dlq-timestamp", Value: []byte("2026-11-01T00:00:00Z")},
		}}
		if err := errors.Join(client.BeginTransaction(), client.ProduceSync(t.Context(), r).FirstErr()); err != nil {
			t.Fatal(err)
		}
	}
	end := func(how kgo.TransactionEndTry) {
		t.Helper()
		if err := client.EndTransaction(t.Context(), how); err != nil {
			t.Fatal(err)
		}
	}
	letter("aborted")
	end(kgo.TryAbort)
	letter("dead")
	end(kgo.TryCommit)
	letter("aborted too")
	end(kgo.TryAbort)
	if out, errs, code := k.run("", "dlq", "list", "--group", "g"); code != 0 || errs != "" || !strings.Contains(out, "dead") || strings.Contains(out, "aborted") {
		t.Errorf("list: exit %d, %q\n%s", code, errs, out)
	}
	k.ok("", "Replayed 1 dead letter\n", "", "dlq", "replay", "--group", "g")
	letter("open")
	k.fails("", "Error: g.dlq/0: read up to offset 6 of 7 only: the broker sends no more, or a transaction is still open there; retry later", "dlq", "replay", "--group", "g")
	end(kgo.TryCommit)
	k.ok("", "Replayed 1 dead letter\n", "", "dlq", "replay", "--group", "g")
	const headers = "[racecar-replay-group=g racecar-replay-timestamp=2026-11-01T00:00:00Z]"
	if got, want := k.topic("bans"), []string{"bans/0 dead:null " + headers, "bans/0 open:null " + headers}; !slices.Equal(got, want) {
		t.Errorf("sent back %q, want %q", got, want)
	}
}

func TestKilledReplayIsExactlyOnce(t *testing.T) {
	k, b := bed(t)
	topic, letters, group := b.Topic(2), b.Topic(1), b.Group()
	const n = 10_000
	var records []*kgo.Record
	for _, m := range deadLettersOf(group, n, topic, letters) {
		r := &kgo.Record{Topic: letters, Key: m.Key, Value: m.Value}
		for _, h := range m.Headers {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		records = append(records, r)
	}
	k.write(records...)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	racecarctl := filepath.Join(t.TempDir(), "racecarctl") // TestMain goes by the name
	if err := os.Symlink(exe, racecarctl); err != nil {
		t.Fatal(err)
	}
	kills := 0
	patience := 60 * time.Millisecond
	for try := 0; ; try++ {
		ctx, cancel := context.WithTimeout(t.Context(), patience) // SIGKILL
		patience += patience / 6
		cmd := exec.CommandContext(ctx, racecarctl, "dlq", "replay", "--topic", letters, "--group", group, "--any-topic")
		cmd.Env = append(os.Environ(), "RACECAR_BROKERS="+k.addr, "CTL_TEST_RUNTIME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		cancel()
		if err == nil {
			break
		}
		if ctx.Err() == nil || try > 50 {
			t.Fatalf("try %d: %v\n%s", try, err, out)
		}
		kills++
	}
	t.Logf("%d kills", kills)
	out, errs, code := k.run("", "consume", topic)
	if code != exitOK || errs != "" {
		t.Fatalf("exit %d, %q", code, errs)
	}
	seen := map[string]int{}
	for line := range strings.Lines(out) {
		seen[strings.Split(line, "\t")[3]]++
	}
	for key, times := range seen {
		if times != 1 {
			t.Errorf("%s came back %d times", key, times)
		}
	}
	if len(seen) != n {
		t.Errorf("%d of %d came back", len(seen), n)
	}
}

func TestDeadLetterFailures(t *testing.T) {
	k := newKafkaRun(t)
	k.broker.Topic("g.dlq", 1)
	k.broker.Produce(racecar.ProducerMessage{Topic: "g.dlq", Value: []byte("not ours")})
	k.fails("", "Error: no supervisor is running: name a consumer, or give --topic or --group", "dlq", "list")
	k.ok("", "No dead letters to replay\n", "=> 1 record of other groups ignored; use --all-groups to include them\n", "dlq", "replay", "--group", "g")
	k.fails("", "0/0: the record does not say where it came from; use --to TOPIC\nError: 1 dead letter could not be replayed", "dlq", "replay", "--group", "g", "--all-groups")
	k.fails("", "Error: no group: name a consumer, give --group, or include all groups with --all-groups", "dlq", "replay", "--topic", "g.dlq")
	k.fails("", "Error: --to g.dlq is the dead-letter topic itself", "dlq", "replay", "--group", "g", "--to", "g.dlq")
	k.fails("", "Error: --to __consumer_offsets is internal to Kafka", "dlq", "replay", "--group", "g", "--to", "__consumer_offsets")
	k.fails("", `"3": expected PARTITION/OFFSET`, "dlq", "replay", "--group", "g", "--skip", "3")
	k.env = []string{"RACECAR_BROKERS=127.0.0.1:1"}
	k.fails("", "Error: no broker reachable, tried 127.0.0.1:1 (connection refused)", "dlq", "list", "--group", "g")
	k.fails("", "127.0.0.1:1", "dlq", "replay", "--group", "g")
}
