package judge

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func after(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }

// Each finding about an order or a commit has an input that must trigger it, and one
// beside it that must not.
func TestJudgeOrders(t *testing.T) {
	a, b, none := []byte("a"), []byte("b"), []byte(nil)
	produced := map[Partition][]int64{p0: {0, 1, 2, 3}}
	keys := map[Partition][][]byte{p0: {a, b, a, b}}
	byKey := func(e Evidence) Evidence {
		e.Order, e.Produced = ByKey, produced
		if e.Keys == nil {
			e.Keys = keys
		}
		return e
	}
	for name, test := range map[string]struct {
		evidence Evidence
		want     Verdict
	}{
		"keys beside each other": {
			byKey(Evidence{Processed: []Record{at(0, 1, 1), at(5, 0, 1), at(12, 3, 1), at(16, 2, 1)}}),
			Verdict{Messages: 4, Records: 4},
		},
		"a key ahead of another": {
			byKey(Evidence{Processed: []Record{at(0, 1, 1), at(10, 3, 1), at(20, 0, 1), at(30, 2, 1)}}),
			Verdict{Messages: 4, Records: 4},
		},
		"a key out of order": {
			byKey(Evidence{Processed: []Record{at(0, 2, 1), at(10, 0, 1), at(20, 1, 1), at(30, 3, 1)}}),
			Verdict{Messages: 4, Records: 4, OutOfOrder: []string{"t/0 offset 2 processed by A[0] (pid 1) before offset 0"}},
		},
		"a key twice at once": {
			byKey(Evidence{Processed: []Record{at(0, 0, 1), at(5, 2, 1), at(20, 1, 1), at(30, 3, 1)}}),
			Verdict{Messages: 4, Records: 4, AtOnce: []string{"t/0 offset 2 by A[0] (pid 1) began before A[0] (pid 1) ended offset 0 of the same key"}},
		},
		"a partition in two processes at once": {
			byKey(Evidence{Processed: []Record{at(0, 0, 1), at(5, 1, 2), at(20, 2, 2), at(30, 3, 2)}}),
			Verdict{Messages: 4, Records: 4, AtOnce: []string{"t/0 offset 1 by A[0] (pid 2) began 5ms before A[0] (pid 1) ended offset 0"}},
		},
		"without a key in any order, and at once": {
			byKey(Evidence{Keys: map[Partition][][]byte{p0: {none, none, none, a}}, Processed: []Record{at(0, 2, 1), at(1, 1, 1), at(2, 3, 1), at(3, 0, 1)}}),
			Verdict{Messages: 4, Records: 4},
		},
		"an empty key is a key": {
			byKey(Evidence{Keys: map[Partition][][]byte{p0: {{}, a, {}, b}}, Processed: []Record{at(0, 2, 1), at(10, 0, 1), at(20, 1, 1), at(30, 3, 1)}}),
			Verdict{Messages: 4, Records: 4, OutOfOrder: []string{"t/0 offset 2 processed by A[0] (pid 1) before offset 0"}},
		},
		"lost by key": {
			byKey(Evidence{Processed: []Record{at(0, 1, 1), at(10, 3, 1), at(20, 0, 1)}}),
			Verdict{Messages: 4, Records: 3, Lost: []string{"t/0 offset 2 never processed"}},
		},
		"unordered": {
			Evidence{Order: Unordered, Produced: produced, Processed: []Record{at(0, 3, 1), at(1, 2, 1), at(2, 1, 1), at(3, 0, 1)}},
			Verdict{Messages: 4, Records: 4},
		},
		"again after a commit beside which it was finished": {
			byKey(Evidence{
				Processed: []Record{at(0, 1, 1), at(10, 3, 1), at(50, 0, 2), at(60, 1, 2), at(70, 2, 2)},
				Commits:   map[Partition][]Commit{p0: {{At: after(30), Offset: 0, Finished: []Range{{1, 2}, {3, 4}}}}},
				Excused:   func(Record, Record) bool { return true },
			}),
			Verdict{Messages: 4, Records: 5, Repeats: 1, Excused: 1, Again: []string{"t/0 offset 1 processed again by A[0] (pid 2) 30ms after a commit of 0 had it as finished"}},
		},
		"again below a commit": {
			Evidence{
				Produced:  map[Partition][]int64{p0: {0}},
				Processed: []Record{at(0, 0, 1), at(50, 0, 2)}, AllowedRepeats: 1,
				Commits: map[Partition][]Commit{p0: {{At: after(30), Offset: 1}}},
			},
			Verdict{Messages: 1, Records: 2, Repeats: 1, Again: []string{"t/0 offset 0 processed again by A[0] (pid 2) 20ms after a commit of 1 had it as finished"}},
		},
		"again what no commit had, or what a later one had": {
			byKey(Evidence{
				Processed: []Record{at(0, 1, 1), at(10, 3, 1), at(50, 0, 2), at(60, 1, 2), at(70, 2, 2), at(80, 3, 2)}, AllowedRepeats: 2,
				Commits: map[Partition][]Commit{p0: {{At: after(30)}, {At: after(95), Offset: 4}}},
			}),
			Verdict{Messages: 4, Records: 6, Repeats: 2},
		},
		"again what the last commit no longer had": {
			byKey(Evidence{
				Processed: []Record{at(0, 1, 1), at(50, 0, 2), at(60, 1, 2), at(70, 2, 2), at(80, 3, 2)}, AllowedRepeats: 1,
				Commits: map[Partition][]Commit{p0: {{At: after(20), Finished: []Range{{1, 2}}}, {At: after(30)}}},
			}),
			Verdict{Messages: 4, Records: 5, Repeats: 1},
		},
		"finished in a commit before it was processed": {
			byKey(Evidence{
				Processed: []Record{at(0, 1, 1), at(10, 0, 1), at(20, 2, 1), at(30, 3, 1)},
				Commits: map[Partition][]Commit{p0: {
					{At: after(15), Finished: []Range{{1, 2}}}, {At: after(25), Offset: 2, Finished: []Range{{3, 4}}}, {At: after(35), Offset: 4},
				}},
			}),
			Verdict{Messages: 4, Records: 4, Ahead: []string{"t/0 offset 3 finished in a commit of 2 before it was processed"}},
		},
		"committed over before it was processed": {
			Evidence{
				Produced: map[Partition][]int64{p0: {0, 1}}, Processed: []Record{at(0, 0, 1), at(10, 1, 1)},
				Commits: map[Partition][]Commit{p0: {{At: after(15), Offset: 2}, {At: after(25), Offset: 2}}},
			},
			Verdict{Messages: 2, Records: 2, Ahead: []string{"t/0 offset 1 finished in a commit of 2 before it was processed"}},
		},
		"committed over a message skipped on purpose": {
			Evidence{
				Produced: map[Partition][]int64{p0: {0, 1}}, Processed: []Record{at(0, 0, 1)}, Skipped: map[Partition][]int64{p0: {1}},
				Commits: map[Partition][]Commit{p0: {{At: after(15), Offset: 2}}},
			},
			Verdict{Messages: 2, Records: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := Judge(test.evidence)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
			if got.OK() != (len(got.OutOfOrder)+len(got.AtOnce)+len(got.Ahead)+len(got.Again)+len(got.Lost) == 0) {
				t.Errorf("OK %v: %v", got.OK(), got)
			}
		})
	}
}
