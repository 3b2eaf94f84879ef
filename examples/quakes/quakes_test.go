package quakes_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/racecar-go/racecar/examples/quakes"
	"github.com/racecar-go/racecar/racecar"
)

func TestTheWeekIsWhole(t *testing.T) {
	week, err := quakes.Week()
	if err != nil {
		t.Fatal(err)
	}
	if len(week) != 1707 {
		t.Errorf("%d events, want 1707", len(week))
	}
	if !slices.IsSortedFunc(week, func(a, b quakes.Quake) int { return int(a.Time - b.Time) }) {
		t.Error("not in order of time")
	}
	ids, levels := map[string]bool{}, map[quakes.Level]int{}
	for _, q := range week {
		ids[q.ID] = true
		levels[quakes.Assess(q).Level]++
		if q.Region() == "" || q.Time == 0 {
			t.Errorf("%+v has no region or time", q)
		}
	}
	if len(ids) != len(week) {
		t.Errorf("%d ids of %d events", len(ids), len(week))
	}
	want := map[quakes.Level]int{quakes.Noise: 28, quakes.Quiet: 1462, quakes.Felt: 131, quakes.Moderate: 77, quakes.Strong: 9}
	if d := cmp.Diff(want, levels); d != "" {
		t.Error(d)
	}
}

func TestRegion(t *testing.T) {
	for place, want := range map[string]string{
		"22km NNE of Hualian, Taiwan":                       "Taiwan",
		"4km W of Castaic, CA":                              "California",
		"70km NW of Mouth of the Mattole River, California": "California",
		"Northern California":                               "Northern California",
		"Southern Mid-Atlantic Ridge":                       "Southern Mid-Atlantic Ridge",
		"south of the Kermadec Islands":                     "Kermadec Islands",
		"Kiribati region":                                   "Kiribati",
		"265km NE of Scott Island Bank, Antarctica":         "Antarctica",
		"": "",
	} {
		if got := (quakes.Quake{Place: place}).Region(); got != want {
			t.Errorf("region of %q is %q, want %q", place, got, want)
		}
	}
}

// output records the messages that are produced.
type output struct {
	messages []racecar.ProducerMessage
	err      error
}

func (o *output) Produce(_ context.Context, m racecar.ProducerMessage) error {
	o.messages = append(o.messages, m)
	return o.err
}
func (*output) Deliver(context.Context) error { return nil }

func TestProcess(t *testing.T) {
	out := &output{}
	c, err := quakes.NewQuakeAlertConsumer(racecar.Runtime{Producer: out, Worker: racecar.Worker{Index: 2}})
	if err != nil {
		t.Fatal(err)
	}
	quake := `{"id":"us1","time":1517932223000,"magnitude":6.4,"place":"22km NNE of Hualian, Taiwan","type":"earthquake","tsunami":true}`
	if err := c.Process(t.Context(), &racecar.Message{Value: []byte(quake)}); err != nil {
		t.Fatal(err)
	}
	if len(out.messages) != 1 {
		t.Fatalf("produced %d messages, want 1", len(out.messages))
	}
	m := out.messages[0]
	if m.Topic != quakes.Output || string(m.Key) != "Taiwan" {
		t.Errorf("produced to %s with key %s", m.Topic, m.Key)
	}
	var got quakes.Assessment
	if err := json.Unmarshal(m.Value, &got); err != nil {
		t.Fatal(err)
	}
	want := quakes.Assessment{ID: "us1", Region: "Taiwan", Level: quakes.Strong, Magnitude: 6.4, Place: "22km NNE of Hualian, Taiwan",
		At: time.Date(2018, 2, 6, 15, 50, 23, 0, time.UTC), Tsunami: true, Worker: 2}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}

	out.err = errors.New("full")
	if err := c.Process(t.Context(), &racecar.Message{Value: []byte(quake)}); !errors.Is(err, out.err) {
		t.Errorf("what could not be produced must be tried again: %v", err)
	}
	out.messages = nil
	if err := c.Process(t.Context(), &racecar.Message{Value: []byte("shake")}); err == nil || len(out.messages) != 0 {
		t.Errorf("error %v, produced %v; want a message that is no quake to be skipped", err, out.messages)
	}
}
