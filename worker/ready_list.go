package worker

import (
	pq "container/heap"
	"slices"
	"time"
)

// This file holds the scheduler's lists: the partitions that are ready, and those that will be.

// readyTopic are the partitions of a topic that are ready, served in turn.
type readyTopic struct {
	parts  []*partition
	served int // how many partitions of it there are, ready or not
}

// makeReady puts p behind the others of its topic. A topic that had none goes behind the
// others, but with exhaust-topic the one that was served last stays the first. Called with
// mu held.
func (t *scheduler) makeReady(p *partition) {
	topic := t.byTopic[p.topic]
	topic.parts = append(topic.parts, p)
	p.queued = true
	switch {
	case len(topic.parts) > 1:
	case topic == t.last && !t.roundRobin:
		t.ready = slices.Insert(t.ready, 0, topic)
	default:
		t.ready = append(t.ready, topic)
	}
	t.wake.Signal()
}

// unready takes p off, if it is there. Called with mu held.
func (t *scheduler) unready(p *partition) {
	if !p.queued {
		return
	}
	p.queued = false
	topic := t.byTopic[p.topic]
	topic.parts = without(topic.parts, p)
	if len(topic.parts) == 0 {
		t.ready = without(t.ready, topic)
	}
}

// without removes one from a list, at no cost if it is the first.
func without[T comparable](list []T, one T) []T {
	if list[0] == one {
		clear(list[:1])
		return list[1:]
	}
	i := slices.Index(list, one)
	return slices.Delete(list, i, i+1)
}

// deadlines are partitions by when they can be served, the earliest first: a heap.
type deadlines []*partition

// set puts p where it belongs.
func (d *deadlines) set(p *partition, when time.Time) {
	if p.when = when; p.heapIndex > 0 {
		pq.Fix(d, p.heapIndex-1)
		return
	}
	pq.Push(d, p)
}

// remove takes p out, if it is there.
func (d *deadlines) remove(p *partition) {
	if p.heapIndex > 0 {
		pq.Remove(d, p.heapIndex-1)
	}
}

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].when.Before(d[j].when) }

func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].heapIndex, d[j].heapIndex = i+1, j+1
}

// Push implements pq.Interface.
func (d *deadlines) Push(p any) {
	*d = append(*d, p.(*partition)) //nolint:forcetypeassert // set pushes nothing else
	p.(*partition).heapIndex = len(*d)
}

// Pop implements pq.Interface.
func (d *deadlines) Pop() any {
	n := len(*d) - 1
	p := (*d)[n]
	(*d)[n] = nil
	*d = (*d)[:n]
	p.heapIndex = 0
	return p
}
