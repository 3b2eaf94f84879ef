package fetch

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/racecar-go/racecar/config"
)

// Whoever goes back while a jump waits to be taken gets neither messages of another log
// nor loses those that the log still has.
func TestSeekWithJumpsAhead(t *testing.T) {
	for name, c := range map[string]struct {
		waiting []Moved
		offset  int64
		next    int64
		kept    []Moved
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
			var kept []Moved
			for i := p.Next(); i.Moved != nil; i = p.Next() {
				kept = append(kept, *i.Moved)
			}
			if d := cmp.Diff(c.kept, kept); d != "" || p.next != c.next {
				t.Errorf("next %d, want %d; jumps %s", p.next, c.next, d)
			}
		})
	}
}

// Nor does it skip what was about to be found out.
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
