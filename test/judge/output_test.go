package judge

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCopies(t *testing.T) {
	produced := map[Partition][]int64{p0: {0, 1, 2}}
	copies := func(offsets ...int64) [][]Copy {
		var c []Copy
		for _, o := range offsets {
			c = append(c, Copy{p0, o})
		}
		return [][]Copy{c}
	}
	for name, test := range map[string]struct {
		copies  [][]Copy
		exactly bool
		want    []string
	}{
		"each once":             {copies(0, 1, 2), true, nil},
		"one missing":           {copies(0, 2), false, []string{"no copy of t/0 offset 1"}},
		"one twice, allowed":    {copies(0, 1, 1, 2), false, nil},
		"one twice":             {copies(0, 1, 1, 2), true, []string{"2 copies of t/0 offset 1"}},
		"out of order, allowed": {copies(0, 2, 1), false, nil},
		"out of order":          {copies(0, 2, 1), true, []string{"copy of t/0 offset 1 stands behind that of 2"}},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(test.want, Copies(produced, test.copies, test.exactly)); d != "" {
				t.Error(d)
			}
		})
	}
}
