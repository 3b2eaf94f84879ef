package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/registered"
	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// patient is how long tests wait for what must come.
const patient = 30 * time.Second

// processor is a consumer made of functions.
type processor struct {
	process  func(context.Context, *racecar.Message) error
	assigned func(racecar.Assignment)
	revoked  func(racecar.Assignment)
	teardown func()
	out      racecar.Producer
}

func (p *processor) Process(ctx context.Context, m *racecar.Message) error { return p.process(ctx, m) }
func (p *processor) OnPartitionsAssigned(_ context.Context, a racecar.Assignment) {
	if p.assigned != nil {
		p.assigned(a)
	}
}
func (p *processor) OnPartitionsRevoked(_ context.Context, a racecar.Assignment) {
	if p.revoked != nil {
		p.revoked(a)
	}
}
func (p *processor) Teardown(context.Context) error {
	if p.teardown != nil {
		p.teardown()
	}
	return nil
}

// testConfig is a configuration for a worker of tests: everything quick. Without a
// broker it has none.
func testConfig(b *testbroker.Broker, group string) config.Config {
	var addrs []string
	if b != nil {
		addrs = b.Addrs()
	}
	return config.Config{
		Brokers: addrs, ClientID: "racecar", GroupID: group,
		OffsetCommitInterval: 200 * time.Millisecond, HeartbeatInterval: 100 * time.Millisecond,
		SessionTimeout: 10 * time.Second, MaxPollInterval: 60 * time.Second,
		PartitionAssignmentStrategy: []string{"range"},
		FetchMessages:               100, FetchMinBytes: 1, MaxBytes: 10 << 20, MaxWaitTime: 100 * time.Millisecond,
		MinMessageQueueSize: 2000, SocketTimeout: 10 * time.Second,
		MultiSubscriptionStrategy: "exhaust-topic", TopicMetadataRefreshInterval: 60 * time.Second,
		Concurrency: 1, Membership: config.MembershipRun, PauseTimeout: 50 * time.Millisecond,
		MessageTimeout: 10 * time.Second, ProduceInFlight: 1000, Partitioner: "consistent_random",
		ShutdownTimeout: 20 * time.Second,
	}
}

// registrations numbers the consumers that tests register: a name is taken once.
var registrations atomic.Int64

// registration registers a consumer for one test.
func registration(t testing.TB, spec racecar.Spec, make func(racecar.Runtime) (*processor, error)) *racecar.Registration {
	t.Helper()
	spec.Name = fmt.Sprintf("%s-%d", t.Name(), registrations.Add(1))
	racecar.Register(make, spec)
	return registered.Lookup(spec.Name)
}

// supervisor is the other end of a worker's socket, in a test.
type supervisor struct {
	t    testing.TB
	conn *wire.Conn
	raw  net.Conn

	board *scoreboard.Board

	mu      sync.Mutex
	cond    *sync.Cond
	frame   wire.Frame
	frames  int
	members []status.Member
	replies map[uint64]wire.Reply
	last    *wire.ExitReason
	probed  []wire.Probed
	outages map[string]wire.Outage
	ids     uint64
	exited  bool
	exit    int
}

type startOption func(*Options)

func withIndex(i int) startOption { return func(o *Options) { o.Handshake.Index = i } }
func withNonce(n string) startOption {
	return func(o *Options) { o.Handshake.Nonce = n }
}

// start runs a worker in this process.
func start(t testing.TB, reg *racecar.Registration, cfg config.Config, opts ...startOption) *supervisor {
	t.Helper()
	ours, theirs := net.Pipe()
	s := &supervisor{t: t, conn: wire.NewConn(ours), raw: ours, replies: map[uint64]wire.Reply{}, outages: map[string]wire.Outage{}}
	s.cond = sync.NewCond(&s.mu)
	o := inlineOptions(t, reg, cfg)
	o.Conn = wire.NewConn(theirs)
	for _, f := range opts {
		f(&o)
	}
	if o.Board == nil {
		f, board, err := scoreboard.Create(o.Handshake.Consumer.Config.Concurrency)
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close() // mapped
		o.Board = board
	}
	s.board = o.Board
	go s.read()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer theirs.Close()
		code := Run(context.Background(), o)
		s.change(func() { s.exited, s.exit = true, code })
	}()
	t.Cleanup(func() {
		_ = ours.Close() // as if the supervisor were gone
		select {
		case <-done:
		case <-time.After(patient):
			t.Error("the worker did not end")
		}
	})
	return s
}

// inlineOptions are those of a worker without a supervisor.
func inlineOptions(t testing.TB, reg *racecar.Registration, cfg config.Config) Options {
	log := logrus.New()
	if log.SetOutput(testWriter(t)); os.Getenv("BENCH_LOG") != "" {
		log.SetOutput(os.Stderr)
	}
	log.SetLevel(logrus.DebugLevel)
	log.SetFormatter(&logrus.TextFormatter{DisableColors: true, TimestampFormat: "15:04:05.000", FullTimestamp: true})
	return Options{
		Handshake: wire.Handshake{
			Consumer: wire.Consumer{Name: reg.Name(), Config: cfg}, Nonce: "n0", StartedAt: time.Now(),
		},
		Lookup: registered.Lookup,
		Log:    log,
		Stderr: io.Discard,
	}
}

func (s *supervisor) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.cond.Broadcast()
}

func (s *supervisor) read() {
	for {
		e, err := s.conn.Read()
		if err != nil {
			return
		}
		s.change(func() {
			switch e.Kind {
			case wire.KindFrame:
				_ = e.Decode(&s.frame)
				s.frames++
			case wire.KindMembers:
				s.members = nil
				_ = e.Decode(&s.members)
			case wire.KindReply:
				var r wire.Reply
				_ = e.Decode(&r)
				s.replies[r.ID] = r
			case wire.KindProbed:
				var p wire.Probed
				_ = e.Decode(&p)
				s.probed = append(s.probed, p)
			case wire.KindOutage:
				var o wire.Outage
				_ = e.Decode(&o)
				s.outages[o.Dependency] = o
			case wire.KindExitReason:
				s.last = &wire.ExitReason{}
				_ = e.Decode(s.last)
			}
		})
	}
}

// await waits until f, called with the lock held, is true.
func (s *supervisor) await(what string, f func() bool) {
	s.t.Helper()
	s.awaitUpTo(patient, what, f)
}

// awaitUpTo is await where patient is not enough.
func (s *supervisor) awaitUpTo(limit time.Duration, what string, f func() bool) {
	s.t.Helper()
	timeout := time.AfterFunc(limit, func() { s.change(func() {}) })
	defer timeout.Stop()
	deadline := time.Now().Add(limit)
	s.mu.Lock()
	defer s.mu.Unlock()
	for !f() {
		if !time.Now().Before(deadline) {
			s.t.Fatalf("waited in vain for %s; last frame %+v, last words %+v", what, s.frame, s.last)
		}
		s.cond.Wait()
	}
}

// processed is how many messages the worker has counted.
func (s *supervisor) processed() uint64 {
	return s.board.Counters().Work().Counters[status.CountMessages]
}

func (s *supervisor) running() {
	s.t.Helper()
	s.await("running", func() bool { return s.frame.State == status.Running })
}

// command sends one and waits for the reply.
func (s *supervisor) command(c wire.Command) wire.Reply {
	s.t.Helper()
	s.change(func() { s.ids++; c.ID = s.ids })
	if err := s.conn.Write(wire.KindCommand, c); err != nil {
		s.t.Fatal(err)
	}
	var r wire.Reply
	s.await("the reply to "+string(c.Kind), func() bool { var ok bool; r, ok = s.replies[c.ID]; return ok })
	s.change(func() { delete(s.replies, c.ID) }) // tests of what is left behind look at the heap
	return r
}

func (s *supervisor) status() status.Report {
	s.t.Helper()
	r := s.command(wire.Command{Kind: wire.CommandStatus})
	var report status.Report
	if err := json.Unmarshal(r.Data, &report); err != nil {
		s.t.Fatal(err)
	}
	return report
}

// stop ends the worker gracefully and returns its exit code.
func (s *supervisor) stop() int {
	s.t.Helper()
	return s.stopUpTo(20 * time.Second)
}

// stopUpTo is stop with so much time for the call in hand.
func (s *supervisor) stopUpTo(grace time.Duration) int {
	s.t.Helper()
	if err := s.conn.Write(wire.KindCommand, wire.Command{Kind: wire.CommandStop, Grace: grace, Leave: true}); err != nil {
		s.t.Fatal(err)
	}
	s.awaitUpTo(max(grace, patient), "the exit", func() bool { return s.exited })
	return s.exit
}

func (s *supervisor) awaitExit() int {
	s.t.Helper()
	s.await("the exit", func() bool { return s.exited })
	return s.exit
}

func (s *supervisor) exitReport() wire.ExitReason {
	s.t.Helper()
	s.await("the exit report", func() bool { return s.last != nil })
	return *s.last
}

// testWriter hands lines to the test's log, until it is over.
func testWriter(t testing.TB) io.Writer {
	w := &tLog{t: t}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.t = nil
	})
	return w
}

type tLog struct {
	mu sync.Mutex
	t  testing.TB
}

func (w *tLog) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Log(string(p[:len(p)-1]))
	}
	return len(p), nil
}

// recorder remembers what was processed.
type recorder struct {
	mu   sync.Mutex
	cond *sync.Cond
	got  map[topicPartition][]int64
	n    int
}

func newRecorder() *recorder {
	r := &recorder{got: map[topicPartition][]int64{}}
	r.cond = sync.NewCond(&r.mu)
	return r
}

func (r *recorder) add(m *racecar.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := topicPartition{m.Topic, m.Partition}
	r.got[k] = append(r.got[k], m.Offset)
	r.n++
	r.cond.Broadcast()
}

// await waits for n messages in all.
func (r *recorder) await(t testing.TB, n int) {
	t.Helper()
	timeout := time.AfterFunc(patient, r.cond.Broadcast)
	defer timeout.Stop()
	deadline := time.Now().Add(patient)
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.n < n {
		if !time.Now().Before(deadline) {
			t.Fatalf("waited in vain for %d messages, got %d", n, r.n)
		}
		r.cond.Wait()
	}
}

// each calls f with what was processed of each partition, in order.
func (r *recorder) offsets(k topicPartition) []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got[k])
}

func values(n int) []string {
	vs := make([]string, n)
	for i := range vs {
		vs[i] = fmt.Sprintf("value-%d", i)
	}
	return vs
}

// send writes values to partition 0 of a topic of brokers that are no test broker.
func send(t testing.TB, addrs []string, topic string, values ...string) {
	t.Helper()
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	conf.Producer.Return.Successes = true
	conf.Producer.Retry.Max = 50 // a broker that is just back may need a while
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	p, err := sarama.NewSyncProducer(addrs, conf)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var ms []*sarama.ProducerMessage
	for _, v := range values {
		ms = append(ms, &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(v)})
	}
	if err := p.SendMessages(ms); err != nil {
		t.Fatal(err)
	}
}

func wantUpTo(t testing.TB, got []int64, n int) {
	t.Helper()
	if len(got) != n {
		t.Fatalf("%d messages, want %d", len(got), n)
	}
	for i, o := range got {
		if o != int64(i) {
			t.Fatalf("message %d is offset %d", i, o)
		}
	}
}

func TestConsumesCommitsAndStops(t *testing.T) {
	b := testbroker.New(t)
	topic, group := b.Topic(3), b.Group()
	for p := range int32(3) {
		b.Produce(topic, p, values(500)...)
	}
	rec := newRecorder()
	down := 0
	reg := registration(t, racecar.Spec{Subscriptions: []racecar.Subscription{{Topic: topic}}}, func(racecar.Runtime) (*processor, error) {
		return &processor{
			process:  func(_ context.Context, m *racecar.Message) error { rec.add(m); return nil },
			teardown: func() { down++ },
		}, nil
	})
	s := start(t, reg, testConfig(b, group))
	s.running()
	rec.await(t, 1500)
	if code := s.stop(); code != wire.ExitOK {
		t.Errorf("exit code %d", code)
	}
	for p := range int32(3) {
		wantUpTo(t, rec.offsets(topicPartition{topic, p}), 500)
		if c := b.Committed(group, topic, p); c != 500 {
			t.Errorf("committed %d of partition %d", c, p)
		}
	}
	if down != 1 {
		t.Errorf("Teardown ran %d times", down)
	}
}
