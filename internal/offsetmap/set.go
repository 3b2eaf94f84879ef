package offsetmap

import (
	"slices"
)

// Range is the offsets from First on, below Next.
type Range struct{ First, Next int64 }

// Set is a set of offsets: ranges in ascending order that neither touch nor overlap. nil
// is the empty set.
type Set []Range

// find returns the index of the first range that ends behind offset.
func (s Set) find(offset int64) int {
	i, _ := slices.BinarySearchFunc(s, offset, func(r Range, offset int64) int {
		if r.Next <= offset {
			return -1
		}
		return 1
	})
	return i
}

// Contains reports whether offset is in s.
func (s Set) Contains(offset int64) bool {
	i := s.find(offset)
	return i < len(s) && s[i].First <= offset
}

// Count is how many offsets s has.
func (s Set) Count() (n int64) {
	for _, r := range s {
		n += r.Next - r.First
	}
	return n
}

// Next returns the first offset at or above offset that is not in s.
func (s Set) Next(offset int64) int64 {
	if i := s.find(offset); i < len(s) && s[i].First <= offset {
		return s[i].Next
	}
	return offset
}

// With returns s with the offsets from first on, below next. It may use the memory of s.
func (s Set) With(first, next int64) Set {
	if first >= next {
		return s
	}
	// All that r touches is from i on, below j.
	i := s.find(first)
	if i > 0 && s[i-1].Next == first {
		i--
	}
	j := i
	for j < len(s) && s[j].First <= next {
		j++
	}
	r := Range{first, next}
	if i < j {
		r.First, r.Next = min(first, s[i].First), max(next, s[j-1].Next)
	}
	return slices.Replace(s, i, j, r)
}

// Without returns s without offset. It may use the memory of s.
func (s Set) Without(offset int64) Set {
	i := s.find(offset)
	if i == len(s) || offset < s[i].First {
		return s
	}
	var left []Range
	r := s[i]
	if r.First < offset {
		left = append(left, Range{r.First, offset})
	}
	if offset+1 < r.Next {
		left = append(left, Range{offset + 1, r.Next})
	}
	return slices.Replace(s, i, i+1, left...)
}

// Between returns the offsets of s from first on, below next, in memory of their own.
func (s Set) Between(first, next int64) Set {
	var part Set
	for _, r := range s[s.find(first):] {
		if r.First >= next {
			break
		}
		part = append(part, Range{max(r.First, first), min(r.Next, next)})
	}
	return part
}
