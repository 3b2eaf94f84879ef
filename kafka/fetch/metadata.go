package fetch

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// This file keeps the metadata of the fetched topics: their ids, leaders and brokers.

// firstMetadata is how long a broker may take to answer a Metadata request before the next
// broker is asked, as every broker can answer it. It doubles with each round.
const firstMetadata = 2 * time.Second

// togetherFor is the pause between two Metadata requests, so that one answer serves many
// partitions that lost their leader.
const togetherFor = 20 * time.Millisecond

// needMetadata requests the metadata of all topics. f.mu is held.
func (f *Fetcher) needMetadata() { poke(f.refresh) }

// keepMetadata requests the topics' leaders and ids when they are needed and periodically. It
// owns a connection to some broker.
func (f *Fetcher) keepMetadata() {
	var c *conn
	defer func() { c.close() }()
	every := f.opts.Config.TopicMetadataRefreshInterval
	if every <= 0 {
		every = time.Minute
	}
	timer := time.NewTimer(every)
	defer timer.Stop()
	failures := 0
	for {
		select {
		case <-f.refresh:
		case <-timer.C:
		case <-f.ctx.Done():
			return
		}
		missing := false
		resp, err := f.askMetadata(&c, failures)
		if err == nil {
			missing = f.apply(resp)
		} else if f.ctx.Err() == nil {
			f.log.WithError(err).Debug("asking for metadata")
			f.noMetadata(err)
		}
		pause := togetherFor
		if failures++; err == nil && !missing {
			failures = 0
			timer.Reset(every)
		} else {
			pause = doubled(f.opts.Backoff, failures)
			timer.Reset(pause)
		}
		select {
		case <-time.After(pause):
		case <-f.ctx.Done():
			return
		}
	}
}

// askMetadata asks the broker at *c and, if it does not answer, one broker after the other.
func (f *Fetcher) askMetadata(c **conn, failures int) (*metadata, error) {
	f.mu.Lock()
	addrs := make([]string, 0, len(f.brokers))
	for _, b := range f.brokers {
		addrs = append(addrs, b.addr)
	}
	topics := slices.Sorted(maps.Keys(f.topics))
	f.mu.Unlock()
	timeout := min(firstMetadata<<min(failures, 8), f.opts.Access.SocketTimeout())
	if *c != nil {
		resp, err := f.metadata(*c, topics, timeout)
		if err == nil {
			return resp, nil
		}
		(*c).close()
		*c = nil
	}
	configured, err := f.opts.Access.Addresses()
	if err != nil {
		return nil, err
	}
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	for _, i := range rand.Perm(len(configured)) {
		addrs = append(addrs, configured[i])
	}
	var errs []error
	for _, addr := range addrs {
		if f.ctx.Err() != nil {
			return nil, f.ctx.Err()
		}
		if *c, err = f.dial(addr, timeout); err == nil {
			var m *metadata
			if m, err = f.metadata(*c, topics, timeout); err == nil {
				return m, nil
			}
			(*c).close()
			*c = nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (f *Fetcher) metadata(c *conn, topics []string, timeout time.Duration) (*metadata, error) {
	version, err := c.version(metadataVersions)
	if err != nil {
		return nil, err
	}
	req := kmsg.NewPtrMetadataRequest()
	req.Version = version
	req.Topics = []kmsg.MetadataRequestTopic{}
	for i := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &topics[i]
		req.Topics = append(req.Topics, t)
	}
	c.timeout = timeout
	body, err := c.exchange(req, true, maxOtherAnswer, 0)
	if err != nil {
		return nil, err
	}
	return readMetadata(version, body)
}

// noMetadata records the reason why partitions have no broker.
func (f *Fetcher) noMetadata(err error) {
	f.mu.Lock()
	var changed []*Partition
	for _, t := range f.topics {
		for _, p := range t.partitions {
			if p.broker == nil && p.err == nil {
				p.err = err
				changed = append(changed, p)
			}
		}
	}
	f.mu.Unlock()
	for _, p := range changed {
		p.changed()
	}
}

// apply updates brokers, topics and leaders. It reports whether something is missing, so
// that metadata has to be requested again soon.
func (f *Fetcher) apply(m *metadata) (missing bool) {
	f.mu.Lock()
	f.applyBrokers(m.brokers)
	var changed []*Partition
	for _, t := range m.topics {
		known := f.topics[t.name]
		if known == nil {
			continue
		}
		if t.code == 0 {
			known.id = t.id
		}
		known.leaders = t.leaders
		for number, p := range known.partitions {
			err := kerr.ErrorForCode(t.code)
			l, ok := t.leaders[number]
			switch {
			case err != nil:
			case !ok:
				err = kerr.UnknownTopicOrPartition
			case f.brokers[l.broker] == nil:
				err = kerr.LeaderNotAvailable
			}
			had := p.err
			if err != nil {
				p.detach()
				p.err = err
				missing = true
			} else {
				if p.broker == nil {
					p.err = nil
				}
				p.checkTopic(known.id)
				p.setLeader(l)
				missing = missing || p.broker == nil // its known leader is newer, or it has a replica
			}
			if (had == nil) != (p.err == nil) {
				changed = append(changed, p)
			}
		}
	}
	f.mu.Unlock()
	for _, p := range changed {
		p.changed()
	}
	return missing
}

// applyBrokers updates the brokers' addresses. It stops the loops of brokers that have left the
// cluster and serve no partition. f.mu is held.
func (f *Fetcher) applyBrokers(addrs map[int32]string) {
	for id, addr := range addrs {
		if f.brokers[id] == nil {
			f.brokers[id] = newBroker(f, id)
		}
		f.brokers[id].addr = addr
	}
	for id, b := range f.brokers {
		if _, there := addrs[id]; !there && len(b.partitions) == 0 {
			delete(f.brokers, id)
			b.gone = true
			b.hot.wake()
			b.poll.wake()
			b.second.wake()
		}
	}
}

// checkTopic makes the partition start from its beginning if its position belongs to a topic
// that was deleted since. f.mu is held.
func (p *Partition) checkTopic(id [16]byte) {
	none := [16]byte{}
	if id == none || id == p.topicID {
		return
	}
	if p.topicID != none {
		from := p.next
		p.moveTo(from, -1) // the waiting batches are of the deleted topic
		p.ask, p.reason, p.leaderEpoch = askEarliest, AnotherTopic, -1
		p.failures, p.retryAt = 0, time.Time{}
	}
	p.topicID = id
}
