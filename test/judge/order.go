package judge

// Order is which messages a consumer has to process one after the other, in the order of
// their offsets.
type Order int

// The orders.
const (
	ByPartition Order = iota // all of a partition
	ByKey                    // those of a partition with the same key
	Unordered                // none
)

// lines are the sequences of messages that a consumer has to process one after
// the other. A message is named by its index among those produced to its partition.
type lines struct {
	of      []int   // the line of each index; -1: none
	indices [][]int // of each line
	next    []int   // of each line: the first of its indices that may not have been seen
	latest  []Record
	within  bool // two messages of a line may not overlap in time, whoever processes them
}

func newLines(e Evidence, p Partition) *lines {
	n := len(e.Produced[p])
	l := &lines{of: make([]int, n), within: e.Order == ByKey}
	byKey := map[string]int{}
	for index := range n {
		line := -1
		switch {
		case e.Order == ByPartition:
			line = 0
		case e.Order == ByKey && e.Keys[p][index] != nil:
			key := string(e.Keys[p][index])
			if _, known := byKey[key]; !known {
				byKey[key] = len(byKey)
			}
			line = byKey[key]
		}
		l.of[index] = line
		if line >= 0 {
			for len(l.indices) <= line {
				l.indices = append(l.indices, nil)
			}
			l.indices[line] = append(l.indices[line], index)
		}
	}
	l.next, l.latest = make([]int, len(l.indices)), make([]Record, len(l.indices))
	return l
}

// earlier returns the first index of index's line that is before it and not seen.
func (l *lines) earlier(index int, seen []bool) (int, bool) {
	line := l.of[index]
	if line < 0 {
		return 0, false
	}
	indices := l.indices[line]
	for l.next[line] < len(indices) && seen[indices[l.next[line]]] {
		l.next[line]++
	}
	first := indices[l.next[line]] // index itself has not been seen
	return first, first < index
}

// overlap returns the record of index's line that had not ended when r began. Records come
// in the order of their beginning.
func (l *lines) overlap(index int, r Record) (Record, bool) {
	line := l.of[index]
	if line < 0 || !l.within {
		return Record{}, false
	}
	other := l.latest[line]
	if r.End.After(other.End) {
		l.latest[line] = r
	}
	return other, r.Start.Before(other.End)
}
