package devkafka_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"go.uber.org/goleak"

	"github.com/racecar-go/racecar/devkafka"
)

// serveDir makes the test binary serve a data directory until it is killed.
const serveDir = "DEVKAFKA_TEST_SERVE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(serveDir); dir != "" {
		b, err := devkafka.Start(devkafka.Options{DataDir: dir})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(b.Addr())
		select {} // until killed
	}
	goleak.VerifyTestMain(m,
		// sarama's metrics library keeps one ticker for the life of the process.
		goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

func start(t *testing.T, o devkafka.Options) *devkafka.Broker {
	t.Helper()
	b, err := devkafka.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func clientConfig() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.V3_6_0_0
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Return.Successes = true
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Group.Heartbeat.Interval = 200 * time.Millisecond
	return c
}

// produce sends values key by key and fails the test unless all are acknowledged.
func produce(t *testing.T, addr, topic string, values ...string) {
	t.Helper()
	p, err := sarama.NewSyncProducer([]string{addr}, clientConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, v := range values {
		if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder(v), Value: sarama.StringEncoder(v)}); err != nil {
			t.Fatal(err)
		}
	}
}

// member consumes in a group until want messages have come or time is up, and
// returns them sorted. It commits what it saw.
type member struct {
	mu       sync.Mutex
	got      []string
	assigned chan int // number of partitions, at each new session
	want     int
	done     chan struct{}
}

func (m *member) Setup(s sarama.ConsumerGroupSession) error {
	n := 0
	for _, p := range s.Claims() {
		n += len(p)
	}
	m.assigned <- n
	return nil
}
func (m *member) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (m *member) ConsumeClaim(s sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	for msg := range c.Messages() {
		s.MarkMessage(msg, "")
		m.mu.Lock()
		m.got = append(m.got, string(msg.Value))
		if len(m.got) == m.want {
			close(m.done)
		}
		m.mu.Unlock()
	}
	return nil
}

// join starts a member; its stop function leaves, after the last commit, and
// returns what was consumed.
func join(t *testing.T, addr, topic, instance string, want int) (m *member, stop func() []string) {
	t.Helper()
	cfg := clientConfig()
	cfg.Consumer.Group.InstanceId = instance
	g, err := sarama.NewConsumerGroup([]string{addr}, "group", cfg)
	if err != nil {
		t.Fatal(err)
	}
	m = &member{assigned: make(chan int, 100), want: want, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			if err := g.Consume(ctx, []string{topic}, m); err != nil && ctx.Err() == nil {
				t.Errorf("consume: %v", err)
				return
			}
		}
	}()
	return m, func() []string {
		cancel()
		<-ended
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		slices.Sort(m.got)
		return m.got
	}
}

func (m *member) wait(t *testing.T) {
	t.Helper()
	select {
	case <-m.done:
	case <-time.After(20 * time.Second):
		t.Fatalf("got %d messages, want %d", len(m.got), m.want)
	}
}

func numbered(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s%03d", prefix, i)
	}
	return all
}

func TestProduceAndConsumeInAGroup(t *testing.T) {
	b := start(t, devkafka.Options{})
	sent := numbered("m", 100)
	produce(t, b.Addr(), "words", sent...)
	m, stop := join(t, b.Addr(), "words", "", len(sent))
	m.wait(t)
	if n := <-m.assigned; n != devkafka.DefaultPartitions {
		t.Errorf("assigned %d partitions, want %d", n, devkafka.DefaultPartitions)
	}
	if got := stop(); !slices.Equal(got, sent) {
		t.Errorf("got %d messages %v", len(got), got)
	}
}

func TestAStaticMemberComesBackToItsPartitions(t *testing.T) {
	b := start(t, devkafka.Options{})
	produce(t, b.Addr(), "words", "first")
	first, stopFirst := join(t, b.Addr(), "words", "a", 1)
	first.wait(t)
	other, stopOther := join(t, b.Addr(), "words", "b", -1)
	waitFor(t, "both to have a share", func() bool { return latest(first.assigned) == 4 })
	waitFor(t, "both to have a share", func() bool { return latest(other.assigned) == 4 })
	stopFirst() // sarama: a static member does not leave
	again, stopAgain := join(t, b.Addr(), "words", "a", -1)
	if n := <-again.assigned; n != 4 {
		t.Errorf("the member that came back has %d partitions, want 4", n)
	}
	if n := len(other.assigned); n != 0 {
		t.Errorf("the other member rebalanced %d times, want none", n)
	}
	stopAgain()
	stopOther()
}

// latest takes what has come and returns the last value seen, -1 without one.
func latest(c chan int) int {
	last := -1
	for {
		select {
		case last = <-c:
		default:
			return last
		}
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}

func TestTopicsOnDemand(t *testing.T) {
	for _, on := range []bool{true, false} {
		t.Run(fmt.Sprint(on), func(t *testing.T) {
			b := start(t, devkafka.Options{NoTopicsOnDemand: !on, Partitions: 3})
			cfg := clientConfig()
			cfg.Metadata.AllowAutoTopicCreation = false // as librdkafka's consumers
			cfg.Metadata.Retry.Max = 0
			c, err := sarama.NewClient(b.Addrs(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			p, err := c.Partitions("new")
			if on && (err != nil || len(p) != 3) {
				t.Errorf("partitions %v, error %v; want 3 partitions", p, err)
			}
			if !on && !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
				t.Errorf("partitions %v, error %v; want an unknown topic", p, err)
			}
			if err := b.CreateTopic("made", 5); err != nil {
				t.Error(err)
			}
			if p, err := c.Partitions("made"); err != nil || len(p) != 5 {
				t.Errorf("partitions %v, error %v; want 5 partitions", p, err)
			}
			if err := b.CreateTopic("made", 5); err == nil || !strings.Contains(err.Error(), `make topic "made": TOPIC_ALREADY_EXISTS`) {
				t.Errorf("made twice: %v", err)
			}
			// As Kafka, though kfake would make it.
			if err := b.CreateTopic("orders eu", 1); err == nil || !strings.Contains(err.Error(), `make topic "orders eu": INVALID_TOPIC`) {
				t.Errorf("a topic that Kafka refuses: %v", err)
			}
			if _, err := c.Partitions("orders/eu"); err == nil {
				t.Error("a topic that Kafka refuses is there")
			}
		})
	}
}

func TestSeveralBrokers(t *testing.T) {
	b := start(t, devkafka.Options{Brokers: 3})
	if len(b.Addrs()) != 3 {
		t.Fatalf("addresses %v, want 3", b.Addrs())
	}
	produce(t, b.Addr(), "words", numbered("m", 20)...) // some partition on each
	m, stop := join(t, b.Addrs()[2], "words", "", 20)
	m.wait(t)
	stop()
}

func TestListensOnLoopbackOnly(t *testing.T) {
	b := start(t, devkafka.Options{})
	host, _, err := net.SplitHostPort(b.Addr())
	if err != nil || host != "127.0.0.1" {
		t.Errorf("listens at %q, want 127.0.0.1", b.Addr())
	}
}

func TestDataOutlivesAStop(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "when missing")
	b := start(t, devkafka.Options{DataDir: dir})
	addr := b.Addr()
	produce(t, addr, "words", "one", "two")
	m, stop := join(t, addr, "words", "", 2)
	m.wait(t)
	stop()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}

	b = start(t, devkafka.Options{DataDir: dir})
	if b.Addr() != addr {
		t.Errorf("listens at %s, before at %s", b.Addr(), addr)
	}
	produce(t, b.Addr(), "words", "three")
	m, stop = join(t, b.Addr(), "words", "", 1)
	m.wait(t)
	if got := stop(); !slices.Equal(got, []string{"three"}) {
		t.Errorf("after the restart %v, want only what was not committed before", got)
	}
}

func TestDataOutlivesAKill(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	defer kill()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	addr := strings.TrimSpace(line)
	sent := numbered("m", 50)
	produce(t, addr, "words", sent...)
	m, stop := join(t, addr, "words", "", 50)
	m.wait(t)
	stop()
	produce(t, addr, "words", "later")

	if _, err := devkafka.Start(devkafka.Options{DataDir: dir}); !isInUse(err, dir, addr) {
		t.Errorf("second broker in the directory: %v, want InUseError", err)
	}
	free := make(chan error, 1)
	go func() { free <- devkafka.WaitFree(t.Context(), dir) }()
	kill()
	if err := <-free; err != nil {
		t.Fatal(err)
	}

	b := start(t, devkafka.Options{DataDir: dir})
	if b.Addr() != addr {
		t.Errorf("listens at %s, before at %s", b.Addr(), addr)
	}
	m, stop = join(t, addr, "words", "", 1)
	m.wait(t)
	if got := stop(); !slices.Equal(got, []string{"later"}) {
		t.Errorf("after the kill %v, want only what was not committed before", got)
	}
}

func isInUse(err error, dir, addr string) bool {
	in, ok := errors.AsType[*devkafka.InUseError](err)
	return ok && *in == devkafka.InUseError{Dir: dir, Addr: addr}
}

func TestWaitFreeEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	start(t, devkafka.Options{DataDir: dir})
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if err := devkafka.WaitFree(ctx, dir); !errors.Is(err, enough) {
		t.Errorf("got %v, want the cause", err)
	}
}

func TestStartRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		o    devkafka.Options
		want string
	}{
		{"taken port", devkafka.Options{Port: port}, fmt.Sprintf("embedded broker: 127.0.0.1:%d is taken; choose another port, or 0 for a free one", port)},
		{"port out of range", devkafka.Options{Port: 65536}, "embedded broker: port 65536 is not between 0 and 65535"},
		{"no partitions", devkafka.Options{Partitions: -1}, "embedded broker: -1 partitions; a topic has at least one"},
		{"no brokers", devkafka.Options{Brokers: -1}, "embedded broker: -1 brokers; a cluster has at least one"},
		{"one port for two", devkafka.Options{Brokers: 2, Port: 1}, "embedded broker: 2 brokers cannot share port 1"},
		{"file as directory", devkafka.Options{DataDir: file}, "embedded broker: data directory: mkdir " + file},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, err := devkafka.Start(tc.o)
			if err == nil {
				_ = b.Close() // that it started is the failure
			}
			if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("error %v, want %s", err, tc.want)
			}
		})
	}
}

func TestATakenPortLeavesTheDirectoryFree(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	if _, err := devkafka.Start(devkafka.Options{DataDir: dir, Port: taken.Addr().(*net.TCPAddr).Port}); err == nil {
		t.Fatal("started on a taken port")
	}
	start(t, devkafka.Options{DataDir: dir})
}

// Commands that only check whether a broker serves a directory share its lock for a moment.
func TestStartWaitsForThoseThatOnlyCheck(t *testing.T) {
	dir := t.TempDir()
	if err := start(t, devkafka.Options{DataDir: dir}).Close(); err != nil { // makes the lock
		t.Fatal(err)
	}
	lock, err := os.Open(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	if err := devkafka.WaitFree(t.Context(), dir); err != nil {
		t.Errorf("somebody that only checks serves nothing: %v", err)
	}
	started := make(chan error, 1)
	go func() {
		b, err := devkafka.Start(devkafka.Options{DataDir: dir})
		if err == nil {
			err = b.Close()
		}
		started <- err
	}()
	select {
	case err := <-started:
		t.Fatalf("started, or gave up, while somebody was checking: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-started; err != nil {
		t.Error(err)
	}
}
