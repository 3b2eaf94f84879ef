package monitor

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/DataDog/datadog-go/v5/statsd"
	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
	"github.com/sirupsen/logrus"
)

const (
	// flushInterval is how often the counts go to the client.
	flushInterval = time.Second
	// maxSamples is how many values of a timing or histogram go to the agent per flush,
	// partition and metric; the packet says which share of all values they are.
	maxSamples = 64
	// lagEvery is how many calls share one reading of the clock, except for the first of each
	// flush.
	lagEvery = 16
	// datadogNamespace and datadogPort are upstream's.
	datadogNamespace = "racecar"
	datadogPort      = 8125
)

// Datadog sends a worker's events as metrics under upstream's names, types and
// tags. It adds up counts and gauges per partition and sends them once a second, since a
// packet per message would cost more than most messages. It is safe for concurrent use.
type Datadog struct {
	agent  *agentClient
	log    logrus.FieldLogger
	now    func() time.Time
	client string // the tag client:…

	last  atomic.Pointer[series] // checked first: messages of a partition come in runs
	mu    sync.RWMutex
	parts map[partition]*series
	plain map[string]*counts // by topic, for metrics without a partition

	groupMu   sync.Mutex
	groupTags map[string][]string
	outages   map[string][]string // the tags of those that the worker is in

	stop chan struct{}
	done chan struct{}
	once sync.Once
}

type partition struct {
	group  string
	topic  string
	number int32
}

// series is what happened in a partition since the last flush. It is dropped by a flush that
// finds it revoked and unchanged, since events of a revoked partition may come late.
type series struct {
	partition
	tags []string

	mu          sync.Mutex
	messages    int64
	errors      int64
	batchErrors int64
	calls       uint
	offset      int64
	lag         time.Duration
	hasOffset   bool
	hasLag      bool
	pausedAt    time.Time // zero: not paused
	assigned    bool      // to the worker

	dropped atomic.Bool // no flush sends it any more
}

// counts is what producers did for a topic since the last flush.
type counts struct {
	tags     []string
	mu       sync.Mutex
	messages int64
	errors   int64
	bytes    int64
	acks     int64
	lost     int64
}

// NewDatadog returns the sink that c describes. Without an agent nothing is sent, as
// upstream does it.
func NewDatadog(c *config.Config, log logrus.FieldLogger) (*Datadog, error) {
	addr, err := datadogAddress(c)
	if err != nil {
		return nil, err
	}
	namespace := c.DatadogNamespace
	if namespace == "" {
		namespace = datadogNamespace
	}
	tags := make([]string, len(c.DatadogTags))
	for i, t := range c.DatadogTags {
		tags[i] = tag(t)
	}
	d, err := newDatadog(c, log, func() (*statsd.Client, error) {
		return statsd.New(addr,
			statsd.WithNamespace(strings.ReplaceAll(tag(namespace), ":", "_")),
			statsd.WithTags(tags),
			statsd.WithExtendedClientSideAggregation(),
			statsd.WithMaxSamplesPerContext(maxSamples),
			statsd.WithoutTelemetry(), // metrics about metrics, which upstream does not send
		)
	})
	if err != nil {
		return nil, fmt.Errorf("datadog at %s: %w", addr, err)
	}
	return d, nil
}

func newDatadog(c *config.Config, log logrus.FieldLogger, connect func() (*statsd.Client, error)) (*Datadog, error) {
	agent, err := findAgent(connect, log)
	if err != nil {
		return nil, err
	}
	d := &Datadog{
		agent: agent, log: log, now: time.Now, client: "client:" + tag(c.ClientID),
		parts: map[partition]*series{}, plain: map[string]*counts{}, groupTags: map[string][]string{}, outages: map[string][]string{},
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	go d.loop()
	return d, nil
}

func datadogAddress(c *config.Config) (string, error) {
	if c.DatadogSocketPath != "" {
		return "unix://" + c.DatadogSocketPath, nil
	}
	port := c.DatadogPort
	if port == 0 {
		port = datadogPort
	}
	if port < 0 || port > 65535 {
		return "", fmt.Errorf("datadog_port %d: must be 1 to 65535", c.DatadogPort)
	}
	if c.DatadogHost == "" && c.DatadogPort == 0 && (os.Getenv("DD_AGENT_HOST") != "" || os.Getenv("DD_DOGSTATSD_URL") != "") {
		return "", nil // the client reads these variables if it is given no address
	}
	host := c.DatadogHost
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}

// Close sends the remaining metrics. Later events are lost.
func (d *Datadog) Close() error {
	var err error
	d.once.Do(func() {
		close(d.stop)
		<-d.done
		d.flush()
		err = d.agent.close()
	})
	return err
}

func (d *Datadog) loop() {
	defer close(d.done)
	tick := time.NewTicker(flushInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.flush()
		case <-d.stop:
			return
		}
	}
}

// Observe takes an event. It ignores kinds that it does not know.
func (d *Datadog) Observe(e racecar.Event) {
	switch e := e.(type) {
	case event.ProcessMessage:
		d.processMessage(&e)
	case event.ProcessBatch:
		d.processBatch(&e)
	case event.ProduceMessage:
		d.produced(e.Topic, e.MessageSize, e.Err)
		d.histogram("producer.buffer.size", float64(e.BufferSize), d.topic(e.Topic).tags)
	case event.ProduceAsync:
		d.produced(e.Topic, e.MessageSize, e.Err)
		d.histogram("producer.buffer.size", float64(e.BufferSize), d.topic(e.Topic).tags)
	case event.ProduceSync:
		d.produced(e.Topic, e.MessageSize, e.Err)
	case event.AcknowledgedMessage:
		c := d.topic("")
		c.mu.Lock()
		c.acks++
		c.mu.Unlock()
	case event.ProduceDeliveryError:
		c := d.topic("")
		c.mu.Lock()
		c.lost++
		c.mu.Unlock()
	case event.DeliverMessages:
		tags := d.topic("").tags
		d.timing("producer.deliver.latency", e.Duration, tags)
		d.count("producer.deliver.messages", int64(e.Messages), tags)
	case event.MainLoop:
		d.histogram("consumer.loop.duration", milliseconds(e.Duration), d.group(e.Group))
	case event.PauseStatus:
		d.paused(&e)
	default:
		d.rare(e)
	}
}

// rare takes events that do not come with each message.
func (d *Datadog) rare(e racecar.Event) {
	switch e := e.(type) {
	case event.JoinGroup:
		d.timing("consumer.join_group", e.Duration, d.group(e.Group))
		if e.Err != nil {
			d.count("consumer.join_group.errors", 1, d.group(e.Group))
		}
	case event.LeaveGroup:
		d.timing("consumer.leave_group", e.Duration, d.group(e.Group))
		if e.Err != nil {
			d.count("consumer.leave_group.errors", 1, d.group(e.Group))
		}
	case event.PollRetry:
		d.count("consumer.poll.rdkafka_error."+errorCode(e.Err), 1, d.group(e.Group))
	case event.PartitionsAssigned:
		for topic, numbers := range e.Partitions {
			for _, n := range numbers {
				s := d.series(e.Group, topic, n)
				s.mu.Lock()
				s.assigned = true
				s.mu.Unlock()
			}
		}
	case event.PartitionsRevoked:
		for topic, numbers := range e.Partitions {
			for _, n := range numbers {
				d.revoked(d.series(e.Group, topic, n))
			}
		}
	// Upstream does not have the following events.
	case event.Rebalance:
		d.count("consumer.rebalances", 1, d.group(e.Group))
	case event.OffsetGap:
		d.count("consumer.offset_gaps", 1, d.series(e.Group, e.Topic, e.Partition).tags)
	case event.CommitFailed:
		d.count("consumer.commit.errors", 1, d.series(e.Group, e.Topic, e.Partition).tags)
	case event.DeadLetter:
		if e.Message != nil {
			s := d.series(e.Group, e.Message.Topic, e.Message.Partition)
			d.count("consumer.dead_letters", 1, s.tags)
			s.mu.Lock()
			s.messages++
			s.mu.Unlock()
		}
	case event.OutageStarted:
		d.outage(e.Group, e.Dependency, true)
	case event.OutageEnded:
		d.outage(e.Group, e.Dependency, false)
	case event.Poisoned:
		d.count("consumer.poisoned", 1, d.series(e.Group, e.Topic, e.Partition).tags)
	}
}

// outage notes that a dependency is unavailable, or no longer.
func (d *Datadog) outage(group, dependency string, began bool) {
	tags := append(slices.Clone(d.group(group)), "dependency:"+tag(dependency))
	key := strings.Join(tags, ",")
	d.groupMu.Lock()
	defer d.groupMu.Unlock()
	if began {
		d.outages[key] = tags
		return
	}
	delete(d.outages, key)
	d.gauge("consumer.outage", 0, tags) // a gauge keeps its last value
}

func (d *Datadog) processMessage(e *event.ProcessMessage) {
	s := d.series(e.Group, e.Message.Topic, e.Message.Partition)
	failed := e.Err != nil
	if !failed {
		d.timing("consumer.process_message.latency", e.Duration, s.tags)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if failed {
		s.errors++
		s.messages += int64(e.Done)
	} else {
		s.messages++
	}
	d.moved(s, e.Message)
}

func (d *Datadog) processBatch(e *event.ProcessBatch) {
	if len(e.Messages) == 0 {
		return
	}
	last := e.Messages[len(e.Messages)-1]
	s := d.series(e.Group, last.Topic, last.Partition)
	failed := e.Err != nil
	if !failed {
		d.timing("consumer.process_batch.latency", e.Duration, s.tags)
	}
	d.histogram("consumer.batch_size", float64(len(e.Messages)), s.tags)
	s.mu.Lock()
	defer s.mu.Unlock()
	if failed {
		s.batchErrors++
		s.messages += int64(e.Done)
	} else {
		s.messages += int64(len(e.Messages))
	}
	d.moved(s, last)
}

// moved notes the position of a partition. s.mu is held.
func (d *Datadog) moved(s *series, m *racecar.Message) {
	s.offset, s.hasOffset = m.Offset, true
	s.calls++
	if m.Timestamp.IsZero() { // not all messages have one
		return
	}
	// A gauge shows the last value alone, so not every message of a fast run has to read the
	// clock.
	if !s.hasLag || s.calls%lagEvery == 0 {
		s.lag, s.hasLag = d.now().Sub(m.Timestamp), true
	}
}

func (d *Datadog) paused(e *event.PauseStatus) {
	s := d.series(e.Group, e.Topic, e.Partition)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Duration == 0 {
		s.pausedAt = time.Time{}
	} else if s.pausedAt.IsZero() {
		s.pausedAt = d.now()
	}
}

func (d *Datadog) revoked(s *series) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.assigned {
		d.gauge("consumer.pause.duration", 0, s.tags) // a gauge keeps its last value
	}
	s.assigned, s.pausedAt = false, time.Time{}
}

func (d *Datadog) produced(topic string, size int, err error) {
	c := d.topic(topic)
	d.histogram("producer.produce.message_size", float64(size), c.tags)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.messages++
	c.bytes += int64(size)
	if err != nil {
		c.errors++
	}
}

// series returns that of a partition.
func (d *Datadog) series(group, topic string, number int32) *series {
	if s := d.last.Load(); s != nil && !s.dropped.Load() && s.number == number && s.topic == topic && s.group == group {
		return s
	}
	key := partition{group, topic, number}
	d.mu.RLock()
	s := d.parts[key]
	d.mu.RUnlock()
	if s == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		if s = d.parts[key]; s == nil {
			s = &series{partition: key, tags: []string{
				d.client, "group_id:" + tag(group), "topic:" + tag(topic), "partition:" + strconv.Itoa(int(number)),
			}}
			d.parts[key] = s
		}
	}
	d.last.Store(s)
	return s
}

// topic returns the counts of a topic; empty: those of all producers.
func (d *Datadog) topic(name string) *counts {
	d.mu.RLock()
	c := d.plain[name]
	d.mu.RUnlock()
	if c != nil {
		return c
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if c = d.plain[name]; c == nil {
		c = &counts{tags: []string{d.client}}
		if name != "" {
			c.tags = append(c.tags, "topic:"+tag(name))
		}
		d.plain[name] = c
	}
	return c
}

func (d *Datadog) group(name string) []string {
	d.groupMu.Lock()
	defer d.groupMu.Unlock()
	tags := d.groupTags[name]
	if tags == nil {
		tags = []string{d.client, "group_id:" + tag(name)}
		d.groupTags[name] = tags
	}
	return tags
}

// tag replaces the characters that would end a tag or a name in DogStatsD's protocol.
func tag(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ',' || r == '|' || r == '\n' {
			return '_'
		}
		return r
	}, s)
}

// flush sends the sums to the client; while there is none they go on growing.
func (d *Datadog) flush() {
	if d.agent.client.Load() == nil {
		return
	}
	d.mu.RLock()
	parts := make([]*series, 0, len(d.parts))
	for _, s := range d.parts {
		parts = append(parts, s)
	}
	topics := make([]*counts, 0, len(d.plain))
	for _, c := range d.plain {
		topics = append(topics, c)
	}
	d.mu.RUnlock()
	var unused []*series
	for _, s := range parts {
		if !d.send(s) {
			unused = append(unused, s)
		}
	}
	d.drop(unused)
	for _, c := range topics {
		d.sendCounts(c)
	}
	d.groupMu.Lock()
	defer d.groupMu.Unlock()
	for _, tags := range d.outages {
		d.gauge("consumer.outage", 1, tags)
	}
}

// drop removes partitions that the worker no longer has.
func (d *Datadog) drop(unused []*series) {
	if len(unused) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range unused {
		s.mu.Lock()
		if s.unused() {
			s.dropped.Store(true)
			delete(d.parts, s.partition)
		}
		s.mu.Unlock()
	}
	d.last.Store(nil)
}

// unused reports whether the worker does not have the partition and there is nothing to send.
// s.mu is held.
func (s *series) unused() bool {
	return !s.assigned && s.pausedAt.IsZero() && !s.hasOffset && s.messages == 0 && s.errors == 0 && s.batchErrors == 0
}

// send reports whether the partition is in use.
func (d *Datadog) send(s *series) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unused() {
		return false
	}
	d.count("consumer.messages", s.messages, s.tags)
	d.count("consumer.process_message.errors", s.errors, s.tags)
	d.count("consumer.process_batch.errors", s.batchErrors, s.tags)
	if s.hasOffset {
		d.gauge("consumer.offset", float64(s.offset), s.tags)
	}
	if s.hasLag {
		d.gauge("consumer.time_lag", float64(s.lag.Milliseconds()), s.tags)
	}
	switch {
	case !s.pausedAt.IsZero():
		d.gauge("consumer.pause.duration", d.now().Sub(s.pausedAt).Seconds(), s.tags)
	case s.assigned: // so that a monitor can distinguish a running partition from one that nobody has
		d.gauge("consumer.pause.duration", 0, s.tags)
	}
	s.messages, s.errors, s.batchErrors = 0, 0, 0
	s.hasOffset, s.hasLag = false, false
	return true
}

func (d *Datadog) sendCounts(c *counts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.count("producer.produce.messages", c.messages, c.tags)
	d.count("producer.produce.errors", c.errors, c.tags)
	d.count("producer.produce.message_size.sum", c.bytes, c.tags)
	d.count("producer.ack.messages", c.acks, c.tags)
	d.count("producer.produce.delivery.errors", c.lost, c.tags)
	c.messages, c.errors, c.bytes, c.acks, c.lost = 0, 0, 0, 0, 0
}

// The client's errors are about a closed client or a full queue. A lost metric is worth a
// debug line and no more.

func (d *Datadog) count(name string, n int64, tags []string) {
	if n != 0 {
		d.lost(name, d.agent.client.Load().Count(name, n, tags, 1))
	}
}

func (d *Datadog) gauge(name string, v float64, tags []string) {
	d.lost(name, d.agent.client.Load().Gauge(name, v, tags, 1))
}

func (d *Datadog) histogram(name string, v float64, tags []string) {
	d.lost(name, d.agent.client.Load().Histogram(name, v, tags, 1))
}

func (d *Datadog) timing(name string, v time.Duration, tags []string) {
	d.lost(name, d.agent.client.Load().TimeInMilliseconds(name, milliseconds(v), tags, 1))
}

func (d *Datadog) lost(name string, err error) {
	if err != nil {
		d.log.WithError(err).WithField("metric", name).Debug("Metric lost")
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
