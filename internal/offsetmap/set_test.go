package offsetmap

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

// model is a set as a table, for offsets below 64.
type model [64]bool

func (m model) set() Set {
	var s Set
	for i, in := range m {
		switch n := len(s); {
		case !in:
		case n > 0 && s[n-1].Next == int64(i):
			s[n-1].Next++
		default:
			s = append(s, Range{int64(i), int64(i) + 1})
		}
	}
	return s
}

func TestSetAgreesWithATable(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		var m model
		var s Set
		for range 200 {
			first, length := random.Int64N(64), random.Int64N(6)
			next := min(first+length, 64)
			if random.IntN(3) == 0 {
				m[first] = false
				s = s.Without(first)
			} else {
				for i := first; i < next; i++ {
					m[i] = true
				}
				s = s.With(first, next)
			}
			if want := m.set(); len(want)+len(s) > 0 && !reflect.DeepEqual(s, want) {
				t.Fatalf("seed %d: %v, want %v", seed, s, want)
			}
			compare(t, s, m, first, next)
		}
	}
}

func compare(t *testing.T, s Set, m model, first, next int64) {
	t.Helper()
	count := int64(0)
	for i, in := range m {
		if in {
			count++
		}
		if s.Contains(int64(i)) != in {
			t.Fatalf("%v contains %d: %v", s, i, !in)
		}
		free := int64(i)
		for free < 64 && m[free] {
			free++
		}
		if got := s.Next(int64(i)); got != free {
			t.Fatalf("%v: the next free offset from %d on is %d, not %d", s, i, free, got)
		}
		if inside := in && int64(i) >= first && int64(i) < next; s.Between(first, next).Contains(int64(i)) != inside {
			t.Fatalf("%v between %d and %d: %v", s, first, next, s.Between(first, next))
		}
	}
	if s.Count() != count {
		t.Fatalf("%v has %d offsets, not %d", s, count, s.Count())
	}
}
