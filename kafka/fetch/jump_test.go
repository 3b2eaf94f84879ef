package fetch

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/racecar-go/racecar/config"
)

// A seek behind a jump that Next has not returned yet neither delivers messages of another
// log nor skips messages that the log still has.
func TestSeekWithJumpsAhead(t *testing.T) {
	for name, c := range map[string]struct {
		waiting []Moved
		offset  int64
		next    int64
		left    []Moved
	}{
		"no jump":                     {nil, 3, 3, nil},
		"cut off behind it":           {[]Moved{{From: 10, To: 5, Reason: Truncated}}, 3, 3, nil},
		"cut off at it":               {[]Moved{{From: 10, To: 5, Reason: Truncated}}, 5, 5, nil},
		"cut off before it":           {[]Moved{{From: 10, To: 5, Reason: Truncated}}, 7, 5, []Moved{{From: 10, To: 5, Reason: Truncated}}},
		"deleted by retention":        {[]Moved{{From: 10, To: 50, Reason: LogStartMoved}}, 3, 50, []Moved{{From: 10, To: 50, Reason: LogStartMoved}}},
		"another topic":               {[]Moved{{From: 10, To: 0, Reason: AnotherTopic}}, 3, 0, []Moved{{From: 10, To: 0, Reason: AnotherTopic}}},
		"another topic, then cut off": {[]Moved{{From: 10, To: 0, Reason: AnotherTopic}, {From: 8, To: 4, Reason: Truncated}}, 3, 0, []Moved{{From: 10, To: 0, Reason: AnotherTopic}}},
		"cut off, then another topic": {[]Moved{{From: 10, To: 5, Reason: Truncated}, {From: 5, To: 0, Reason: AnotherTopic}}, 3, 0, []Moved{{From: 5, To: 0, Reason: AnotherTopic}}},
	} {
		t.Run(name, func(t *testing.T) {
			settings := config.Default()
			f := New(Options{Config: &settings})
			t.Cleanup(f.Close)
			p := newPartition(f, "t", 0, Position{Offset: 0, LeaderEpoch: -1}, Beginning, PartitionOptions{}, func() {})
			for i := range c.waiting {
				p.waiting = append(p.waiting, Item{Moved: &c.waiting[i]})
			}
			p.SeekTo(c.offset)
			var left []Moved
			for i := p.Next(); i.Moved != nil; i = p.Next() {
				left = append(left, *i.Moved)
			}
			if d := cmp.Diff(c.left, left); d != "" || p.next != c.next {
				t.Errorf("next %d, want %d; jumps %s", p.next, c.next, d)
			}
		})
	}
}

// A seek does not drop a question about the log that has no answer yet.
func TestSeekWithQuestionsOpen(t *testing.T) {
	settings := config.Default()
	f := New(Options{Config: &settings})
	t.Cleanup(f.Close)
	partition := func() *Partition {
		return newPartition(f, "t", 0, Position{Offset: 9, LeaderEpoch: 4}, Beginning, PartitionOptions{}, func() {})
	}
	p := partition() // is the record of epoch 4 before offset 9 still there?
	p.SeekTo(3)
	if p.next != 3 || p.ask != askEpoch || p.lastEpoch != 4 {
		t.Errorf("next %d, asks %d of epoch %d", p.next, p.ask, p.lastEpoch)
	}
	p = partition()
	p.topicID = [16]byte{1}
	p.checkTopic([16]byte{2})
	p.SeekTo(3)
	p.listed(0, 0)
	if p.next != 0 || p.ask != askNothing || p.start.Reason != AnotherTopic {
		t.Errorf("next %d, asks %d, %v", p.next, p.ask, p.start.Reason)
	}
	p = partition()
	p.outOfRange()
	p.SeekTo(3)
	if p.next != 3 || p.ask != askNothing {
		t.Errorf("next %d, asks %d", p.next, p.ask)
	}
}

// What waits is not dropped for others while it is being found out where the log goes on: it
// would be left out where that is behind it.
func TestMakeRoomWithQuestionsOpen(t *testing.T) {
	settings := config.Default()
	f := New(Options{Config: &settings})
	t.Cleanup(f.Close)
	p := newPartition(f, "t", 0, Position{Offset: 3, LeaderEpoch: -1}, End, PartitionOptions{}, func() {})
	f.topics["t"] = &topic{partitions: map[int32]*Partition{0: p}}
	p.confirm()
	b := &Batch{first: 3, next: 9}
	p.waiting, p.bytes, p.next, p.held = []Item{{Batch: b}}, b.Size(), 9, true
	p.outOfRange() // the log was cut off
	p.listed(0, -1)
	f.makeRoom(time.Now())
	p.listed(5, -1)
	if item := p.Next(); item.Batch != b {
		t.Errorf("next comes %+v", item.Moved)
	}
	if item := p.Next(); item.Moved == nil || *item.Moved != (Moved{From: 9, To: 5, Reason: Truncated}) {
		t.Errorf("then %+v", item.Moved)
	}
}

// An answer that was under way when its partition was taken from its broker is dropped: the
// partition may be asked for elsewhere already.
func TestAnswerAfterItsPartitionWasTakenAway(t *testing.T) {
	settings := config.Default()
	f := New(Options{Config: &settings})
	t.Cleanup(f.Close)
	p := newPartition(f, "t", 0, Position{Offset: 3, LeaderEpoch: -1}, Beginning, PartitionOptions{}, func() {})
	broker := newBroker(f, 1)
	broker.partitions, p.broker, p.inFlight = []*Partition{p}, broker, true
	got := &partitionResult{all: []*Batch{{first: 3, next: 9, raw: make([]byte, recordsAt)}}, replica: noBroker, high: 9, stable: 9}
	r := &fetchRequest{partitions: []requestedPartition{{p: p, epoch: p.epoch, from: 3, got: got}}, received: true}
	f.mu.Lock()
	defer f.mu.Unlock()
	p.detach()
	p.inFlight = true // in another request
	r.finish(broker.hot, nil, time.Now())
	if len(p.waiting) > 0 || p.next != 3 || !p.inFlight {
		t.Errorf("%d items wait, next %d, in flight %v", len(p.waiting), p.next, p.inFlight)
	}
}

// A replica that has left the cluster is not waited for.
func TestReplicaLeftTheCluster(t *testing.T) {
	settings := config.Default()
	f := New(Options{Config: &settings})
	t.Cleanup(f.Close)
	p := newPartition(f, "t", 0, Position{Offset: 3, LeaderEpoch: -1}, Beginning, PartitionOptions{}, func() {})
	f.brokers[1] = newBroker(f, 1)
	p.leader, p.replica, p.inFlight = 1, 7, true
	if p.attach(); p.broker != f.brokers[1] {
		t.Error("it has no broker")
	}
}

// An offset that the leader says its log has, by its epoch, is fetched again before anything
// is left out or repeated for it.
func TestOutOfRangeWhereTheEpochIsGood(t *testing.T) {
	settings := config.Default()
	f := New(Options{Config: &settings})
	t.Cleanup(f.Close)
	p := newPartition(f, "t", 0, Position{Offset: 9, LeaderEpoch: 4}, End, PartitionOptions{}, func() {})
	p.ask = askNothing
	p.outOfRange()
	p.listed(0, -1)
	if p.epochEnds(20); p.ask != askNothing || p.next != 9 || p.start != nil {
		t.Errorf("asks %d, next %d", p.ask, p.next)
	}
	p.outOfRange() // again
	if p.listed(0, -1); p.ask != askLatest {
		t.Errorf("asks %d", p.ask)
	}
}

// Where the committed epoch ends in the leader's log, what was written later begins.
func TestStartSaysWhereTheEpochEnds(t *testing.T) {
	settings := config.Default()
	f := New(Options{Config: &settings})
	t.Cleanup(f.Close)
	for name, test := range map[string]struct {
		asked bool
		want  int64
	}{"known": {true, 20}, "not asked": {false, -1}} {
		p := newPartition(f, "t", 0, Position{Offset: 9, LeaderEpoch: 4}, Beginning, PartitionOptions{}, func() {})
		if test.asked {
			p.epochEnds(20)
		}
		p.confirm()
		if start, err := p.Start(t.Context()); err != nil || start.EpochEnd != test.want || start.Offset != 9 {
			t.Errorf("%s: %+v (%v)", name, start, err)
		}
	}
}
