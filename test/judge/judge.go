package judge

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Partition names a partition of a topic.
type Partition struct {
	Topic     string
	Partition int32
}

func (p Partition) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.Partition) }

// Evidence is what a run left behind.
type Evidence struct {
	// Produced holds the offsets of the messages in each partition, ascending.
	// Offsets of transaction markers are not in it.
	Produced map[Partition][]int64
	// Content holds the Digest of each of them; nil for a partition whose content
	// nobody noted.
	Content map[Partition][]uint64
	// Order is the order that the consumer was promised. Keys are the keys of what was
	// produced, needed ByKey alone; nil is a message without one.
	Order Order
	Keys  map[Partition][][]byte
	// Processed are the records of all journals, in any order.
	Processed []Record
	// Committed is the group's offset of each partition (the next message's);
	// partitions without a commit are left out.
	Committed map[Partition]int64
	// Commits are what was seen of the group's commits during the run, the oldest first.
	Commits map[Partition][]Commit
	// Skipped are messages that may stay unprocessed (skipped or dead-lettered on purpose).
	Skipped map[Partition][]int64
	// AllowedRepeats is how many messages may have been processed again in all
	// (0 for clean stops).
	AllowedRepeats int
	// Excused says that a repeat is no fault of the product's and does not count
	// against AllowedRepeats: first is the message's first record. Nil: none is.
	Excused func(first, again Record) bool
	// Unfinished says that the run ended before everything was consumed: what is
	// at or above the committed offset is then not lost.
	Unfinished bool
}

// Verdict is what the judge found. Each entry is one finding, in words.
type Verdict struct {
	Messages   int // produced
	Records    int // processed, repeats included
	Repeats    int // records beyond the first of a message
	Excused    int // of them
	Lost       []string
	Duplicated []string // filled only when Repeats exceeds what is allowed
	OutOfOrder []string
	AtOnce     []string // processed by two processes at the same time
	Ahead      []string // committed above what was processed
	Unknown    []string // processed though never produced
	Altered    []string // handed over with another content than was produced
	Again      []string // processed again though a commit had it as finished
}

// OK reports whether every promise was kept.
func (v Verdict) OK() bool {
	return len(v.Lost)+len(v.Duplicated)+len(v.OutOfOrder)+len(v.AtOnce)+len(v.Ahead)+len(v.Unknown)+len(v.Altered)+len(v.Again) == 0
}

func (v Verdict) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d messages, %d processed, %d repeats (%d excused): lost %d, duplicated %d, out of order %d, by two at once %d, committed ahead %d, unknown %d, altered %d, again after a commit %d",
		v.Messages, v.Records, v.Repeats, v.Excused, len(v.Lost), len(v.Duplicated), len(v.OutOfOrder), len(v.AtOnce), len(v.Ahead), len(v.Unknown), len(v.Altered), len(v.Again))
	for _, findings := range [][]string{v.Lost, v.Duplicated, v.OutOfOrder, v.AtOnce, v.Ahead, v.Unknown, v.Altered, v.Again} {
		for i, f := range findings {
			if i == 10 {
				fmt.Fprintf(&b, "\n  … and %d more", len(findings)-i)
				break
			}
			b.WriteString("\n  " + f)
		}
	}
	return b.String()
}

// Judge weighs the evidence.
func Judge(e Evidence) Verdict {
	v := Verdict{Records: len(e.Processed)}
	byPartition := map[Partition][]Record{}
	for _, r := range e.Processed {
		p := Partition{r.Topic, r.Partition}
		byPartition[p] = append(byPartition[p], r)
	}
	for p := range e.Produced {
		if byPartition[p] == nil {
			byPartition[p] = nil
		}
	}
	partitions := make([]Partition, 0, len(byPartition))
	for p := range byPartition {
		partitions = append(partitions, p)
	}
	slices.SortFunc(partitions, func(a, b Partition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	var repeated []string
	for _, p := range partitions {
		repeated = append(repeated, v.judge(p, e, byPartition[p])...)
	}
	if v.Repeats-v.Excused > e.AllowedRepeats {
		v.Duplicated = repeated
	}
	return v
}

func (v *Verdict) judge(p Partition, e Evidence, records []Record) (repeated []string) {
	produced := e.Produced[p]
	v.Messages += len(produced)
	// In order of their beginning; within one process of their place in the journal.
	slices.SortStableFunc(records, func(a, b Record) int { return a.Start.Compare(b.Start) })

	seen := make([]bool, len(produced)) // by place in produced
	for _, o := range e.Skipped[p] {
		if i, ok := slices.BinarySearch(produced, o); ok {
			seen[i] = true
		}
	}
	first := map[int]Record{} // by place, kept only where it is asked for
	orders := newLines(e, p)
	commits := newCommits(e.Commits[p], produced)
	var latest Record
	for i, r := range records {
		place, ok := slices.BinarySearch(produced, r.Offset)
		if !ok {
			v.Unknown = append(v.Unknown, fmt.Sprintf("%s offset %d processed by %s, never produced", p, r.Offset, who(r)))
			continue
		}
		if content := e.Content[p]; content != nil && r.Content != 0 && r.Content != content[place] {
			v.Altered = append(v.Altered, fmt.Sprintf("%s offset %d handed to %s with another content than was produced, attempt %d", p, r.Offset, who(r), r.Attempt))
		}
		if i > 0 && r.PID != latest.PID && r.Start.Before(latest.End) {
			v.AtOnce = append(v.AtOnce, fmt.Sprintf("%s offset %d by %s began %v before %s ended offset %d",
				p, r.Offset, who(r), latest.End.Sub(r.Start).Round(time.Microsecond), who(latest), latest.Offset))
		}
		if i == 0 || r.End.After(latest.End) {
			latest = r
		}
		if other, overlaps := orders.overlap(place, r); overlaps {
			v.AtOnce = append(v.AtOnce, fmt.Sprintf("%s offset %d by %s began before %s ended offset %d of the same key", p, r.Offset, who(r), who(other), other.Offset))
		}
		if c := commits.before(r.Start); seen[place] && c.has(r.Offset) {
			v.Again = append(v.Again, fmt.Sprintf("%s offset %d processed again by %s %v after a commit of %d had it as finished",
				p, r.Offset, who(r), r.Start.Sub(c.At).Round(time.Millisecond), c.Offset))
		}
		commits.processed(place, r)
		if seen[place] {
			v.Repeats++
			if e.Excused != nil && e.Excused(first[place], r) {
				v.Excused++
				continue
			}
			repeated = append(repeated, fmt.Sprintf("%s offset %d processed again by %s, attempt %d", p, r.Offset, who(r), r.Attempt))
			continue
		}
		if earlier, ok := orders.earlier(place, seen); ok {
			v.OutOfOrder = append(v.OutOfOrder, fmt.Sprintf("%s offset %d processed by %s before offset %d", p, r.Offset, who(r), produced[earlier]))
		}
		seen[place] = true
		if e.Excused != nil {
			first[place] = r
		}
	}

	v.Ahead = append(v.Ahead, commits.ahead(p, e.Skipped[p])...)
	committed, has := e.Committed[p]
	for i, o := range produced {
		switch {
		case seen[i]:
		case has && o < committed:
			v.Ahead = append(v.Ahead, fmt.Sprintf("%s offset %d not processed, committed %d", p, o, committed))
			v.Lost = append(v.Lost, fmt.Sprintf("%s offset %d committed over", p, o))
		case !e.Unfinished:
			v.Lost = append(v.Lost, fmt.Sprintf("%s offset %d never processed", p, o))
		}
	}
	if n := len(produced); has && n > 0 && committed > produced[n-1]+1 && !followedByMarker(committed, produced[n-1]) {
		v.Ahead = append(v.Ahead, fmt.Sprintf("%s committed %d, beyond the last message %d", p, committed, produced[n-1]))
	}
	return repeated
}

// followedByMarker: a transaction's marker takes one offset after its last message.
func followedByMarker(committed, last int64) bool { return committed == last+2 }

func who(r Record) string { return fmt.Sprintf("%s (pid %d)", r.Worker, r.PID) }
