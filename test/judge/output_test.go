package judge

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCopies(t *testing.T) {
	produced := map[Partition][]int64{p0: {0, 1, 2}}
	content := map[Partition][]uint64{p0: {10, 11, 12}}
	copies := func(offsets ...int64) [][]Copy {
		var c []Copy
		for _, o := range offsets {
			c = append(c, Copy{From: p0, Offset: o, Content: uint64(10 + o)})
		}
		return [][]Copy{c}
	}
	for name, test := range map[string]struct {
		copies  [][]Copy
		exactly bool
		want    []string
	}{
		"each once":             {copies(0, 1, 2), true, nil},
		"another content":       {[][]Copy{{{p0, 0, 10}, {p0, 1, 10}, {p0, 2, 12}}}, false, []string{"the copy of t/0 offset 1 has another content"}},
		"one missing":           {copies(0, 2), false, []string{"no copy of t/0 offset 1"}},
		"one twice, allowed":    {copies(0, 1, 1, 2), false, nil},
		"one twice":             {copies(0, 1, 1, 2), true, []string{"2 copies of t/0 offset 1"}},
		"out of order, allowed": {copies(0, 2, 1), false, nil},
		"out of order":          {copies(0, 2, 1), true, []string{"copy of t/0 offset 1 stands behind that of 2"}},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(test.want, Copies(produced, content, test.copies, test.exactly)); d != "" {
				t.Error(d)
			}
		})
	}
}
