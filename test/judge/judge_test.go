package judge

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var p0 = Partition{"t", 0}

// at makes records of t/0 that each take 10 ms: offset by offset, worker A (pid 1)
// unless said otherwise.
func at(ms int, offset int64, pid int) Record {
	start := time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond)
	return Record{Topic: "t", Offset: offset, Worker: "A[0]", PID: pid, Start: start, End: start.Add(10 * time.Millisecond)}
}

// of gives a record a content.
func of(r Record, key, value string) Record {
	r.Content = Digest([]byte(key), []byte(value))
	return r
}

// What differs in a byte, or in whether it is there at all, has another digest.
func TestDigest(t *testing.T) {
	seen := map[uint64]string{}
	for name, parts := range map[string][2][]byte{
		"nothing": {nil, nil}, "an empty value": {nil, {}}, "an empty key": {{}, nil}, "both empty": {{}, {}},
		"a key": {[]byte("ab"), nil}, "a value": {nil, []byte("ab")}, "both": {[]byte("a"), []byte("b")}, "another value": {[]byte("a"), []byte("c")},
	} {
		d := Digest(parts[0], parts[1])
		if other, ok := seen[d]; ok || d == 0 {
			t.Errorf("%s: digest %x, as %q has", name, d, other)
		}
		seen[d] = name
	}
}

// Each verdict has an input that must trigger it, and one beside it that must not.
func TestJudge(t *testing.T) {
	produced := map[Partition][]int64{p0: {0, 1, 2, 3}}
	inOrder := []Record{at(0, 0, 1), at(10, 1, 1), at(20, 2, 1), at(30, 3, 1)}
	for name, test := range map[string]struct {
		evidence Evidence
		want     Verdict
	}{
		"everything as promised": {
			Evidence{Produced: produced, Processed: inOrder, Committed: map[Partition]int64{p0: 4}},
			Verdict{Messages: 4, Records: 4},
		},
		"handed over without overlap": {
			Evidence{Produced: produced, Processed: []Record{at(0, 0, 1), at(10, 1, 1), at(20, 2, 2), at(30, 3, 2)}},
			Verdict{Messages: 4, Records: 4},
		},
		"lost": {
			Evidence{Produced: produced, Processed: inOrder[:3], Committed: map[Partition]int64{p0: 3}},
			Verdict{Messages: 4, Records: 3, Lost: []string{"t/0 offset 3 never processed"}},
		},
		"a partition never touched": {
			Evidence{Produced: map[Partition][]int64{p0: {7}}},
			Verdict{Messages: 1, Lost: []string{"t/0 offset 7 never processed"}},
		},
		"stopped before the end": {
			Evidence{Produced: produced, Processed: inOrder[:3], Committed: map[Partition]int64{p0: 3}, Unfinished: true},
			Verdict{Messages: 4, Records: 3},
		},
		"committed ahead": {
			Evidence{Produced: produced, Processed: inOrder[:3], Committed: map[Partition]int64{p0: 4}, Unfinished: true},
			Verdict{Messages: 4, Records: 3,
				Ahead: []string{"t/0 offset 3 not processed, committed 4"},
				Lost:  []string{"t/0 offset 3 committed over"}},
		},
		"committed beyond the end": {
			Evidence{Produced: produced, Processed: inOrder, Committed: map[Partition]int64{p0: 9}},
			Verdict{Messages: 4, Records: 4, Ahead: []string{"t/0 committed 9, beyond the last message 3"}},
		},
		"committed over a transaction's marker": {
			Evidence{Produced: produced, Processed: inOrder, Committed: map[Partition]int64{p0: 5}},
			Verdict{Messages: 4, Records: 4},
		},
		"duplicated": {
			Evidence{Produced: produced, Processed: append([]Record{at(40, 2, 2)}, inOrder...)},
			Verdict{Messages: 4, Records: 5, Repeats: 1, Duplicated: []string{"t/0 offset 2 processed again by A[0] (pid 2), attempt 0"}},
		},
		"repeated within the window": {
			Evidence{Produced: produced, Processed: append([]Record{at(40, 2, 2)}, inOrder...), AllowedRepeats: 1},
			Verdict{Messages: 4, Records: 5, Repeats: 1},
		},
		"repeated with an excuse": {
			Evidence{Produced: produced, Processed: append([]Record{at(40, 2, 2), at(50, 3, 2)}, inOrder...),
				Excused: func(first, again Record) bool { return first.Offset == 2 && again.PID == 2 }},
			Verdict{Messages: 4, Records: 6, Repeats: 2, Excused: 1, Duplicated: []string{"t/0 offset 3 processed again by A[0] (pid 2), attempt 0"}},
		},
		"altered": {
			Evidence{
				Produced: map[Partition][]int64{p0: {0, 1}}, Content: map[Partition][]uint64{p0: {Digest([]byte("k"), []byte("0")), Digest([]byte("k"), []byte("1"))}},
				Processed: []Record{of(at(0, 0, 1), "k", "0"), of(at(10, 1, 1), "k", "0")},
			},
			Verdict{Messages: 2, Records: 2, Altered: []string{"t/0 offset 1 handed to A[0] (pid 1) with another content than was produced, attempt 0"}},
		},
		"content that nobody noted": {
			Evidence{Produced: map[Partition][]int64{p0: {0}}, Content: map[Partition][]uint64{p0: {7}}, Processed: []Record{at(0, 0, 1)}},
			Verdict{Messages: 1, Records: 1},
		},
		"out of order": {
			Evidence{Produced: produced, Processed: []Record{at(0, 0, 1), at(10, 2, 1), at(20, 1, 1), at(30, 3, 1)}},
			Verdict{Messages: 4, Records: 4, OutOfOrder: []string{"t/0 offset 2 processed by A[0] (pid 1) before offset 1"}},
		},
		"by two at once": {
			Evidence{Produced: produced, Processed: []Record{at(0, 0, 1), at(10, 1, 1), at(15, 2, 2), at(30, 3, 2)}},
			Verdict{Messages: 4, Records: 4, AtOnce: []string{"t/0 offset 2 by A[0] (pid 2) began 5ms before A[0] (pid 1) ended offset 1"}},
		},
		"never produced": {
			Evidence{Produced: map[Partition][]int64{p0: {0}}, Processed: []Record{at(0, 0, 1), at(10, 1, 1)}},
			Verdict{Messages: 1, Records: 2, Unknown: []string{"t/0 offset 1 processed by A[0] (pid 1), never produced"}},
		},
		"skipped on purpose": {
			Evidence{Produced: produced, Processed: []Record{at(0, 0, 1), at(10, 1, 1), at(30, 3, 1)},
				Committed: map[Partition]int64{p0: 4}, Skipped: map[Partition][]int64{p0: {2}}},
			Verdict{Messages: 4, Records: 3},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := Judge(test.evidence)
			if d := cmp.Diff(test.want, got); d != "" {
				t.Error(d)
			}
			bad := strings.Count(got.String(), "\n")
			if got.OK() != (bad == 0) {
				t.Errorf("OK is %v of\n%s", got.OK(), got)
			}
		})
	}
}

func TestJournalIsReadBack(t *testing.T) {
	dir := t.TempDir()
	j, err := Create(dir, "Billing::Invoice[0]")
	if err != nil {
		t.Fatal(err)
	}
	want := Record{Topic: "t", Partition: 3, Offset: 1 << 40, Key: "a\tb\n\x00é", Worker: "Billing::Invoice[0]", PID: os.Getpid(), Attempt: 2, Content: 1<<63 + 5, Start: time.Unix(1, 2), End: time.Unix(3, 4)}
	for range 2 {
		if err := j.Write(want); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]Record{want, want}, got); d != "" {
		t.Error(d)
	}
}

func TestALineCutShortByAKillIsNotProcessed(t *testing.T) {
	dir := t.TempDir()
	j, err := Create(dir, "A[0]")
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Write(Record{Topic: "t"}); err != nil {
		t.Fatal(err)
	}
	if _, err := j.f.WriteString("t\t0\t1\t\"k"); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadDir(dir); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := j.f.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadDir(dir); err == nil || !strings.Contains(err.Error(), filepath.Base(j.f.Name())+":2:") {
		t.Errorf("a broken line: %v", err)
	}
	_ = j.Close()
}
