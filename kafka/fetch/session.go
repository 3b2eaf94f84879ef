package fetch

import (
	"errors"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// withoutSession is how long we fetch without a session from a broker whose session
	// cache is full (max.incremental.fetch.session.cache.slots).
	withoutSession = 5 * time.Minute
	sessionless    = -1 // the epoch of requests without a session
	newSession     = 0  // the epoch of the request that begins one
)

// session is a fetch session (KIP-227): the broker remembers the partitions of the previous
// request, so that the next one names only those that changed. A hot connection has none:
// its partitions and offsets change each time.
type session struct {
	id, epoch int32
	known     map[key]sessionEntry // what the broker remembers
	failures  int                  // in a row
	resumeAt  time.Time            // no session before
}

type sessionEntry struct {
	topic string
	entry kmsg.FetchRequestTopicPartition
}

// reset makes the next request begin a new session and close the old one.
func (s *session) reset() { s.epoch, s.known = newSession, nil }

// fill adds those partitions of r to req that the broker does not remember.
func (s *session) fill(req *kmsg.FetchRequest, r *fetchRequest, now time.Time) {
	if now.Before(s.resumeAt) {
		s.id, s.epoch, s.known = 0, sessionless, nil
	} else if s.epoch == sessionless {
		s.epoch = newSession
	}
	req.SessionID, req.SessionEpoch = s.id, s.epoch
	topics := map[key]int{}
	known := make(map[key]sessionEntry, len(r.partitions))
	for _, a := range r.partitions {
		k := a.key(req.Version)
		before, ok := s.known[k]
		delete(s.known, k)
		known[k] = sessionEntry{a.p.topic, a.entry}
		if ok && sameEntry(before.entry, a.entry) {
			continue
		}
		k.number = 0
		i, ok := topics[k]
		if !ok {
			i = len(req.Topics)
			topics[k] = i
			t := kmsg.NewFetchRequestTopic()
			t.Topic, t.TopicID = a.p.topic, a.id
			req.Topics = append(req.Topics, t)
		}
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, a.entry)
	}
	for k, e := range s.known { // no longer fetched
		t := kmsg.NewFetchRequestForgottenTopic()
		t.Topic, t.TopicID, t.Partitions = e.topic, k.id, []int32{k.number}
		req.ForgottenTopics = append(req.ForgottenTopics, t)
	}
	if s.known = known; s.epoch == sessionless {
		s.known = nil
	}
}

func sameEntry(a, b kmsg.FetchRequestTopicPartition) bool {
	return a.FetchOffset == b.FetchOffset && a.CurrentLeaderEpoch == b.CurrentLeaderEpoch && a.PartitionMaxBytes == b.PartitionMaxBytes
}

// answered handles the head of an answer. If the broker has dropped the session, as it does
// when its cache is full, the next request begins another one.
func (s *session) answered(a fetchAnswer, now time.Time) error {
	err := kerr.ErrorForCode(a.code)
	switch {
	case err == nil && s.epoch == sessionless:
	case err == nil && a.session == 0: // the cache is full: that is no failure
		s.reset()
		s.resumeAt = now.Add(withoutSession)
	case err == nil && s.epoch != newSession && a.session != s.id:
		return newProtocolError("an answer belongs to the fetch session %d, not to %d", a.session, s.id)
	case err == nil:
		s.id, s.failures = a.session, 0
		if s.epoch++; s.epoch == math.MaxInt32 {
			s.epoch = 1
		}
	case errors.Is(err, kerr.FetchSessionIDNotFound), errors.Is(err, kerr.InvalidFetchSessionEpoch), errors.Is(err, kerr.FetchSessionTopicIDError):
		if s.reset(); errors.Is(err, kerr.FetchSessionIDNotFound) {
			s.id = 0
		}
		if s.failures++; s.failures > 2 { // do not begin sessions for ever
			s.resumeAt = now.Add(withoutSession)
		}
		return nil
	}
	return err
}
