package worker

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/IBM/sarama"
	"github.com/sirupsen/logrus"
)

// wrapStrategy wraps a sarama strategy for two things that sarama offers nowhere else:
//
//   - to learn of an assignment at once: sarama reports a cooperative revocation to a
//     working handler only when its fetches have come round;
//   - to change the subscription's user data in order to cause a rebalance: a rejoin
//     with unchanged metadata changes nothing.
//
// The optional interfaces of what is wrapped are forwarded: without
// SupportedProtocols sarama would silently take it for an eager one, and with a
// SubscriptionUserData of ours the eager sticky one would lose its memory.
func wrapStrategy(s sarama.BalanceStrategy, on func(*sarama.ConsumerGroupMemberAssignment, int32), rejoins *atomic.Uint32) sarama.BalanceStrategy {
	observed := &observedStrategy{s, on}
	switch s.Name() {
	case sarama.StickyBalanceStrategyName:
		return observed // its user data holds the generation, so it differs each time anyway
	case sarama.CooperativeStickyBalanceStrategyName:
		return &forwardingStrategy{observed} // likewise
	}
	return &countingStrategy{observed, rejoins}
}

// observedStrategy reports each assignment to on.
type observedStrategy struct {
	sarama.BalanceStrategy
	on func(*sarama.ConsumerGroupMemberAssignment, int32)
}

// OnAssignment implements sarama.OnAssignmentBalanceStrategy. sarama holds locks
// that a commit would need: on must only take note. The leader may be any member that
// may read the group. sarama takes a partition that it lists twice for an error of
// configuration, which is permanent; it opens what is left in a.
func (s *observedStrategy) OnAssignment(a *sarama.ConsumerGroupMemberAssignment, generation int32) {
	for topic, partitions := range a.Topics {
		slices.Sort(partitions)
		a.Topics[topic] = slices.Compact(partitions)
	}
	if inner, ok := s.BalanceStrategy.(sarama.OnAssignmentBalanceStrategy); ok {
		inner.OnAssignment(a, generation)
	}
	s.on(a, generation)
}

// Plan implements sarama.BalanceStrategy. Members may carry user data of any kind; the
// sticky strategies fail at user data that they cannot decode. Without it they plan from
// scratch, which moves more partitions than necessary and stops nobody.
func (s *observedStrategy) Plan(members map[string]sarama.ConsumerGroupMemberMetadata, topics map[string][]int32) (sarama.BalanceStrategyPlan, error) {
	plan, err := s.BalanceStrategy.Plan(members, topics)
	if err == nil {
		return plan, nil
	}
	plain := make(map[string]sarama.ConsumerGroupMemberMetadata, len(members))
	for id, m := range members {
		m.UserData = nil
		plain[id] = m
	}
	return s.BalanceStrategy.Plan(plain, topics)
}

// invalidMembers logs members of the group whose subscription cannot be used as it
// is, each once.
type invalidMembers struct {
	log *logrus.Entry

	mu     sync.Mutex
	logged map[string]bool // by member id and problem
}

// maxInvalidMembers bounds the memory: each start of a member makes a new member id.
const maxInvalidMembers = 1000

func (s *invalidMembers) report(member, problem string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := member + " " + problem
	if s.logged[key] {
		return
	}
	if s.logged == nil || len(s.logged) >= maxInvalidMembers {
		s.logged = map[string]bool{}
	}
	s.logged[key] = true
	s.log.WithField("member", member).WithField("problem", problem).
		Warn("another member of the group has a subscription that cannot be used as it is")
}

// SupportedProtocols implements sarama.RebalanceProtocolBalanceStrategy.
func (s *observedStrategy) SupportedProtocols() []sarama.RebalanceProtocol {
	if inner, ok := s.BalanceStrategy.(sarama.RebalanceProtocolBalanceStrategy); ok {
		return inner.SupportedProtocols()
	}
	return []sarama.RebalanceProtocol{sarama.RebalanceProtocolEager}
}

// forwardingStrategy forwards a user data of its own.
type forwardingStrategy struct{ *observedStrategy }

// SubscriptionUserData implements sarama.SubscriptionUserDataBalanceStrategy.
func (s *forwardingStrategy) SubscriptionUserData(topics []string) ([]byte, error) {
	return s.BalanceStrategy.(sarama.SubscriptionUserDataBalanceStrategy).SubscriptionUserData(topics)
}

// countingStrategy is for strategies that ignore user data: its user data is the number
// of rebalances that we asked for.
type countingStrategy struct {
	*observedStrategy
	rejoins *atomic.Uint32
}

// SubscriptionUserData implements sarama.SubscriptionUserDataBalanceStrategy.
func (s *countingStrategy) SubscriptionUserData([]string) ([]byte, error) {
	n := s.rejoins.Load()
	if n == 0 {
		return nil, nil
	}
	return binary.BigEndian.AppendUint32(nil, n), nil
}

var (
	_ sarama.OnAssignmentBalanceStrategy         = (*observedStrategy)(nil)
	_ sarama.RebalanceProtocolBalanceStrategy    = (*observedStrategy)(nil)
	_ sarama.SubscriptionUserDataBalanceStrategy = (*forwardingStrategy)(nil)
	_ sarama.SubscriptionUserDataBalanceStrategy = (*countingStrategy)(nil)
)
