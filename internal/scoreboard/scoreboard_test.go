package scoreboard

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestReaderSeesTheWritersCalls(t *testing.T) {
	f, reader, err := Create(3)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	writer, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	long := strings.Repeat("t", maxTopic)
	writer.Begin(0, "orders", 7, 40, 40, true)
	writer.NextAt(0, 41, 41, writer.Now())
	writer.Begin(2, long, 0, 10, 19, false)
	writer.Begin(1, "gone", 1, 1, 1, false)
	writer.End(1)

	want := []Call{
		{Topic: "orders", Partition: 7, FirstOffset: 41, LastOffset: 41, Alone: true},
		{Topic: long, FirstOffset: 10, LastOffset: 19},
	}
	got := reader.InHand()
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(Call{}, "Since")); d != "" {
		t.Error(d)
	}
	for _, c := range got {
		if c.Since < 0 || c.Since > time.Minute {
			t.Errorf("in hand since %v", c.Since)
		}
	}
}

// A writer killed during Begin leaves an odd sequence; the reader must return the values
// that are there.
func TestTornWriteIsStillRead(t *testing.T) {
	f, b, err := Create(1)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	defer b.Close()
	b.Begin(0, "orders", 0, 5, 5, true)
	b.slots[0].seq++
	if got := b.InHand(); len(got) != 1 || got[0].FirstOffset != 5 {
		t.Errorf("got %v", got)
	}
}

func TestBeginAndEndDoNotAllocate(t *testing.T) {
	f, b, err := Create(1)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	defer b.Close()
	if n := testing.AllocsPerRun(100, func() {
		b.Begin(0, "orders", 0, 5, 5, true)
		b.NextAt(0, 6, 6, b.Now())
		b.End(0)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestOpenRefusesOtherFiles(t *testing.T) {
	f, err := temporaryFile()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := Open(f); err == nil {
		t.Error("an empty file was taken")
	}
	if _, err := f.WriteAt(make([]byte, 4096), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(f); err == nil || !strings.Contains(err.Error(), "not a scoreboard") {
		t.Errorf("got %v", err)
	}
}
