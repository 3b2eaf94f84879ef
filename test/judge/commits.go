package judge

import (
	"fmt"
	"slices"
	"time"
)

// Commit is what a group had committed of a partition.
type Commit struct {
	At       time.Time // when the answer was there; it may be older
	Offset   int64
	Finished []Range // beyond Offset, ascending
}

// Range is offsets from First up to and without Next.
type Range struct{ First, Next int64 }

// has reports whether the commit has the message as finished.
func (c Commit) has(offset int64) bool {
	if offset < c.Offset {
		return true
	}
	i, _ := slices.BinarySearchFunc(c.Finished, offset, func(r Range, o int64) int {
		switch {
		case o < r.First:
			return 1
		case o >= r.Next:
			return -1
		}
		return 0
	})
	return i < len(c.Finished) && c.Finished[i].First <= offset && offset < c.Finished[i].Next
}

// commits are what was seen of the commits of a partition.
type commits struct {
	all      []Commit
	produced []int64
	ended    []time.Time // of the first processing to end, by place; zero: none
}

func newCommits(all []Commit, produced []int64) *commits {
	return &commits{all: all, produced: produced, ended: make([]time.Time, len(produced))}
}

// before returns the last commit that was seen before t; zero: none.
func (c *commits) before(t time.Time) Commit {
	i, _ := slices.BinarySearchFunc(c.all, t, func(x Commit, t time.Time) int { return x.At.Compare(t) })
	if i == 0 {
		return Commit{}
	}
	return c.all[i-1]
}

func (c *commits) processed(place int, r Record) {
	if c.ended[place].IsZero() || r.End.Before(c.ended[place]) {
		c.ended[place] = r.End
	}
}

// ahead says which commits had as finished what had not been processed then, for each
// message once.
func (c *commits) ahead(p Partition, skipped []int64) (found []string) {
	told := map[int]bool{}
	check := func(x Commit, from, to int64) {
		first, _ := slices.BinarySearch(c.produced, from)
		for place := first; place < len(c.produced) && c.produced[place] < to; place++ {
			if late := c.ended[place]; told[place] || !late.IsZero() && !late.After(x.At) || slices.Contains(skipped, c.produced[place]) {
				continue
			}
			told[place] = true
			found = append(found, fmt.Sprintf("%s offset %d finished in a commit of %d before it was processed", p, c.produced[place], x.Offset))
		}
	}
	var done int64 // below it, everything has been checked
	for _, x := range c.all {
		check(x, done, x.Offset)
		done = max(done, x.Offset)
		for _, r := range x.Finished {
			check(x, r.First, r.Next)
		}
	}
	return found
}
