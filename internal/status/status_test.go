package status

import (
	"reflect"
	"testing"
)

func TestHistogramsAddUp(t *testing.T) {
	var h Histogram
	one := Histogram{Bounds: []float64{1, 2}, Counts: []uint64{1, 2, 3}, Sum: 10}
	h.Add(Histogram{})
	h.Add(one)
	h.Add(one)
	if want := (Histogram{Bounds: []float64{1, 2}, Counts: []uint64{2, 4, 6}, Sum: 20}); !reflect.DeepEqual(h, want) {
		t.Errorf("%+v, want %+v", h, want)
	}
	if one.Counts[0] != 1 {
		t.Error("what was added has changed")
	}
	h.Add(Histogram{Bounds: []float64{7}, Counts: []uint64{5, 5}, Sum: 1})
	if want := (Histogram{Bounds: []float64{1, 2}, Counts: []uint64{2, 4, 16}, Sum: 21}); !reflect.DeepEqual(h, want) {
		t.Errorf("other bounds: %+v, want %+v", h, want)
	}
}
