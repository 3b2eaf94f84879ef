package fetch

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// This file asks brokers about positions: where a log begins and ends, whether it still has
// the records before a committed offset, and how far partitions lag that are not fetched.

// marksAge is how old a partition's watermarks may become while it is not fetched because its
// share of the budget is used: lag is computed from them.
const marksAge = 2 * time.Second

// offsetRequest is a ListOffsets request, or an OffsetForLeaderEpoch request (KIP-320). It is for
// all partitions of a broker that have to ask the same.
type offsetRequest struct {
	ask        ask
	marks      bool // only for the watermarks
	partitions []queriedPartition
	answers    map[key]offsetAnswer
}

// queriedPartition is a partition of an offsetRequest, in its state when that was made.
type queriedPartition struct {
	p                      *Partition
	epoch                  int
	leaderEpoch, lastEpoch int32
}

type offsetAnswer struct {
	code   int16
	offset int64
	epoch  int32
}

// offsets returns the next offsetRequest; nil: there is none. f.mu is held.
func (l *loop) offsets(now time.Time) request {
	q := &offsetRequest{}
	for _, p := range l.b.partitions {
		if p.ask != askNothing && (q.ask == askNothing || q.ask == p.ask) && !p.inFlight && !p.retryAt.After(now) {
			q.ask = p.ask
			q.add(p)
		}
	}
	if len(q.partitions) > 0 {
		return q
	}
	q.ask, q.marks = askLatest, true
	for _, p := range slices.Backward(l.b.partitions) {
		if due, ok := p.marksDue(); !ok || due.After(now) || p.retryAt.After(now) {
			continue
		}
		if p.replica != noBroker {
			p.dropReplica() // only the leader says it; this takes p from the list
			continue
		}
		q.add(p)
	}
	if len(q.partitions) > 0 {
		return q
	}
	return nil
}

func (q *offsetRequest) add(p *Partition) {
	p.inFlight = true
	q.partitions = append(q.partitions, queriedPartition{p, p.epoch, p.leaderEpoch, p.lastEpoch})
}

// marksDue returns when the watermarks have to be requested; false: not at all, because
// answers to fetches contain them. f.mu is held.
func (p *Partition) marksDue() (time.Time, bool) {
	if p.start == nil || p.ask != askNothing || p.inFlight || p.wanted() && p.f.room() >= p.f.least() {
		return time.Time{}, false
	}
	return p.marksAt.Add(marksAge), true
}

// send implements request.
func (q *offsetRequest) send(l *loop) (time.Duration, error) {
	q.answers = make(map[key]offsetAnswer, len(q.partitions))
	if q.ask == askEpoch {
		return q.sendEpochs(l)
	}
	return q.sendList(l)
}

func (q *offsetRequest) sendList(l *loop) (time.Duration, error) {
	version, err := l.conn.version(listVersions)
	if err != nil {
		return 0, err
	}
	req, resp := kmsg.NewPtrListOffsetsRequest(), kmsg.NewPtrListOffsetsResponse()
	req.Version, req.ReplicaID = version, -1
	if l.f.opts.ReadCommitted {
		req.IsolationLevel = 1
	}
	for name, partitions := range q.byTopic() {
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = name
		for _, s := range partitions {
			e := kmsg.NewListOffsetsRequestTopicPartition()
			e.Partition, e.CurrentLeaderEpoch, e.Timestamp = s.p.number, s.leaderEpoch, -1
			if q.ask == askEarliest {
				e.Timestamp = -2
			}
			t.Partitions = append(t.Partitions, e)
		}
		req.Topics = append(req.Topics, t)
	}
	if err := l.conn.ask(req, resp); err != nil {
		return 0, err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			q.answers[key{topic: t.Topic, number: p.Partition}] = offsetAnswer{p.ErrorCode, p.Offset, p.LeaderEpoch}
		}
	}
	return time.Duration(resp.ThrottleMillis) * time.Millisecond, nil
}

func (q *offsetRequest) sendEpochs(l *loop) (time.Duration, error) {
	version, err := l.conn.version(epochVersions)
	if err != nil {
		return 0, err
	}
	req, resp := kmsg.NewPtrOffsetForLeaderEpochRequest(), kmsg.NewPtrOffsetForLeaderEpochResponse()
	req.Version, req.ReplicaID = version, -1
	for name, partitions := range q.byTopic() {
		t := kmsg.NewOffsetForLeaderEpochRequestTopic()
		t.Topic = name
		for _, s := range partitions {
			e := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
			e.Partition, e.CurrentLeaderEpoch, e.LeaderEpoch = s.p.number, s.leaderEpoch, s.lastEpoch
			t.Partitions = append(t.Partitions, e)
		}
		req.Topics = append(req.Topics, t)
	}
	if err := l.conn.ask(req, resp); err != nil {
		return 0, err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			q.answers[key{topic: t.Topic, number: p.Partition}] = offsetAnswer{p.ErrorCode, p.EndOffset, p.LeaderEpoch}
		}
	}
	return time.Duration(resp.ThrottleMillis) * time.Millisecond, nil
}

func (q *offsetRequest) byTopic() map[string][]queriedPartition {
	topics := map[string][]queriedPartition{}
	for _, s := range q.partitions {
		topics[s.p.topic] = append(topics[s.p.topic], s)
	}
	return topics
}

// finish implements request.
func (q *offsetRequest) finish(l *loop, err error, now time.Time) (changed []*Partition) {
	for _, s := range q.partitions {
		p := s.p
		if s.epoch != p.epoch || p.closed {
			continue
		}
		p.inFlight = false
		if err != nil {
			continue
		}
		a, ok := q.answers[key{topic: p.topic, number: p.number}]
		switch {
		case !ok:
			p.fail(newProtocolError("%s/%d is missing in an answer", p.topic, p.number), now)
		case a.code != 0:
			p.fail(kerr.ErrorForCode(a.code), now)
		case q.marks:
			p.marksAt = now
			if p.stable = max(p.stable, a.offset); !l.f.opts.ReadCommitted {
				p.high = max(p.high, a.offset)
			}
		case q.ask == askEpoch:
			p.epochEnds(a.offset)
		case a.offset < 0:
			p.fail(newProtocolError("%s/%d has no offset in an answer", p.topic, p.number), now)
		default:
			p.listed(a.offset, a.epoch)
		}
		changed = append(changed, p)
	}
	return changed
}
