package ctl

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/racecar"
	"github.com/twmb/franz-go/pkg/kgo"
)

func (k kafkaRun) values(topic string) []string {
	var all []string
	for _, m := range k.broker.Messages(topic) {
		all = append(all, string(m.Value))
	}
	slices.Sort(all)
	return all
}

func (k kafkaRun) wantValues(topic string, want ...string) {
	k.t.Helper()
	if got := k.values(topic); !slices.Equal(got, want) {
		k.t.Errorf("in %s: %q, want %q", topic, got, want)
	}
}

// Groups that share a dead-letter topic replay each their own.
func TestReplayTakesOnlyTheGroupsDeadLetters(t *testing.T) {
	k := newKafkaRun(t)
	for _, topic := range []string{"a", "b", "shared"} {
		k.broker.Topic(topic, 1)
	}
	of := func(group, topic string) racecar.ProducerMessage {
		m := deadLettersOf(group, 1, topic, "shared")[0]
		m.Value = []byte("of " + group)
		return m
	}
	k.broker.Produce(of("ga", "a"), of("gb", "b"), of("ga", "a"))
	conf := settingsOf("A", "ga", k.addr, "a")
	conf.Config.DeadLetterTopic = "shared"
	k.supervised(conf)

	out, errs, _ := k.run("", "dlq", "list", "A")
	if strings.Count(out, "  ga  ") != 2 || strings.Contains(out, "gb") || errs != "=> 1 record of other groups ignored; use --all-groups to include them\n" {
		t.Errorf("list: %q\n%s", errs, out)
	}
	out, errs, _ = k.run("", "dlq", "list", "A", "--all-groups")
	if !strings.Contains(out, "GROUP") || !strings.Contains(out, "  gb  ") || errs != "" {
		t.Errorf("list of all groups: %q\n%s", errs, out)
	}
	k.ok("", "Replayed 2 dead letters\n", "=> 1 record of other groups ignored; use --all-groups to include them\n", "dlq", "replay", "A")
	k.wantValues("a", "of ga", "of ga")
	k.wantValues("b")
	out, _, _ = k.run("", "dlq", "list", "A", "--all-groups", "--new")
	if strings.Contains(out, "ga") || !strings.Contains(out, "gb") {
		t.Errorf("the new ones:\n%s", out)
	}
	k.ok("", "Replayed 1 dead letter\n", "", "dlq", "replay", "A", "--all-groups", "--any-topic")
	k.wantValues("a", "of ga", "of ga")
	k.wantValues("b", "of gb")
	k.ok("", "No dead letters to replay\n", "=> 2 records of other groups ignored; use --all-groups to include them\n", "dlq", "replay", "--topic", "shared", "--group", "gb", "--any-topic")
	k.broker.Produce(of("gb", "b"))
	k.ok("", "Replayed 1 dead letter\n", "", "dlq", "replay", "--topic", "shared", "--group", "gb", "--any-topic")
	k.ok("", "No dead letters to replay\n", "", "dlq", "replay", "A", "--all-groups", "--any-topic")
	k.wantValues("b", "of gb", "of gb")
}

// A record's origin headers are trusted only for the consumer's own topics, and a
// record that cannot be sent does not block others.
func TestReplaySendsOnlyWhereTheConsumerSubscribes(t *testing.T) {
	k := newKafkaRun(t)
	k.broker.Topic("mine", 1)
	k.broker.Topic("payments", 1)
	k.broker.Topic("g.dlq", 1)
	for _, topic := range []string{"mine", "payments", "__consumer_offsets", "g.dlq", "mine"} {
		k.broker.Produce(deadLettersOf("g", 1, topic, "g.dlq")...)
	}
	k.supervised(settingsOf("G", "g", k.addr, "mine"))
	const unsent = `0/1: the consumer does not subscribe to topic "payments"; use --any-topic or --to TOPIC
0/2: topic "__consumer_offsets" is internal to Kafka
0/3: topic "g.dlq" is the dead-letter topic itself
Error: 3 dead letters could not be replayed; the next replay retries them, --skip PARTITION/OFFSET skips a record for good
`
	replay := func(wantOut, wantErr string, args ...string) {
		t.Helper()
		out, errs, code := k.run("", append([]string{"dlq", "replay", "G"}, args...)...)
		if out != wantOut || errs != wantErr || (code == exitFailed) != strings.Contains(wantErr, "Error") {
			t.Errorf("replay %q: exit %d\n%q, want %q\n%s\nwant\n%s", args, code, out, wantOut, errs, wantErr)
		}
	}
	replay("0/0 → mine/0\n0/4 → mine/0\nNothing was sent (--dry-run)\n", unsent, "--dry-run")
	replay("Replayed 2 dead letters\n", unsent)
	k.wantValues("mine", "v0", "v0")
	replay("No dead letters to replay\n", "", "--only", "mine")
	replay("No dead letters to replay\n", unsent) // they were not forgotten
	_, rest, _ := strings.Cut(unsent, "\n")
	replay("Replayed 1 dead letter\n", strings.Replace(rest, "3 dead", "2 dead", 1), "--any-topic")
	k.wantValues("payments", "v0")
	replay("No dead letters to replay\n", "", "--skip", "0/2", "--skip", "0/3")
	replay("No dead letters to replay\n", "")
	k.wantValues("mine", "v0", "v0")
}

// A topic that is gone holds up nothing, and its records come back with it.
func TestReplayOfATopicThatIsGone(t *testing.T) {
	k := strict(t)
	k.supervised(settingsOf("G", "g", k.addr, "mine", "gone"))
	k.create("mine")
	for _, topic := range []string{"gone", "mine"} {
		k.ok("x\n", "", "=> Delivered message to Kafka cluster\n", "produce", "-t", "g.dlq", "-H", "racecar-dlq-topic="+topic,
			"-H", "racecar-dlq-partition=0", "-H", "racecar-dlq-offset=7", "-H", "racecar-dlq-group=g")
	}
	k.fails("", `0/0: topic "gone": there is no such topic`, "dlq", "replay", "G")
	k.create("gone")
	k.ok("", "Replayed 1 dead letter\n", "", "dlq", "replay", "G")
	k.ok("", "No dead letters to replay\n", "", "dlq", "replay", "G")
}

// Without a supervisor the topics are those where the group has committed offsets.
func TestReplayOfAGroupThatDoesNotRun(t *testing.T) {
	k := newKafkaRun(t)
	for _, topic := range []string{"mine", "other", "g.dlq"} {
		k.broker.Topic(topic, 1)
	}
	k.ok("", "PARTITION  FROM  TO         MOVED\nmine/0        -  → 0  none before\nReset 1 partition of group g\n", "",
		"reset-offsets", "--group", "g", "-t", "mine", "--to", "latest")
	k.broker.Produce(deadLettersOf("g", 1, "other", "g.dlq")...)
	k.broker.Produce(deadLettersOf("g", 1, "mine", "g.dlq")...)
	k.fails("", `0/0: the consumer does not subscribe to topic "other"`, "dlq", "replay", "--group", "g")
	k.wantValues("mine", "v0")
	k.wantValues("other")
}

// --only leaves the others, and --limit ends in the middle, without losing any.
func TestReplayOfAPart(t *testing.T) {
	k := newKafkaRun(t)
	for _, topic := range []string{"x", "y", "g.dlq"} {
		k.broker.Topic(topic, 1)
	}
	for i := range 20 {
		m := deadLettersOf("g", 1, []string{"x", "y"}[i%2], "g.dlq")[0]
		m.Value = fmt.Appendf(nil, "%02d", i)
		k.broker.Produce(m)
	}
	k.supervised(settingsOf("G", "g", k.addr, "x", "y"))
	k.ok("", "Replayed 3 dead letters\n", "", "dlq", "replay", "G", "--only", "y", "--limit", "3")
	k.wantValues("y", "01", "03", "05")
	k.ok("", "Replayed 5 dead letters\n", "", "dlq", "replay", "G", "--limit", "5")
	k.ok("", "Replayed 12 dead letters\n", "", "dlq", "replay")
	k.wantValues("x", "00", "02", "04", "06", "08", "10", "12", "14", "16", "18")
	k.wantValues("y", "01", "03", "05", "07", "09", "11", "13", "15", "17", "19")
	k.ok("", "No dead letters to replay\n", "", "dlq", "replay")
}

// A message that the broker refuses is left; the others of its transaction are sent.
func TestReplayKeepsRecordsThatTheBrokerRejects(t *testing.T) {
	k := newKafkaRun(t)
	k.broker.Topic("small", 1)
	k.broker.Topic("g.dlq", 1)
	k.limitMessages("small", 2000)
	for i, size := range []int{1, 5000, 2} {
		m := deadLettersOf("g", 1, "small", "g.dlq")[0]
		m.Value = []byte(strings.Repeat(fmt.Sprint(i), size))
		k.broker.Produce(m)
	}
	k.supervised(settingsOf("G", "g", k.addr, "small"))
	out, errs, code := k.run("", "dlq", "replay", "G")
	if out != "Replayed 2 dead letters\n" || code != exitFailed || !strings.HasPrefix(errs, "0/1: message for topic \"small\"") {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
	k.wantValues("small", "0", "22")
}

// Odd records as workers write them. The next replay knows which records were sent,
// left and skipped, at Apache Kafka as well.
func TestReplayOfOddRecords(t *testing.T) {
	k, b := bed(t)
	topic, letters, group := b.Topic(2), b.Topic(1), b.Group()
	conf := settingsOf("G", group, k.addr, topic, topic+"-gone")
	conf.Config.DeadLetterTopic = letters
	k.supervised(conf)
	large := strings.Repeat("x", 1_020_000) // what Java's producer sends at its defaults
	odd := func(key, value []byte, from string, more ...string) *kgo.Record {
		r := &kgo.Record{Topic: letters, Key: key, Value: value}
		for name, v := range map[string]string{"topic": from, "partition": "1", "offset": "7", "group": group, "timestamp": "2020-11-23T09:00:01.005Z"} {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: "racecar-dlq-" + name, Value: []byte(v)})
		}
		for _, name := range more {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: "racecar-dlq-" + name, Value: []byte("value")})
		}
		return r
	}
	k.write(
		odd([]byte(topic+"/1/7"), []byte("had no key"), topic, "no-key"),
		odd([]byte("k"), nil, topic, "truncated"),
		odd([]byte("k"), []byte("of a topic that is gone"), topic+"-gone"),
		odd([]byte("k"), []byte(large), topic),
	)
	unsent := fmt.Sprintf(`0/1: it was too large for the dead-letter topic, which lacks its value
0/2: topic "%s-gone": there is no such topic
Error: 2 dead letters could not be replayed; the next replay retries them, --skip PARTITION/OFFSET skips a record for good
`, topic)
	for _, want := range []string{"Replayed 2 dead letters\n", "No dead letters to replay\n"} {
		if out, errs, code := k.run("", "dlq", "replay", "G", "--keep-timestamps"); out != want || errs != unsent || code != exitFailed {
			t.Errorf("exit %d, %q, want %q\n%s\nwant\n%s", code, out, want, errs, unsent)
		}
	}
	k.ok("", "No dead letters to replay\n", "", "dlq", "replay", "G", "--skip", "0/1", "--skip", "0/2")
	k.ok("", "No dead letters to replay\n", "", "dlq", "replay", "G")
	headers := "\tracecar-replay-group=" + group + " racecar-replay-timestamp=2020-11-23T09:00:01.005Z\n"
	k.ok("", "1\t0\t2020-11-23T09:00:01.005Z\t-\thad no key"+headers+"1\t1\t2020-11-23T09:00:01.005Z\tk\t"+large+headers, "", "consume", topic)
	k.write(odd(nil, []byte("one more"), topic))
	k.ok("", "Replayed 1 dead letter\n", "", "dlq", "replay", "G", "--all-groups")
	k.ok("", "No dead letters to replay\n", "", "dlq", "replay", "G")
}

// A consumer that runs and has dead-lettered nothing yet has no topic for it; a
// mistyped name of one is an error.
func TestMissingDeadLetterTopics(t *testing.T) {
	k, b := bed(t)
	group := b.Group()
	k.supervised(settingsOf("G", group, k.addr))
	note := fmt.Sprintf("=> There is no topic %q: the consumer has dead-lettered nothing yet\n", group+".dlq")
	k.ok("", "", note, "dlq", "list", "G")
	k.ok("", "", note, "dlq", "replay", "G")
	k.fails("", "x.dlq\": there is no such topic; --topic names another one\n", "dlq", "list", "--group", group+"x")
	k.fails("", "; with --group, --topic names a dead-letter topic that is not ID.dlq\n", "dlq", "list", "Unknown")
	for _, args := range [][]string{{"--topic", group + ".dlq"}, {"--group", group + "x"}} {
		k.fails("", `.dlq": there is no such topic`, append([]string{"dlq", "list"}, args...)...)
		k.fails("", `.dlq": there is no such topic`, append([]string{"dlq", "replay", "--all-groups"}, args...)...)
	}
}

func TestReplayKeepsTimestamps(t *testing.T) {
	k := newKafkaRun(t)
	k.broker.Topic("mine", 1)
	k.broker.Topic("g.dlq", 1)
	k.broker.Produce(deadLettersOf("g", 2, "mine", "g.dlq")...)
	k.supervised(settingsOf("G", "g", k.addr, "mine"))
	begun := time.Now().Add(-time.Second)
	k.ok("", "Replayed 1 dead letter\n", "", "dlq", "replay", "--limit", "1")
	k.ok("", "Replayed 1 dead letter\n", "", "dlq", "replay", "--keep-timestamps")
	ms := k.broker.Messages("mine")
	if len(ms) != 2 || ms[0].Timestamp.Before(begun) || !ms[1].Timestamp.Equal(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)) {
		t.Fatalf("%+v", ms)
	}
	if at, _ := ms[0].Header("racecar-replay-timestamp"); string(at) != "2026-11-01T00:00:00Z" {
		t.Errorf("the original timestamp is told as %q", at)
	}
}

func TestProgress(t *testing.T) {
	p := &progress{}
	for offset := range int64(12) {
		switch offset {
		case 2, 5, 6, 7:
			if err := p.markUnsent(offset); err != nil {
				t.Fatal(err)
			}
		default:
			p.pass(offset)
		}
	}
	p.pass(6)
	p.pass(6)
	if err := p.markUnsent(7); err != nil {
		t.Fatal(err)
	}
	if got, want := p.commit(), (kafka.Commit{Offset: 12, Metadata: "left:2,5,7"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for text, want := range map[string][]int64{"left:2,5-7": {2, 5, 6, 7}, "": nil, "racecar:1": nil} {
		got, err := progressOf(kafka.Commit{Offset: 12, Metadata: text})
		if err != nil || got.next != 12 || !slices.Equal(got.left, want) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"left:", "left:x", "left:12", "left:5,3", "left:0-99999999999", "left:-1"} {
		if got, err := progressOf(kafka.Commit{Offset: 12, Metadata: text}); err == nil {
			t.Errorf("%q is taken as %+v", text, got)
		}
	}
	var full error
	for offset := int64(0); full == nil; offset += 2 {
		full = p.markUnsent(1_000_000 + offset)
	}
	if n := len(p.commit().Metadata); n > kafka.MaxMetadata || !strings.HasPrefix(full.Error(), "too many records could not be replayed") {
		t.Errorf("%d bytes, %v", n, full)
	}
}

// limitMessages sets a topic's max.message.bytes.
func (k kafkaRun) limitMessages(topic string, bytes int) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), 30*time.Second)
	defer cancel()
	setTopicConfig(ctx, k.t, k.addr, topic, "max.message.bytes", fmt.Sprint(bytes))
}
