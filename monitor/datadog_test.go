package monitor

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

// agent takes metrics as a Datadog agent does.
type agent struct {
	packets chan string
}

// newAgent reads all the time, as an agent does: a unix socket holds no more than ten
// packets.
func newAgent(t *testing.T, conn net.PacketConn) *agent {
	t.Helper()
	a := &agent{make(chan string, 1000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			a.packets <- string(buf[:n])
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return a
}

func udpAgent(t *testing.T) (*agent, config.Config) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := datadogConfig()
	c.DatadogHost, c.DatadogPort = "127.0.0.1", conn.LocalAddr().(*net.UDPAddr).Port
	return newAgent(t, conn), c
}

func unixAgent(t *testing.T) (*agent, config.Config) {
	t.Helper()
	dir, err := os.MkdirTemp("", "dd") //nolint:usetesting // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "dsd.socket")
	conn, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	c := datadogConfig()
	c.DatadogSocketPath = path
	c.DatadogHost, c.DatadogPort = "not.used.invalid", 1
	return newAgent(t, conn), c
}

func datadogConfig() config.Config {
	c := config.Default()
	c.ClientID, c.DatadogEnabled = "racecar", true
	c.DatadogTags = []string{"env:test"}
	return c
}

// lines reads until n different metrics have come, each as `name|type|tags`, with its values in
// order of arrival.
func (a *agent) lines(t *testing.T, n int) map[string][]float64 {
	t.Helper()
	got := map[string][]float64{}
	deadline := time.After(10 * time.Second)
	for len(got) < n {
		select {
		case packet := <-a.packets:
			for line := range strings.Lines(packet) {
				addLine(t, got, strings.TrimSpace(line))
			}
		case <-deadline:
			return got // what is missing the caller sees
		}
	}
	return got
}

var ownFields = regexp.MustCompile(`\|(c:|e:|T)[^|]*`) // container and the like

func addLine(t *testing.T, got map[string][]float64, line string) {
	t.Helper()
	fields := strings.Split(ownFields.ReplaceAllString(line, ""), "|")
	name, values, ok := strings.Cut(fields[0], ":")
	if !ok || len(fields) < 3 {
		t.Errorf("malformed: %q", line)
		return
	}
	tags := strings.Split(strings.TrimPrefix(fields[len(fields)-1], "#"), ",")
	slices.Sort(tags)
	key := name + "|" + fields[1] + "|" + strings.Join(tags, ",")
	for _, v := range strings.Split(values, ":") {
		f, err := strconv.ParseFloat(v, 64)
		if err != nil {
			t.Errorf("%q: %v", line, err)
		}
		got[key] = append(got[key], f)
	}
}

// everything returns at least one event of each kind that a worker emits.
func everything(now time.Time) []racecar.Event {
	const consumer, group = "UserBanConsumer", "g"
	message := func(p int32, offset int64) *racecar.Message {
		return &racecar.Message{Topic: "t", Partition: p, Offset: offset, Timestamp: now.Add(-1500 * time.Millisecond)}
	}
	bad := errors.New("bad")
	return []racecar.Event{
		event.StartMainLoop{Consumer: consumer, Group: group},
		event.StartProcessMessage{Consumer: consumer, Group: group, Message: message(0, 5)},
		event.ProcessMessage{Consumer: consumer, Group: group, Message: message(0, 5), Duration: 2 * time.Millisecond},
		event.ProcessMessage{Consumer: consumer, Group: group, Message: message(0, 6), Duration: 1500 * time.Microsecond},
		event.ProcessMessage{Consumer: consumer, Group: group, Message: message(0, 7), Duration: time.Millisecond, Err: bad},
		event.ProcessBatch{Consumer: consumer, Group: group, Messages: []*racecar.Message{message(1, 10), message(1, 11), message(1, 12)}, Duration: 30 * time.Millisecond},
		event.ProcessBatch{Consumer: consumer, Group: group, Messages: []*racecar.Message{message(1, 13)}, Duration: time.Millisecond, Err: bad},
		event.ProcessMessage{Consumer: consumer, Group: group, Message: &racecar.Message{Topic: "t", Partition: 2, Offset: 9}},
		event.MainLoop{Consumer: consumer, Group: group, Topic: "t", Duration: 50 * time.Millisecond},
		event.JoinGroup{Consumer: consumer, Group: group, Duration: 700 * time.Millisecond, Err: bad},
		event.LeaveGroup{Consumer: consumer, Group: group, Duration: 20 * time.Millisecond, Err: bad},
		event.PollRetry{Consumer: consumer, Group: group, Attempt: 1, Err: fmt.Errorf("fetch: %w", sarama.ErrNotLeaderForPartition)},
		event.PauseStatus{Consumer: consumer, Group: group, Topic: "t", Partition: 3, Duration: 10 * time.Second},
		event.ProduceMessage{Topic: "out", MessageSize: 100, BufferSize: 3},
		event.ProduceMessage{Topic: "out", MessageSize: 50, BufferSize: 4, Err: bad},
		event.ProduceAsync{Topic: "async", MessageSize: 10, BufferSize: 1},
		event.ProduceSync{Topic: "sync", MessageSize: 20, BufferSize: 1},
		event.DeliverMessages{Messages: 2, Duration: 5 * time.Millisecond},
		event.AcknowledgedMessage{Topic: "out"},
		event.AcknowledgedMessage{Topic: "out"},
		event.ProduceDeliveryError{Topic: "out", Err: bad},
		event.Rebalance{Consumer: consumer, Group: group},
		event.OffsetGap{Consumer: consumer, Group: group, Topic: "t", Partition: 0},
		event.CommitFailed{Consumer: consumer, Group: group, Topic: "t", Partition: 0},
		event.DeadLetter{Consumer: consumer, Group: group, Message: message(0, 7)},
		event.Poisoned{Consumer: consumer, Group: group, Topic: "t", Partition: 0},
		event.OutageStarted{Consumer: consumer, Group: group, Dependency: "db", Err: bad},
		event.OutageStarted{Consumer: consumer, Group: group},
		event.OutageEnded{Consumer: consumer, Group: group, Duration: time.Minute},
		event.ShutDown{Consumer: consumer, Group: group},
	}
}

// expected returns the metrics that everything results in: upstream's by name, type and tags
// (lib/racecar/datadog.rb), then ours.
func expected(namespace string) map[string][]float64 {
	const client, group = "client:racecar,env:test", "client:racecar,env:test,group_id:g"
	part := func(n int) string { return fmt.Sprintf("%s,partition:%d,topic:t", group, n) }
	topic := func(name string) string { return client + ",topic:" + name }
	outage := func(dependency string) string {
		return "client:racecar,dependency:" + dependency + ",env:test,group_id:g"
	}
	want := map[string][]float64{
		"consumer.messages|c|" + part(0):                                  {3},
		"consumer.messages|c|" + part(1):                                  {3},
		"consumer.messages|c|" + part(2):                                  {1},
		"consumer.process_message.latency|ms|" + part(0):                  {2, 1.5},
		"consumer.process_message.latency|ms|" + part(2):                  {0},
		"consumer.process_message.errors|c|" + part(0):                    {1},
		"consumer.process_batch.latency|ms|" + part(1):                    {30},
		"consumer.process_batch.errors|c|" + part(1):                      {1},
		"consumer.batch_size|h|" + part(1):                                {3, 1},
		"consumer.offset|g|" + part(0):                                    {7},
		"consumer.offset|g|" + part(1):                                    {13},
		"consumer.offset|g|" + part(2):                                    {9},
		"consumer.time_lag|g|" + part(0):                                  {1500},
		"consumer.time_lag|g|" + part(1):                                  {1500},
		"consumer.outage|g|" + outage("db"):                               {1},
		"consumer.outage|g|" + outage(""):                                 {0},
		"consumer.join_group|ms|" + group:                                 {700},
		"consumer.join_group.errors|c|" + group:                           {1},
		"consumer.leave_group|ms|" + group:                                {20},
		"consumer.leave_group.errors|c|" + group:                          {1},
		"consumer.poll.rdkafka_error.not_leader_for_partition|c|" + group: {1},
		"consumer.loop.duration|h|" + group:                               {50},
		"consumer.pause.duration|g|" + part(3):                            {4},
		"producer.produce.messages|c|" + topic("out"):                     {2},
		"producer.produce.messages|c|" + topic("async"):                   {1},
		"producer.produce.messages|c|" + topic("sync"):                    {1},
		"producer.produce.errors|c|" + topic("out"):                       {1},
		"producer.produce.message_size|h|" + topic("out"):                 {100, 50},
		"producer.produce.message_size|h|" + topic("async"):               {10},
		"producer.produce.message_size|h|" + topic("sync"):                {20},
		"producer.produce.message_size.sum|c|" + topic("out"):             {150},
		"producer.produce.message_size.sum|c|" + topic("async"):           {10},
		"producer.produce.message_size.sum|c|" + topic("sync"):            {20},
		"producer.buffer.size|h|" + topic("out"):                          {3, 4},
		"producer.buffer.size|h|" + topic("async"):                        {1},
		"producer.deliver.latency|ms|" + client:                           {5},
		"producer.deliver.messages|c|" + client:                           {2},
		"producer.ack.messages|c|" + client:                               {2},
		"producer.produce.delivery.errors|c|" + client:                    {1},

		"consumer.rebalances|c|" + group:      {1},
		"consumer.offset_gaps|c|" + part(0):   {1},
		"consumer.commit.errors|c|" + part(0): {1},
		"consumer.dead_letters|c|" + part(0):  {1},
		"consumer.poisoned|c|" + part(0):      {1},
	}
	named := map[string][]float64{}
	for k, v := range want {
		named[namespace+"."+k] = v
	}
	return named
}

func TestDatadogSendsUpstreamsMetrics(t *testing.T) {
	for name, listen := range map[string]func(*testing.T) (*agent, config.Config){"udp": udpAgent, "unix": unixAgent} {
		t.Run(name, func(t *testing.T) {
			agent, c := listen(t)
			namespace := "racecar"
			if name == "unix" {
				c.DatadogNamespace, namespace = "custom", "custom"
			}
			log, _ := logtest.NewNullLogger()
			d, err := NewDatadog(&c, log)
			if err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			d.now = func() time.Time { return now }
			for _, e := range everything(now) {
				d.Observe(e)
			}
			d.now = func() time.Time { return now.Add(4 * time.Second) }
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			if err := d.Close(); err != nil {
				t.Errorf("closed twice: %v", err)
			}
			want := expected(namespace)
			got := agent.lines(t, len(want))
			for k, v := range want {
				if !slices.Equal(got[k], v) {
					t.Errorf("%s = %v, want %v", k, got[k], v)
				}
			}
			for k, v := range got {
				if want[k] == nil {
					t.Errorf("not expected: %s = %v", k, v)
				}
			}
		})
	}
}

// A setting cannot contain characters that end a name or a tag in DogStatsD's protocol.
func TestDatadogDelimiters(t *testing.T) {
	a, c := udpAgent(t)
	c.ClientID, c.DatadogNamespace, c.DatadogTags = "x|y,z", "a:b|c", []string{"env:p|x"}
	log, _ := logtest.NewNullLogger()
	d, err := NewDatadog(&c, log)
	if err != nil {
		t.Fatal(err)
	}
	d.Observe(event.JoinGroup{Group: "g|,h"})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	packet := <-a.packets
	line, _, _ := strings.Cut(packet, "\n")
	name, rest, _ := strings.Cut(line, ":")
	if !strings.HasPrefix(name, "a_b_c.") || !strings.HasSuffix(rest, "|#env:p_x,client:x_y_z,group_id:g__h") {
		t.Errorf("%q", packet)
	}
}

func TestDatadogPartitionsComeAndGo(t *testing.T) {
	agent, c := udpAgent(t)
	log, _ := logtest.NewNullLogger()
	d, err := NewDatadog(&c, log)
	if err != nil {
		t.Fatal(err)
	}
	d.Observe(event.PartitionsAssigned{Group: "g", Partitions: map[string][]int32{"t|,x": {0, 1, 2}}})
	for i := range 3 {
		d.Observe(event.ProcessMessage{Group: "g", Message: &racecar.Message{Topic: "t|,x", Partition: int32(i), Offset: 1}})
	}
	d.Observe(event.PauseStatus{Group: "g", Topic: "t|,x", Partition: 2, Duration: racecar.PauseForever})
	d.Observe(event.PauseStatus{Group: "g", Topic: "t|,x", Partition: 2})
	d.Observe(event.PartitionsRevoked{Group: "g", Partitions: map[string][]int32{"t|,x": {0, 1, 2, 3}}})
	stale := d.series("g", "t|,x", 0)
	d.flush() // sends what there is
	d.flush() // drops the partitions
	if len(d.parts) != 0 {
		t.Errorf("%d partitions are kept after they were revoked", len(d.parts))
	}
	d.last.Store(stale) // by whoever has looked it up before
	d.Observe(event.PartitionsAssigned{Group: "g", Partitions: map[string][]int32{"t|,x": {0}}})
	if d.series("g", "t|,x", 0) == stale {
		t.Error("a partition that comes back is counted where no flush looks")
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	got := agent.lines(t, 10)
	for i := range 3 {
		if k := fmt.Sprintf("racecar.consumer.messages|c|client:racecar,env:test,group_id:g,partition:%d,topic:t__x", i); !slices.Equal(got[k], []float64{1}) {
			t.Errorf("%s = %v", k, got[k])
		}
	}
	for i := range 3 { // also of what was never paused, so that a monitor has data
		if k := fmt.Sprintf("racecar.consumer.pause.duration|g|client:racecar,env:test,group_id:g,partition:%d,topic:t__x", i); !slices.Contains(got[k], 0) {
			t.Errorf("%s = %v", k, got[k])
		}
	}
	d.Observe(event.CommitFailed{Group: "g", Topic: "t", Partition: 9}) // late, after its revocation
	if d.series("g", "t", 9).assigned {
		t.Error("partition 9 counts as assigned")
	}
}

// datadog_enabled is enough: the agent is at its usual address unless the environment names
// another.
func TestDatadogFindsItsAgent(t *testing.T) {
	log, _ := logtest.NewNullLogger()
	for _, test := range []struct{ variable, value, want string }{
		{"DD_AGENT_HOST", "", "127.0.0.1:8125"},
		{"DD_AGENT_HOST", "127.0.0.2", ""},
		{"DD_DOGSTATSD_URL", "udp://127.0.0.2:9", ""},
	} {
		t.Run(test.variable+"="+test.value, func(t *testing.T) {
			t.Setenv("DD_AGENT_HOST", "")
			t.Setenv("DD_DOGSTATSD_URL", "")
			t.Setenv(test.variable, test.value)
			c := datadogConfig()
			if addr, err := datadogAddress(&c); err != nil || addr != test.want {
				t.Errorf("%q, %v; want %q", addr, err, test.want)
			}
			d, err := NewDatadog(&c, log)
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDatadogWithoutAnAgent(t *testing.T) {
	log, _ := logtest.NewNullLogger()
	c := datadogConfig()
	c.DatadogSocketPath = filepath.Join(t.TempDir(), "none.socket")
	d, err := NewDatadog(&c, log)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range everything(time.Now()) {
		d.Observe(e)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	c = datadogConfig()
	c.DatadogPort = 70000
	if _, err := NewDatadog(&c, log); err == nil || !strings.Contains(err.Error(), "datadog_port 70000") {
		t.Errorf("port 70000: %v", err)
	}
}

func TestErrorCodes(t *testing.T) {
	for want, err := range map[string]error{
		"no_error":              nil,
		"transport":             fmt.Errorf("read: %w", io.EOF),
		"timed_out":             os.ErrDeadlineExceeded,
		"all_brokers_down":      sarama.ErrOutOfBrokers,
		"rebalance_in_progress": fmt.Errorf("x: %w", sarama.ErrRebalanceInProgress),
		"unknown":               sarama.KError(12345),
		"fail":                  errors.New("something"),
	} {
		if got := errorCode(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
	for code, name := range brokerCodes {
		if !regexp.MustCompile(`^[a-z_]+$`).MatchString(name) {
			t.Errorf("%v: %q", code, name)
		}
	}
}

// BenchmarkSinks measures the cost per message of Datadog. Prometheus has none: its counters
// are kept anyway.
func BenchmarkSinks(b *testing.B) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	c := datadogConfig()
	c.DatadogHost, c.DatadogPort = "127.0.0.1", conn.LocalAddr().(*net.UDPAddr).Port
	log, _ := logtest.NewNullLogger()
	w, err := NewWorker(&c, nil, log)
	if err != nil {
		b.Fatal(err)
	}
	emit := w.Emit()
	messages := make([]racecar.Message, 1000)
	for i := range messages {
		messages[i] = racecar.Message{Topic: "greetings", Partition: int32(i / 250), Offset: int64(i), Timestamp: time.Now()}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m := &messages[i%len(messages)]
		emit(event.ProcessMessage{Consumer: "A", Group: "g", Message: m, Duration: 12345})
	}
	b.StopTimer()
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
}

// A call that ends after its partition was lost counts, and leaves nothing behind.
func TestDatadogCountsCallsOfLostPartitions(t *testing.T) {
	agent, c := udpAgent(t)
	log, _ := logtest.NewNullLogger()
	d, err := NewDatadog(&c, log)
	if err != nil {
		t.Fatal(err)
	}
	d.Observe(event.PartitionsAssigned{Group: "g", Partitions: map[string][]int32{"t": {0}}})
	d.Observe(event.PartitionsRevoked{Group: "g", Partitions: map[string][]int32{"t": {0}}, Lost: true})
	d.Observe(event.ProcessMessage{Group: "g", Message: &racecar.Message{Topic: "t", Offset: 1}})
	d.flush()
	d.flush()
	if n := len(d.parts); n != 0 {
		t.Errorf("%d partitions are kept", n)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	const key = "racecar.consumer.messages|c|client:racecar,env:test,group_id:g,partition:0,topic:t"
	if got := agent.lines(t, 4)[key]; !slices.Equal(got, []float64{1}) {
		t.Errorf("%v", got)
	}
}
