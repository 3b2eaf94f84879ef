package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/locks"
	"github.com/racecar-go/racecar/internal/printable"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/access"
	"github.com/racecar-go/racecar/kafka/fetch"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
)

// membership is a worker's part in the consumer group: a client, a sarama consumer
// group and a commit loop. A worker has one, or several where the client
// settings of its subscriptions differ (sarama has them per client).
type membership struct {
	w    *worker
	n    int // 0 for the first
	subs []racecar.Subscription
	log  *logrus.Entry

	client         *kafka.Client // guarded by mu until run has connected
	group          sarama.ConsumerGroup
	view           *kafka.GroupClient // of client, for group
	offsets        offsets
	fetcher        *fetch.Fetcher // shared by memberships that fetch alike
	maxBytes       int            // max_bytes_per_partition
	commits        *commits
	slot           string // empty: dynamic
	id             string // instance id; empty: dynamic
	rejoins        atomic.Uint32
	removedStale   atomic.Bool // members of predecessors that we do not take over
	plain          atomic.Bool // commits go without metadata: the broker does not take ours
	failures       failureLog
	starts         startPositions
	invalidMembers invalidMembers

	session    atomic.Pointer[session]
	joinedAs   atomic.Pointer[string] // member id of the last join, answered or not; nil: none had one
	generation atomic.Int32
	interrupt  atomic.Pointer[context.CancelCauseFunc] // ends the Consume that is running
	joining    time.Time                               // when the join began, which Consume does; zero: it has succeeded
	cause      error                                   // why the last session ended; set by Cleanup, which Consume calls

	mu         locks.Mutex[locks.Membership]
	parts      map[topicPartition]*partition
	assigned   map[topicPartition]*assignment // what a partition came with; for the hook
	latest     map[topicPartition]bool        // the last assignment; nil: there was none
	announced  map[topicPartition]bool        // assigned, as the hook knows
	ended      map[bool][]topicPartition      // claims that ended with the session, by lost
	counts     map[string]int                 // partitions of each topic that the last assignment knew of
	seen       map[string]int                 // found by the last query
	outlived   map[topicPartition]outlived    // what is known of claims that have ended
	subscribed []string                       // what Consume was called with
	state      status.State
	detail     string
	opening    map[topicPartition]bool // claims that the session began with and that are not open yet
	cut        bool                    // the client was interrupted

	unknown   chan struct{} // capacity 1: a fetch found no such topic
	forgotten chan struct{} // capacity 1: a claim is finished with
	over      chan struct{} // closed when run has returned
}

// session is what Consume handed to Setup.
type session struct{ sarama.ConsumerGroupSession }

// assignment is a set of partitions that came together.
type assignment struct {
	once       sync.Once // reports it to the hook
	partitions map[string][]int32

	read      sync.Once
	committed map[kafka.TopicPartition]kafka.Commit // set by read
}

// splitSubscriptions groups subscriptions by what sarama sets per client.
func splitSubscriptions(subs []racecar.Subscription) [][]racecar.Subscription {
	var groups [][]racecar.Subscription
	index := map[string]int{}
	for _, s := range subs {
		key := fmt.Sprint(s.MaxBytesPerPartition, s.AdditionalConfig) // fmt sorts maps
		i, ok := index[key]
		if !ok {
			i = len(groups)
			index[key] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], s)
	}
	return groups
}

func newMembership(w *worker, n int, subs []racecar.Subscription) *membership {
	m := &membership{
		w: w, n: n, subs: subs, log: w.log,
		parts:     map[topicPartition]*partition{},
		assigned:  map[topicPartition]*assignment{},
		announced: map[topicPartition]bool{},
		ended:     map[bool][]topicPartition{},
		outlived:  map[topicPartition]outlived{},
		state:     status.Waiting,
		unknown:   make(chan struct{}, 1),
		over:      make(chan struct{}),
		forgotten: make(chan struct{}, 1),
	}
	m.failures.entry, m.invalidMembers.log = m.log, m.log
	m.starts.m = m
	if w.cfg.Membership != config.MembershipDynamic && w.opts.Handshake.Nonce != "" {
		m.slot = slotID(w.cfg.ClientID, w.opts.Handshake.Nonce, w.reg.Name(), w.index, n)
	}
	return m
}

// run connects, joins and consumes until ctx ends, at a shutdown: then it leaves Consume
// only when every claim is finished.
func (m *membership) run(ctx context.Context) error {
	defer close(m.over)
	conf, err := m.awaitConfig(ctx)
	if err != nil || conf == nil {
		return err
	}
	topics, err := m.connect(ctx, conf)
	if err != nil || topics == nil {
		return err
	}
	defer m.close()
	go m.drainErrors()
	go m.commits.run()
	watching := make(chan struct{})
	watch, stopWatching := context.WithCancel(ctx)
	go func() { defer close(watching); m.watchTopics(watch) }()
	go m.watchProgress(watch)
	defer func() { stopWatching(); <-watching }()

	tries, quick := 0, 0
	for ctx.Err() == nil {
		m.setState(status.Joining, "")
		began := time.Now()
		m.joining, m.cause = began, nil
		err := m.consume(ctx, topics)
		if ctx.Err() != nil {
			break
		}
		switch {
		case errors.Is(err, sarama.ErrClosedConsumerGroup), errors.Is(err, sarama.ErrClosedClient):
			return fmt.Errorf("consumer group closed: %w", err)
		case err == nil && (time.Since(began) > time.Second || errors.Is(m.cause, sarama.ErrRebalanceInProgress)):
			// However many rebalances follow each other: the group waits for us.
			tries, quick = 0, 0
			m.failures.clear()
		case err == nil:
			quick++ // joining again was our own idea; many in a row are a loop
			if quick > 3 {
				tries = quick - 3
			}
		default:
			if tries, err = m.consumeFailed(began, err); err != nil {
				return err
			}
		}
		if tries > 0 && !sleep(ctx, backoff(tries)) {
			break
		}
		if topics, err = m.find(ctx, conf); err != nil {
			return err
		}
	}
	return nil
}

// awaitConfig makes the configuration. Once the consumer has been ready, an error means
// that files are being renewed, and is retried. nil when ctx ended first.
func (m *membership) awaitConfig(ctx context.Context) (*kafka.Config, error) {
	conf, err := m.config()
	for tries := 1; err != nil && m.w.opts.Handshake.WasReady; tries++ {
		m.failures.log(err, "connecting")
		m.wait(err)
		if !sleep(ctx, backoff(tries)) {
			return nil, nil //nolint:nilnil // a shutdown is no failure
		}
		conf, err = m.config()
	}
	return conf, err
}

// consumeFailed reports an error of Consume, which began then, and counts the tries so far; err is not nil if
// another call does not help.
func (m *membership) consumeFailed(began time.Time, failure error) (tries int, err error) {
	if reason, _, permanent := access.PermanentWith(&m.w.cfg, failure); permanent {
		return 0, permanentError{errors.New(reason)}
	}
	failure = m.explainAssignors(access.WithAdvice(failure))
	tries = m.failures.log(failure, "consuming interrupted, to be retried")
	if !m.joining.IsZero() {
		m.w.emit(event.JoinGroup{Consumer: m.w.reg.Name(), Group: m.w.group, Duration: time.Since(began), Err: failure})
	}
	m.w.emit(event.PollRetry{Consumer: m.w.reg.Name(), Group: m.w.group, Attempt: tries, Err: failure})
	m.wait(failure)
	return tries, nil
}

// consume is one call of sarama's Consume.
func (m *membership) consume(ctx context.Context, topics []string) error {
	if len(topics) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	m.interrupt.Store(&cancel)
	m.noteCounts(topics)
	m.view.Subscribe(topics)
	err := m.group.Consume(ctx, topics, m)
	if err != nil && ctx.Err() != nil && errors.Is(context.Cause(ctx), errRejoin) {
		return nil
	}
	return err
}

// errRejoin is the cause with which rejoin ends Consume, which run then calls again.
var errRejoin = errors.New("joining again: topics or partitions changed")

// rejoin has the group rebalance.
func (m *membership) rejoin(ctx context.Context) {
	m.rejoins.Add(1)
	ctx, cancel := context.WithTimeout(ctx, m.w.cfg.MaxPollInterval)
	defer cancel()
	m.releaseClaims(ctx)
	if cancel := m.interrupt.Load(); cancel != nil {
		(*cancel)(errRejoin)
	}
}

// releaseClaims finishes all claims while the session is open, and returns then or
// when ctx ends. Every caller that ends a session must do this first: in the middle of
// a cooperative rebalance the group may be a generation ahead of the interrupted
// sarama, and the group refuses commits of the old one.
func (m *membership) releaseClaims(ctx context.Context) {
	for {
		claims := m.claims() // in a rebalance new ones may come
		if len(claims) == 0 {
			poke(m.forgotten) // somebody else may wait for the same
			return
		}
		for _, p := range claims {
			p.markLeaving()
		}
		select {
		case <-m.forgotten:
		case <-ctx.Done():
			return
		}
	}
}

func (m *membership) config() (*kafka.Config, error) {
	o := kafka.ConsumerOptions{
		MaxBytesPerPartition: m.subs[0].MaxBytesPerPartition, Properties: m.subs[0].AdditionalConfig, ReadCommitted: m.w.transactional(),
		WrapStrategy: func(s sarama.BalanceStrategy) sarama.BalanceStrategy {
			return wrapStrategy(s, m.onAssignment, &m.rejoins)
		},
	}
	a, err := m.w.access()
	if err != nil {
		return nil, err
	}
	conf, err := kafka.ConsumerConfig(a, o)
	if err != nil {
		return nil, err
	}
	m.fetcher = m.w.fetcherFor(m.subs[0].AdditionalConfig, conf)
	m.maxBytes = conf.Fetch.MaxBytesPerPartition
	return conf, nil
}

// find waits for brokers and topics, however long they are away. It returns no
// topics when ctx ended first.
func (m *membership) find(ctx context.Context, conf *kafka.Config) ([]string, error) {
	for tries := 1; ; tries++ {
		err := m.dial(ctx, conf)
		if err == nil {
			err = m.ensureDeadLetterTopic()
		}
		if err == nil {
			err = m.starts.decide(ctx)
		}
		if err == nil {
			var topics []string
			if topics, err = m.resolve(ctx); err == nil {
				return topics, nil
			}
		}
		if ctx.Err() != nil {
			return nil, nil //nolint:nilerr // a shutdown is no failure
		}
		if reason, _, permanent := access.Permanent(err); permanent {
			return nil, permanentError{errors.New(reason)}
		}
		m.failures.log(err, "connecting")
		m.wait(err)
		if !sleep(ctx, backoff(tries)) {
			return nil, nil
		}
	}
}

// connect waits for brokers and topics and makes the consumer group. It returns
// no topics when ctx ended first.
func (m *membership) connect(ctx context.Context, conf *kafka.Config) ([]string, error) {
	topics, err := m.find(ctx, conf)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		if m.client != nil {
			m.offsets.Close()
			_ = m.client.Close() // nothing was done with it
		}
		return nil, nil
	}
	m.failures.clear()
	if m.slot != "" {
		m.mu.Lock()
		m.id = instanceID(m.slot, topics, m.w.cfg.PartitionAssignmentStrategy)
		m.mu.Unlock()
		m.client.SetInstanceID(m.id)
	}
	m.client.HandleJoin(m.joins)
	m.client.HandleInvalidMembers(m.invalidMembers.report)
	m.commits = newCommits(m, m.offsets, m.w.cfg.OffsetCommitInterval)
	var group sarama.ConsumerGroup
	if err = m.removeStaleMembers(ctx); err == nil {
		m.removedStale.Store(true)
		m.view = m.client.ForGroup()
		group, err = sarama.NewConsumerGroupFromClient(m.w.group, m.view)
	}
	if err != nil {
		m.offsets.Close()
		_ = m.client.Close() // nothing was done with it
		m.mu.Lock()
		m.client = nil // there is nothing to leave
		m.mu.Unlock()
		return nil, err
	}
	m.group = group
	if m.slot != "" {
		m.w.membersChanged() // before the join: a member that dies while joining can be removed
	}
	return topics, nil
}

func (m *membership) dial(ctx context.Context, conf *kafka.Config) error {
	if m.client != nil {
		return nil
	}
	client, err := kafka.NewClient(ctx, conf)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.client, m.offsets = client, kafka.NewOffsets(client, m.w.group)
	return nil
}

// close ends sarama's side; leaveGroup removes the member afterwards.
func (m *membership) close() {
	m.commits.stop()
	if err := m.group.Close(); err != nil {
		m.log.WithError(err).Debug("closing the consumer group")
	}
	m.offsets.Close()
}

// leaveGroup removes the member from its group, if remove says so, and closes the client.
func (m *membership) leaveGroup(ctx context.Context, remove bool) {
	if m.client == nil {
		return
	}
	// sarama has a dynamic member leave, unless it was cut off.
	if p, ok := m.groupMember(); ok && (remove && p.InstanceID != "" || p.InstanceID == "" && m.cut) {
		began := time.Now()
		var err error
		if m.cut {
			err = RemoveMembers(ctx, wire.Leave{Consumer: wire.Consumer{Config: m.w.cfg}, Members: []status.Member{p}})
		} else {
			err = kafka.LeaveGroup(ctx, m.client, []status.Member{p})
		}
		m.w.emit(event.LeaveGroup{Consumer: m.w.reg.Name(), Group: m.w.group, Duration: time.Since(began), Err: err})
		level := logrus.WarnLevel
		if _, _, permanent := access.Permanent(err); permanent {
			level = logrus.DebugLevel // it is why the worker ends, and reported
		}
		if err != nil {
			m.log.WithError(err).Log(level, "leaving the group")
		}
	}
	if err := m.client.Close(); err != nil {
		m.log.WithError(err).Debug("closing the client")
	}
}

// removeStaleMembers removes members that would hold partitions nobody serves: those of
// this slot with another subscription, and those of the predecessor that we do not take
// over. An error is permanent: joining would meet it too, after many tries.
func (m *membership) removeStaleMembers(ctx context.Context) error {
	var stale []status.Member
	for _, p := range m.w.opts.Handshake.Predecessors {
		if m.w.responsible(p) == m && !m.takesOver(p) {
			stale = append(stale, p)
		}
	}
	if m.slot != "" {
		members, err := m.members()
		if reason, _, permanent := access.PermanentWith(&m.w.cfg, err); permanent {
			return permanentError{errors.New(reason)}
		}
		if err != nil {
			m.log.WithError(err).Warn("looking for members of an older subscription")
		}
		for _, member := range members {
			if id := member.GroupInstanceId; id != nil && *id != m.id && ofSlot(*id, m.slot) {
				stale = append(stale, status.Member{Group: m.w.group, InstanceID: *id, MemberID: member.MemberId})
			}
		}
	}
	if len(stale) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if err := kafka.LeaveGroup(ctx, m.client, stale); err != nil {
		m.log.WithError(err).Warn("removing members that are not taken over")
		return nil // they leave with session_timeout
	}
	m.log.WithField("members", len(stale)).Info("removed members that are not taken over")
	return nil
}

// members asks who is in the group.
func (m *membership) members() (map[string]*sarama.GroupMemberDescription, error) {
	g, err := m.describe()
	if err != nil || g == nil {
		return nil, err
	}
	return g.Members, nil
}

// explainAssignors adds to a refusal of our assignors which ones we offer and which one
// the group uses.
func (m *membership) explainAssignors(err error) error {
	if !errors.Is(err, sarama.ErrInconsistentGroupProtocol) {
		return err
	}
	has := "other ones"
	if g, derr := m.describe(); derr == nil && g != nil && g.Protocol != "" {
		if has = strconv.Quote(g.Protocol); g.ProtocolType != "consumer" {
			has = fmt.Sprintf("the protocol of %s, no consumers", g.ProtocolType)
		}
	}
	return fmt.Errorf("partition_assignment_strategy: the group uses %s, this worker offers %s: give all members one in common: %w",
		has, strings.Join(m.w.cfg.PartitionAssignmentStrategy, ", "), err)
}

// describe asks for the group; nil: the broker says nothing of it.
func (m *membership) describe() (*sarama.GroupDescription, error) {
	b, err := m.client.Coordinator(m.w.group)
	if err != nil {
		return nil, err
	}
	resp, err := b.DescribeGroups(&sarama.DescribeGroupsRequest{Version: 4, Groups: []string{m.w.group}})
	if err != nil {
		return nil, err
	}
	if len(resp.Groups) == 0 {
		return nil, nil
	}
	g := resp.Groups[0]
	if g.Err != sarama.ErrNoError && g.Err != sarama.ErrGroupIDNotFound {
		return nil, g.Err
	}
	return g, nil
}

// joins notes the member id of a join that is about to be sent, and reports it to the
// supervisor, which can then remove a dynamic member that dies before the answer.
func (m *membership) joins(memberID string) {
	if old := m.joinedAs.Swap(&memberID); old == nil || *old != memberID {
		go m.w.membersChanged() // not under sarama's locks
	}
}

// groupMember returns the ids of the member; false when it never joined.
func (m *membership) groupMember() (status.Member, bool) {
	m.mu.Lock()
	p := status.Member{Group: m.w.group, InstanceID: m.id}
	m.mu.Unlock()
	if id := m.joinedAs.Load(); id != nil {
		p.MemberID = *id
	}
	if s := m.session.Load(); s != nil {
		p.Generation = m.generation.Load()
		if p.MemberID == "" { // a static one is given its id with the answer
			p.MemberID = s.MemberID()
		}
	}
	return p, p.MemberID != "" || p.InstanceID != ""
}

// member is who commits; false before the first session.
func (m *membership) member() (kafka.Member, bool) {
	s := m.session.Load()
	if s == nil {
		return kafka.Member{}, false
	}
	return kafka.Member{Generation: s.GenerationID(), MemberID: s.MemberID(), InstanceID: m.id}, true
}

// sessionEnded reports whether sarama's last session is over.
func (m *membership) sessionEnded() bool {
	s := m.session.Load()
	return s == nil || s.Context().Err() != nil
}

// has reports whether p is still ours: it was not finished, whether gracefully or because
// its time was up.
func (m *membership) has(p *partition) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.parts[p.topicPartition] == p
}

// noMetadata has commits made without metadata from now on: attempts are then not
// remembered over a restart.
func (m *membership) noMetadata(p *partition, err error) {
	if !m.plain.Swap(true) {
		m.w.partLog(p).WithError(err).
			Warn("the broker takes no metadata with an offset (offset.metadata.max.bytes): attempts are forgotten at a restart")
	}
}

// claims returns the partitions that are ours.
func (m *membership) claims() []*partition {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]*partition, 0, len(m.parts))
	for _, p := range m.parts {
		all = append(all, p)
	}
	return all
}

// drainErrors logs the errors that sarama reports beside Consume. It ignores failed
// fetches: sarama gets a broker that nobody opens (kafka.GroupClient).
func (m *membership) drainErrors() {
	failures := failureLog{entry: m.log}
	for err := range m.group.Errors() {
		if errors.Is(err, sarama.ErrNotConnected) {
			continue
		}
		if reason, _, permanent := access.Permanent(err); permanent {
			m.w.fatal(errors.New(reason))
			continue
		}
		failures.log(err, "sarama")
	}
}

func (m *membership) setState(s status.State, detail string) {
	m.mu.Lock()
	changed := m.state != s || m.detail != detail
	m.state, m.detail = s, detail
	m.mu.Unlock()
	if changed {
		m.w.sendFrame()
	}
}

// wait shows in the state what the membership waits for.
func (m *membership) wait(err error) {
	detail := oneLine(err)
	if u, ok := errors.AsType[*access.UnreachableError](err); ok {
		detail = "brokers " + strings.Join(u.Addrs, ", ")
	}
	m.setState(status.Waiting, detail)
}

func (m *membership) stateNow() (status.State, string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state, m.detail
}

// sleep waits; false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// oneLine is an error as it fits a status line. Its lines are joined before it is cut:
// the first one alone often says nothing.
func oneLine(err error) string {
	s := printable.Line(err.Error())
	if r := []rune(s); len(r) > 300 {
		s = string(r[:300]) + "…"
	}
	return s
}

// permanentError ends the worker for good.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

func sortedTopics(set map[string]bool) []string {
	topics := make([]string, 0, len(set))
	for t := range set {
		topics = append(topics, t)
	}
	slices.Sort(topics)
	return topics
}

// cutOff ends all requests that wait for a broker, a join included.
func (m *membership) cutOff() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.client != nil && !m.cut {
		m.cut = true
		m.client.Abort()
	}
}

// interruptRebalance ensures that a shutdown does not wait for brokers: once all claims
// are finished, Consume only waits for a join that other members hold up, or for a
// coordinator that is gone.
func (m *membership) interruptRebalance(ctx context.Context) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	idle := 0
	for {
		select {
		case <-tick.C:
		case <-m.over:
			return
		case <-ctx.Done():
			return
		}
		m.mu.Lock()
		none := len(m.parts) == 0
		m.mu.Unlock()
		if !none {
			idle = 0
			continue
		}
		switch idle++; idle {
		case 1:
			m.mu.Lock()
			if m.client != nil {
				m.client.CloseConnections()
			}
			m.mu.Unlock()
		case 20:
			m.cutOff()
			return
		}
	}
}
