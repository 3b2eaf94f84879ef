package ctl

import "testing"

func TestTotalLag(t *testing.T) {
	for want, rows := range map[string][]lagRow{
		"0":                                   nil,
		"1,003":                               {{Lag: 3}, {Lag: 1000}, {Lag: 0}},
		"3, and unknown of 1 of 2 partitions": {{Lag: 3}, {Lag: -1}},
		"unknown":                             {{Lag: -1}, {Lag: -1}},
	} {
		if got := totalLag(rows); got != want {
			t.Errorf("%v: %q, want %q", rows, got, want)
		}
	}
}
