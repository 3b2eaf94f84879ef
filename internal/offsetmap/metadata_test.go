package offsetmap

import (
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// random returns metadata with finished offsets of any shape.
func randomMetadata(r *rand.Rand) Metadata {
	m := Metadata{Offset: r.Int64N(1 << r.IntN(62)), LeaderEpoch: r.Int32N(3) - 1, Starts: r.IntN(4)}
	if r.IntN(2) == 0 {
		m.TopicID = TopicID{byte(r.Uint32()), 1, 2, 3}
	}
	at := m.Offset
	for range r.IntN(40) {
		first := at + 1 + r.Int64N(1<<r.IntN(20))
		at = first + 1 + r.Int64N(1<<r.IntN(20))
		m.Finished = append(m.Finished, Range{first, at})
	}
	at = m.Offset + r.Int64N(2)
	for range r.IntN(MaxFailing + 1) {
		m.Failing = append(m.Failing, Failing{at, 1 + r.IntN(1000)})
		at += 1 + r.Int64N(100)
	}
	return m
}

func TestDecodeReadsWhatEncodeWrites(t *testing.T) {
	versions := map[string]int{}
	for seed := range uint64(5000) {
		m := randomMetadata(rand.New(rand.NewPCG(seed, 0)))
		text := m.Encode(math.MaxInt)
		got, err := Decode(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		want := m
		switch {
		case text == "":
			want.Offset, want.LeaderEpoch, want.TopicID = -1, -1, TopicID{}
		case strings.HasPrefix(text, plain):
			want.LeaderEpoch, want.TopicID = -1, TopicID{}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q:\n%+v, want\n%+v", text, got, want)
		}
		versions[text[:min(len(text), len(plain))]]++
		for _, limit := range []int{0, 20, 80, 300, len(text) - 1} {
			short := m.Encode(limit)
			if len(short) > max(0, limit) {
				t.Fatalf("%d bytes for a limit of %d", len(short), limit)
			}
			got, err := Decode(short)
			if err != nil {
				t.Fatalf("%q: %v", short, err)
			}
			for _, r := range got.Finished {
				if want := m.Finished.Between(r.First, r.Next); len(want) != 1 || want[0] != r {
					t.Fatalf("%v looks finished: %v", r, m.Finished)
				}
			}
		}
	}
	if len(versions) != 3 {
		t.Errorf("%v", versions)
	}
}

func TestEncodeTakesTheShorterForm(t *testing.T) {
	every := Set{} // second offset of 8,000: 8,000 bits, or 8,000 runs
	for at := int64(101); at < 8101; at += 2 {
		every = append(every, Range{at, at + 1})
	}
	for name, test := range map[string]struct {
		finished Set
		most     int
	}{
		"bitmap":      {every, (8000/8+16)*4/3 + 40},
		"run lengths": {Set{{101, 1_000_000}, {1_000_001, 5_000_000}}, 80},
	} {
		m := Metadata{Offset: 100, Finished: test.finished}
		if text := m.Encode(math.MaxInt); len(text) > test.most {
			t.Errorf("%s: %d characters, more than %d", name, len(text), test.most)
		}
	}
}

func TestDecodeOfOthersAndOfDamage(t *testing.T) {
	whole := (&Metadata{Offset: 17, Finished: Set{{20, 25}}, Failing: []Failing{{17, 3}, {19, 1}}}).Encode(math.MaxInt)
	for text, want := range map[string]string{
		"":                                      "",
		"somebody else's":                       "",
		"left:2,5-7":                            "",
		"racecar:1;17;3":                        "",
		"racecar:1;17;3;2":                      "",
		"racecar:1;17":                          "damaged: 1 fields",
		"racecar:1;17;-1":                       `damaged: number "-1"`,
		"racecar:1;17;x":                        `damaged: number "x"`,
		"racecar:1;17;3;2;1":                    "damaged: 4 fields",
		"racecar:2;17":                          "damaged: 1 fields",
		"racecar:2;17;-;-;0;16:1;":              "damaged: failing message 16",
		"racecar:2;17;-;-;0;18:1,18;":           `damaged: number ""`,
		"racecar:2;17;-;abc;0;;":                `damaged: topic id "abc"`,
		"racecar:2;17;-;-;0;;AAAA":              "damaged: map of 4 characters",
		"racecar:3;17;everything":               `of the unknown version "3"`,
		whole[:len(whole)-1]:                    "damaged: ",
		strings.Replace(whole, "17;", "16;", 1): "damaged: checksum",
	} {
		m, err := Decode(text)
		if want == "" && err == nil {
			continue
		}
		if _, ours := errors.AsType[*Error](err); !ours || want == "" || !strings.HasPrefix(err.Error(), "commit metadata: "+want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if !reflect.DeepEqual(m, Metadata{Offset: -1, LeaderEpoch: -1}) {
			t.Errorf("%q: something is known: %+v", text, m)
		}
	}
}

func TestMetadataAppliesToItsCommit(t *testing.T) {
	id, other := TopicID{1, 2, 3, 4}, TopicID{1, 2, 3, 5}
	for _, test := range []struct {
		m      Metadata
		offset int64
		epoch  int32
		id     TopicID
		want   bool
	}{
		{Metadata{Offset: 7, LeaderEpoch: 2, TopicID: id}, 7, 2, id, true},
		{Metadata{Offset: 7, LeaderEpoch: 2, TopicID: id}, 8, 2, id, false},
		{Metadata{Offset: 7, LeaderEpoch: 2, TopicID: id}, 7, 3, id, false},
		{Metadata{Offset: 7, LeaderEpoch: 2, TopicID: id}, 7, 2, other, false},
		{Metadata{Offset: 7, LeaderEpoch: 2, TopicID: id}, 7, -1, TopicID{}, true},
		{Metadata{Offset: 7, LeaderEpoch: -1}, 7, 3, other, true},
	} {
		if got := test.m.Applies(test.offset, test.epoch, test.id); got != test.want {
			t.Errorf("%+v applies to %d, %d, %x: %v", test.m, test.offset, test.epoch, test.id, got)
		}
	}
}

// Whatever bytes stand in a commit, nothing looks finished that was not written as
// finished: such a message would never be processed.
func FuzzDecode(f *testing.F) {
	for seed := range uint64(20) {
		m := randomMetadata(rand.New(rand.NewPCG(seed, 0)))
		f.Add(seed, uint16(seed), byte('A'), m.Encode(math.MaxInt))
	}
	f.Add(uint64(0), uint16(0), byte(0), "racecar:2;17;-;-;0;18:1;AQID")
	f.Fuzz(func(t *testing.T, seed uint64, at uint16, value byte, text string) {
		m := randomMetadata(rand.New(rand.NewPCG(seed, 0)))
		whole := m.Encode(math.MaxInt)
		if whole != "" {
			changed := []byte(whole)
			changed[int(at)%len(changed)] = value
			if got, err := Decode(string(changed)); err == nil && string(changed) != whole && len(got.Finished) > 0 {
				t.Errorf("%q was changed to %q, and makes %v look finished", whole, changed, got.Finished)
			}
		}
		got, err := Decode(text)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is more than a line", err)
			}
			return
		}
		last := got.Offset
		for _, r := range got.Finished {
			if r.First <= last || r.Next <= r.First {
				t.Errorf("%q: %v is no set beyond %d", text, got.Finished, got.Offset)
			}
			last = r.Next
		}
		if again, err := Decode(got.Encode(math.MaxInt)); err != nil || !reflect.DeepEqual(again.Finished, got.Finished) {
			t.Errorf("%q: %v became %v (%v)", text, got.Finished, again.Finished, err)
		}
	})
}
