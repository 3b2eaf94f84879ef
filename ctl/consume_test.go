package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/racecar-go/racecar/test/harness"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
	"github.com/twmb/franz-go/pkg/kgo"
)

// bed is racecarctl at a broker that may be Apache Kafka.
func bed(t *testing.T) (kafkaRun, *testbroker.Broker) {
	b := testbroker.New(t)
	return kafkaRun{t: t, addr: strings.Join(b.Addrs(), ",")}, b
}

// write produces records as they are, their partitions and times included.
func (k kafkaRun) write(records ...*kgo.Record) {
	k.t.Helper()
	client := k.client()
	defer client.Close()
	if err := client.ProduceSync(k.t.Context(), records...).FirstErr(); err != nil {
		k.t.Fatal(err)
	}
}

func (k kafkaRun) client(opts ...kgo.Opt) *kgo.Client {
	k.t.Helper()
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(strings.Split(k.addr, ",")...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(1_048_576))...)
	if err != nil {
		k.t.Fatal(err)
	}
	return client
}

func timeAt(second int) time.Time { return time.Date(2020, 11, 23, 9, 0, second, 5e6, time.UTC) }

func TestConsume(t *testing.T) {
	k, b := bed(t)
	topic := b.Topic(2)
	k.write(
		&kgo.Record{Topic: topic, Partition: 0, Timestamp: timeAt(1), Key: []byte("k"), Value: []byte("hello"), Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "a", Value: nil}}},
		&kgo.Record{Topic: topic, Partition: 0, Timestamp: timeAt(2), Value: []byte("two\tfields\nand\x1b[2J lines\u202e")},
		&kgo.Record{Topic: topic, Partition: 0, Timestamp: timeAt(3), Key: []byte{}, Value: nil},
		&kgo.Record{Topic: topic, Partition: 1, Timestamp: timeAt(4), Key: []byte("-"), Value: []byte{0xff, 0}},
	)
	const (
		first  = "0\t0\t2020-11-23T09:00:01.005Z\tk\thello\ta=1 a=-\n"
		second = "0\t1\t2020-11-23T09:00:02.005Z\t-\t\"two\\tfields\\nand\\x1b[2J lines\\u202e\"\n"
		third  = "0\t2\t2020-11-23T09:00:03.005Z\t\"\"\t-\n"
		fourth = "1\t0\t2020-11-23T09:00:04.005Z\t\"-\"\t0xff00\n"
	)
	for _, test := range []struct {
		want string
		args []string
	}{
		{first + second + third + fourth, nil},
		{fourth, []string{"-p", "1"}},
		{first + second, []string{"--limit", "2"}},
		{third, []string{"-p", "0", "--from", "2"}},
		{"", []string{"-p", "0", "--from", "3"}},
		{"", []string{"--from", "latest"}},
		{third + fourth, []string{"--from", "2020-11-23T09:00:03Z"}},
		{third + fourth, []string{"--from", "2020-11-23 09:00:03"}},
		{"", []string{"--from", "2020-11-23 09:01"}},
		{"1\t0\t2020-11-23T09:00:04.005Z\t0x2d\t0xff00\n", []string{"--hex", "-p", "1"}},
		{first, []string{"--follow", "--limit", "1", "-p", "0"}},
	} {
		k.ok("", test.want, "", append([]string{"consume", topic}, test.args...)...)
	}
	out, errs, code := k.run("", "consume", topic, "--json")
	dec := json.NewDecoder(strings.NewReader(out))
	var got []recordJSON
	for {
		var r recordJSON
		if err := dec.Decode(&r); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	if code != 0 || errs != "" || len(got) != 4 || *got[0].Value != "hello" || got[0].Headers[1].Value != nil || got[1].Timestamp != "2020-11-23T09:00:02.005Z" ||
		*got[1].Value != "two\tfields\nand\x1b[2J lines\u202e" || got[2].Value != nil || string(got[3].Bytes) != "\xff\x00" {
		t.Errorf("as JSON: exit %d, %q\n%s", code, errs, out)
	}

	k.fails("", `Error: topic "`+topic+`-none": there is no such topic`, "consume", topic+"-none")
	k.fails("", `has 2 partitions: say with --partition of which 1 is an offset`, "consume", topic, "--from", "1")
	k.fails("", `has 2 partitions, and none is number 2`, "consume", topic, "-p", "2")
	k.fails("", "offset 9 is not there; it holds 0 to 3", "consume", topic, "-p", "0", "--from", "9")
	k.fails("", "is in the future", "consume", topic, "--from", "2999-01-01")
	k.fails("", "--hex and --json can't be used together", "consume", topic, "--hex", "--json")
	k.fails("", "--limit -1: a number of messages cannot be negative", "consume", topic, "--limit=-1")
	k.env = []string{"RACECAR_BROKERS=127.0.0.1:1"}
	k.fails("", "Error: no broker reachable, tried 127.0.0.1:1 (connection refused)", "consume", topic)
}

// consume shows only committed messages, and does not wait for an open transaction.
func TestConsumeOfTransactions(t *testing.T) {
	k, b := bed(t)
	topic := b.Topic(1)
	client := k.client(kgo.TransactionalID(topic))
	defer client.Close()
	transaction := func(value string, end kgo.TransactionEndTry) {
		t.Helper()
		err := errors.Join(client.BeginTransaction(), client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Timestamp: timeAt(1), Value: []byte(value)}).FirstErr(),
			client.EndTransaction(t.Context(), end))
		if err != nil {
			t.Fatal(err)
		}
	}
	transaction("committed", kgo.TryCommit)
	transaction("aborted", kgo.TryAbort)
	const committed = "0\t0\t2020-11-23T09:00:01.005Z\t-\tcommitted\n"
	k.ok("", committed, "", "consume", topic)
	if err := errors.Join(client.BeginTransaction(), client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("open")}).FirstErr()); err != nil {
		t.Fatal(err)
	}
	k.write(&kgo.Record{Topic: topic, Value: []byte("behind it")})
	k.ok("", committed, "=> "+topic+"/0: a transaction is open at offset 4; messages after it are not shown\n", "consume", topic)
	if err := client.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	if out, _, code := k.run("", "consume", topic); code != 0 || strings.Contains(out, "open") || !strings.HasSuffix(out, "\tbehind it\n") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

// --follow shows new messages of all partitions until it is interrupted.
func TestConsumeFollows(t *testing.T) {
	k, b := bed(t)
	topic := b.Topic(2)
	k.write(&kgo.Record{Topic: topic, Partition: 1, Timestamp: timeAt(1), Value: []byte("before")})
	out := &lockedBuffer{}
	a := &app{in: strings.NewReader(""), out: out, err: io.Discard, now: time.Now, environ: []string{"RACECAR_BROKERS=" + k.addr}}
	ctx, interrupt := context.WithCancel(t.Context())
	code := make(chan int, 1)
	go func() { code <- a.run(ctx, []string{"consume", topic, "--follow"}) }()
	await := func(want string) {
		t.Helper()
		harness.Eventually(t, want, func() error {
			if !strings.Contains(out.String(), want) {
				return errors.New(out.String())
			}
			return nil
		})
	}
	await("\tbefore\n")
	for p, value := range []string{"first", "second"} {
		k.write(&kgo.Record{Topic: topic, Partition: int32(p), Value: []byte(value)})
		await("\t" + value + "\n")
	}
	interrupt()
	select {
	case got := <-code:
		if got != exitOK {
			t.Errorf("exit %d", got)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it does not end")
	}
	if n := strings.Count(out.String(), "\n"); n != 3 {
		t.Errorf("%d lines:\n%s", n, out)
	}
}

// lockedBuffer is written and read by different goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// consume reports a batch that cannot be decoded with its offsets, and does not show the
// messages behind it as though nothing were missing.
func TestConsumeReportsCorruptBatches(t *testing.T) {
	k, b := bed(t)
	if b.Real() {
		t.Skip("Apache Kafka refuses such a batch")
	}
	topic := b.Topic(1)
	k.write(&kgo.Record{Topic: topic, Timestamp: timeAt(1), Value: []byte("before")})
	b.ProduceRaw(topic, 0, testbroker.RawBatch{Count: 3, Records: testbroker.RawRecord(0, []byte("x"), 0)})
	k.write(&kgo.Record{Topic: topic, Timestamp: timeAt(2), Value: []byte("after")})
	for _, args := range [][]string{{}, {"--follow"}} {
		out, errs, code := k.run("", append([]string{"consume", topic}, args...)...)
		want := "Error: " + topic + "/0: the batch with offsets 1 to 3 cannot be decoded: record 2 of 3 is malformed\n"
		if code != exitFailed || errs != want || out != "0\t0\t2020-11-23T09:00:01.005Z\t-\tbefore\n" {
			t.Errorf("%v: exit %d, %q\n%s", args, code, errs, out)
		}
	}
	k.ok("", "0\t4\t2020-11-23T09:00:02.005Z\t-\tafter\n", "", "consume", topic, "-p", "0", "--from", "4")
}
