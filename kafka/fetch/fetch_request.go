package fetch

import (
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// This file makes Fetch requests and handles their answers.

// A hot loop also requests the partitions that have caught up, as long as the waiting request
// on its way does not contain them.
const (
	shortWait = 100 * time.Millisecond // how long a partition that becomes hot waits at most
	handOver  = 5 * time.Millisecond   // they are free when the waiting request ends
)

// requestedPartition is a partition in a request.
type requestedPartition struct {
	p     *Partition
	epoch int // of p when it was asked for; another one drops the answer
	from  int64
	entry kmsg.FetchRequestTopicPartition
	id    [16]byte
	got   *partitionResult // nil: the answer has no part of p
}

// partitionResult is the part of an answer that belongs to a partition.
type partitionResult struct {
	all []*Batch
	err error
	// ahead is the size of the batch after all, of which the answer has the beginning; 0: unknown.
	ahead int64
	code  int16
	// above is the first batch that was left out because it ends above the high watermark;
	// nil: none was.
	above *Batch

	replica                int32
	high, stable, logStart int64
}

// fetchRequest is a Fetch request.
type fetchRequest struct {
	partitions []requestedPartition
	index      map[key]int // into partitions, made when it is needed
	reserved   int64
	wait       time.Duration
	received   bool // records of some partition
}

// key identifies a partition as an answer does: by the topic's name or, from version 13 on, by
// the topic's id.
type key struct {
	topic  string
	id     [16]byte
	number int32
}

// fetch returns the next Fetch request; nil: there is none. f.mu is held.
func (l *loop) fetch(now time.Time) request {
	if l.waits {
		return l.waitFor(now)
	}
	r := &fetchRequest{}
	if !r.addHot(l, now) {
		return nil
	}
	if left := l.b.poll.until.Sub(now) - handOver; !l.second && l.b.poll.busy && (len(r.partitions) > 0 || left > 0) {
		for _, p := range l.b.partitions {
			if !p.hot && p.fetchable(now) {
				r.add(p, leastRequest)
			}
		}
		if r.reserved == 0 {
			r.reserved, r.wait = leastRequest, min(shortWait, left)
		}
	}
	if len(r.partitions) == 0 {
		return nil
	}
	return r.begin(l, now)
}

// addHot adds hot partitions: first those with few messages, then the others; each in rotation.
// A broker reads every partition of a request, even if the answer is full: so it adds only as
// many as fill the request. It reports whether there is a use for the request and memory for its
// answer. f.mu is held.
func (r *fetchRequest) addHot(l *loop, now time.Time) bool {
	f, few := l.f, l.f.opts.Config.MinMessageQueueSize
	enough, most, starving := f.request, int64(0), false
	for _, first := range []bool{true, false} {
		for _, p := range l.b.partitions {
			if enough > 0 && p.hot && p.fetchable(now) && !p.yields() && (p.messages < few) == first {
				starving = starving || p.hungry || p.start == nil
				limit := p.requestLimit()
				most += limit
				enough -= r.add(p, limit)
			}
		}
	}
	if l.second && enough > f.request/2 {
		return false // a small request would keep partitions from the next large one
	}
	if len(r.partitions) == 0 {
		return true
	}
	// The broker sends the first batch even if it is larger than the request's limit.
	first := min(r.partitions[0].p.largest, f.limit/2)
	least := max(f.least(), first)
	if f.room() < least && starving {
		f.makeRoom(now)
	}
	if f.room() < least {
		if !l.second {
			l.short = least
		}
		return false
	}
	r.reserved = min(max(min(most, f.request*3/2), first), f.room())
	return true
}

// waitFor returns a request that waits for messages of the partitions that have caught up. f.mu
// is held.
func (l *loop) waitFor(now time.Time) request {
	r := &fetchRequest{reserved: leastRequest, wait: l.f.maxWait()}
	for _, p := range l.b.partitions {
		if !p.hot && p.fetchable(now) {
			r.add(p, leastRequest)
		}
	}
	if len(r.partitions) == 0 {
		return nil
	}
	return r.begin(l, now)
}

func (f *Fetcher) maxWait() time.Duration { return max(f.opts.Config.MaxWaitTime, time.Millisecond) }

// yields reports whether the partition leaves memory to others, because it is paused and a
// quarter of the budget is used. f.mu is held.
func (p *Partition) yields() bool { return p.held && p.f.used > p.f.limit/4 }

// fetchable reports whether the partition may be in a request now. f.mu is held.
func (p *Partition) fetchable(now time.Time) bool {
	return !p.inFlight && p.ask == askNothing && p.wanted() && !p.retryAt.After(now)
}

// requestLimit is the limit of the partition in a request: its share, but at least the size of the
// largest batch, because a broker omits a batch that exceeds the limit unless it is the
// answer's first. An answer ends with the beginning of a batch that does not fit, which is
// fetched again: if batches are large and the size of the next one is known, the limit is that
// batch and the header of the one after it, unless it is nonsense. f.mu is held.
func (p *Partition) requestLimit() int64 {
	limit := max(min(p.maxBytes, max(p.f.share()-p.bytes, leastRequest)), p.largest)
	if p.ahead > 0 && p.ahead < maxFetchAnswer && p.largest > limit/3 {
		return max(p.ahead+recordsAt, leastRequest)
	}
	return limit
}

// add adds a partition. It returns how many bytes the answer will probably contain of it.
func (r *fetchRequest) add(p *Partition, bytes int64) int64 {
	e := kmsg.NewFetchRequestTopicPartition()
	e.Partition, e.CurrentLeaderEpoch, e.FetchOffset, e.PartitionMaxBytes = p.number, p.leaderEpoch, p.next, int32(bytes)
	r.partitions = append(r.partitions, requestedPartition{p: p, epoch: p.epoch, from: p.next, entry: e})
	if p.brought > 0 {
		return min(bytes, p.brought)
	}
	return bytes
}

// begin reserves memory for the answer. f.mu is held.
func (r *fetchRequest) begin(l *loop, now time.Time) request {
	f := l.f
	f.used += r.reserved
	l.until = now.Add(r.wait)
	for i := range r.partitions {
		a := &r.partitions[i]
		a.p.inFlight = true
		a.id = f.topics[a.p.topic].id
	}
	return r
}

// send implements request.
func (r *fetchRequest) send(l *loop) (time.Duration, error) {
	version, err := l.conn.version(fetchVersions)
	if err != nil {
		return 0, err
	}
	o := l.f.opts
	if slices.ContainsFunc(r.partitions, func(a requestedPartition) bool { return a.id == [16]byte{} }) {
		version = min(version, 12)
	}
	req := kmsg.NewPtrFetchRequest()
	req.Version = version
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = int32(r.wait.Milliseconds()), 1, int32(r.reserved)
	if r.wait > 0 {
		req.MinBytes = int32(min(max(o.Config.FetchMinBytes, 1), int(r.reserved)))
	}
	if o.ReadCommitted {
		req.IsolationLevel = 1
	}
	req.Rack = o.Rack
	l.session.fill(req, r, time.Now())
	body, err := l.conn.exchange(req, version >= 12, maxFetchAnswer, r.wait)
	if err != nil {
		return 0, err
	}
	a, err := readFetch(version, body, func(p *partitionAnswer) error { return r.take(l, version, p) })
	if err == nil {
		err = l.session.answered(a, time.Now())
	}
	l.conn.shrink(l.f)
	return time.Duration(a.throttle) * time.Millisecond, err
}

// take copies a partition's part of an answer.
func (r *fetchRequest) take(l *loop, version int16, p *partitionAnswer) error {
	a := r.find(version, p)
	if a == nil || a.got != nil {
		return newProtocolError("an answer to Fetch holds partition %d of a topic, which was not asked for", p.number)
	}
	a.got = &partitionResult{code: p.code, replica: p.replica, high: p.high, stable: p.stable, logStart: p.logStart}
	if len(p.records) == 0 || p.code != 0 {
		return nil
	}
	r.received = true
	g := a.got
	g.all, g.ahead, g.err = l.f.decoder.split(a.p.topic, p.number, p.records, a.from, l.conn.keepBufferFrom(l.f))
	// The checksum of a batch does not cover its offset. A broker reads the watermark before
	// the records, so a batch may end above it in one answer; it is fetched again.
	if i := slices.IndexFunc(g.all, func(b *Batch) bool { return p.high >= 0 && b.NextOffset() > p.high }); i >= 0 {
		g.all, g.above = g.all[:i], g.all[i]
	}
	if l.f.opts.ReadCommitted {
		markAborted(g.all, p.aborted)
	}
	return nil
}

// find returns the requested partition that p belongs to, nil if it was not requested.
func (r *fetchRequest) find(version int16, p *partitionAnswer) *requestedPartition {
	if r.index == nil {
		r.index = make(map[key]int, len(r.partitions))
		for i, a := range r.partitions {
			r.index[a.key(version)] = i
		}
	}
	k := key{number: p.number}
	if version >= 13 {
		k.id = p.id
	} else {
		k.topic = p.topic
	}
	if i, ok := r.index[k]; ok {
		return &r.partitions[i]
	}
	return nil
}

func (a *requestedPartition) key(version int16) key {
	if version >= 13 {
		return key{id: a.id, number: a.p.number}
	}
	return key{topic: a.p.topic, number: a.p.number}
}

// finish implements request.
func (r *fetchRequest) finish(l *loop, err error, now time.Time) (changed []*Partition) {
	f := l.f
	served := map[*Partition]bool{}
	for i := range r.partitions {
		a := &r.partitions[i]
		if p := a.p; a.epoch == p.epoch && !p.closed {
			p.inFlight = false
			if err == nil && p.received(a, r.received, now) {
				changed = append(changed, p)
			}
			if a.got != nil && len(a.got.all) > 0 {
				served[p] = true
			}
		}
	}
	if len(served) > 0 { // they come last in the next requests
		ps := l.b.partitions
		rest := slices.DeleteFunc(slices.Clone(ps), func(p *Partition) bool { return served[p] })
		last := slices.DeleteFunc(slices.Clone(ps), func(p *Partition) bool { return !served[p] })
		l.b.partitions = append(rest, last...)
	}
	f.release(r.reserved)
	l.wakeOthers()
	return changed
}

// received handles a partition's part of an answer; more: the answer contained records of
// some partition. It reports whether the reader of the partition has to be woken. f.mu is
// held.
func (p *Partition) received(a *requestedPartition, more bool, now time.Time) bool {
	g := a.got
	if g == nil { // a session leaves out what did not change, the embedded broker what did not fit
		p.hot = p.hot && more
		return false
	}
	if err := kerr.ErrorForCode(g.code); err != nil {
		return p.refused(g.code, err, now)
	}
	if g.replica != noBroker && g.replica != p.replica && len(g.all) == 0 {
		if p.f.brokers[g.replica] == nil { // our metadata is older than it
			p.fail(kerr.ReplicaNotAvailable, now)
			return true
		}
		p.replica, p.replicaUntil = g.replica, now.Add(replicaExpires)
		p.attach()
		return false
	}
	if p.replica != noBroker && now.After(p.replicaUntil) {
		p.dropReplica() // which names a replica again
	}
	p.high, p.stable, p.logStart, p.marksAt = g.high, g.stable, g.logStart, now
	if g.err != nil {
		return p.unreadable(a, g.err, now)
	}
	if g.above == nil || len(g.all) > 0 {
		p.above = 0
	} else if p.above++; p.above > mostAbove {
		p.fail(newProtocolError("the batch at offset %d ends above the high watermark %d", g.above.FirstOffset(), g.high), now)
		return true
	}
	first := p.start == nil
	changed := first || p.err != nil
	p.confirm()
	before := p.bytes
	for _, b := range g.all {
		p.waiting = append(p.waiting, Item{Batch: b})
		p.bytes += b.Size()
		p.messages += b.Count()
		p.f.used += b.Size()
		p.next, p.lastEpoch = b.NextOffset(), b.LeaderEpoch()
		p.largest = max(p.largest-p.largest/16, b.Size())
	}
	if len(g.all) > 0 {
		p.brought, p.ahead = p.bytes-before, g.ahead
	}
	wasHot := p.hot
	p.hot = p.next < p.readableEnd() && more
	if len(g.all) > 0 {
		p.hungry = false
		if p.messages > 0 && len(p.waiting) == len(g.all) {
			p.touched = now
		}
	}
	return changed || len(g.all) > 0 || wasHot && !p.hot
}

// readableEnd is the offset up to which a fetch returns messages. f.mu is held.
func (p *Partition) readableEnd() int64 {
	if p.f.opts.ReadCommitted {
		return p.stable
	}
	return p.high
}

// mostAbove is how many answers in a row may contain only a batch that ends above the high
// watermark.
const mostAbove = 10

// offsetOutOfRange is the only code that is about the position.
const offsetOutOfRange = 1

// refused handles an error code. f.mu is held.
func (p *Partition) refused(code int16, err error, now time.Time) bool {
	if code == offsetOutOfRange {
		p.outOfRange()
		return false
	}
	p.fail(err, now)
	return true
}

// unreadable handles records that cannot be split into batches. If the request's limit
// truncated the first batch, the next request asks for its whole size. f.mu is held.
func (p *Partition) unreadable(a *requestedPartition, err error, now time.Time) bool {
	if cut, ok := errors.AsType[*TruncatedError](err); ok && cut.Size > int64(a.entry.PartitionMaxBytes) && cut.Size < maxFetchAnswer {
		p.largest, p.ahead = max(p.largest, cut.Size), cut.Size
		return false
	}
	p.fail(err, now)
	return true
}
