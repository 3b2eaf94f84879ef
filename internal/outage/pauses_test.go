package outage

import (
	"slices"
	"testing"
	"time"
)

var start = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

const (
	longest = 30 * time.Second
	middle  = 0.5 // no jitter
)

// Pauses double up to the longest one, and are spread by a tenth.
func TestPausesDouble(t *testing.T) {
	for name, test := range map[string]struct {
		longest time.Duration
		random  float64
		want    []time.Duration
	}{
		"middle":        {longest, middle, []time.Duration{1000, 2000, 4000, 8000, 16000, 30000, 30000}},
		"least":         {longest, 0, []time.Duration{900, 1800, 3600, 7200, 14400, 27000, 27000}},
		"short longest": {500 * time.Millisecond, middle, []time.Duration{500, 500, 500}},
		"3 s":           {3 * time.Second, middle, []time.Duration{1000, 2000, 3000, 3000}},
	} {
		t.Run(name, func(t *testing.T) {
			var p Pauses
			now := start
			var got []time.Duration
			for i := range test.want {
				if i == 0 {
					p.Report(now, -1, test.longest, test.random)
				} else {
					p.Unavailable(now, -1, test.longest, test.random)
				}
				got = append(got, p.Next().Sub(now)/time.Millisecond)
				now = p.Next()
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("pauses in ms %v, want %v", got, test.want)
			}
		})
	}
}

// A report while there is an outage changes nothing.
func TestReportsDuringAnOutage(t *testing.T) {
	var p Pauses
	if p.Active() || !p.Since().IsZero() {
		t.Error("an outage before any report")
	}
	if !p.Report(start, -1, longest, middle) {
		t.Error("the first report begins no outage")
	}
	before := p
	if p.Report(start.Add(500*time.Millisecond), -1, longest, middle) || p != before {
		t.Errorf("changed by another report: %+v, before %+v", p, before)
	}
}

// What the author asks for is the next pause, and does not count as one of those that double.
func TestPauseOfTheAuthor(t *testing.T) {
	var p Pauses
	p.Report(start, 10*time.Second, longest, 0)
	if got := p.Next().Sub(start); got != 10*time.Second {
		t.Errorf("first pause %v", got)
	}
	p.Unavailable(start, time.Hour, longest, 0)
	if got := p.Pause(); got != time.Hour {
		t.Errorf("second pause %v", got)
	}
	p.Unavailable(start, -1, longest, middle)
	if got := p.Pause(); got != 2*time.Second {
		t.Errorf("third pause %v", got)
	}
	p.Unavailable(start, 0, longest, middle)
	if !p.Next().Equal(start) {
		t.Errorf("the probe that was asked for at once is due at %v", p.Next())
	}
}

// Another failure keeps the pause, and an unused probe is due at once.
func TestOtherEndsOfAProbe(t *testing.T) {
	var p Pauses
	p.Report(start, -1, longest, middle)
	p.Unavailable(start, -1, longest, middle)
	p.Failed(start, middle)
	if p.Pause() != 2*time.Second || !p.Active() {
		t.Errorf("after another failure the pause is %v, active %v", p.Pause(), p.Active())
	}
	p.Returned(start.Add(time.Second))
	if p.Pause() != 2*time.Second || !p.Next().Equal(start.Add(time.Second)) || !p.Active() {
		t.Errorf("after an unused probe: %+v", p)
	}
	p.Unavailable(start.Add(time.Second), -1, longest, middle)
	if p.Pause() != 4*time.Second {
		t.Errorf("then the pause is %v", p.Pause())
	}
}

// A report soon after the end continues the outage; a later one begins another.
func TestReportsAfterAnOutage(t *testing.T) {
	for name, test := range map[string]struct {
		after     time.Duration
		continues bool
	}{
		"at once":                {0, true},
		"within twice a pause":   {8 * time.Second, true},
		"later than that":        {8*time.Second + 1, false},
		"much later":             {time.Hour, false},
		"the clock was set back": {-time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			var p Pauses
			p.Report(start, -1, longest, middle)
			p.Unavailable(start, -1, longest, middle)
			p.Unavailable(start, -1, longest, middle) // 4 s
			end := start.Add(time.Minute)
			p.Stop(end)
			if p.Active() || !p.Since().IsZero() {
				t.Fatal("the outage has not ended")
			}
			now := end.Add(test.after)
			began := p.Report(now, -1, longest, middle)
			since, pause := start, 4*time.Second
			if !test.continues {
				since, pause = now, time.Second
			}
			if began == test.continues || !p.Active() || !p.Since().Equal(since) || p.Pause() != pause || p.Next().Sub(now) != pause {
				t.Errorf("began %v: %+v", began, p)
			}
		})
	}
}

func TestStopWithoutAnOutage(t *testing.T) {
	var p Pauses
	p.Stop(start)
	if p != (Pauses{}) {
		t.Errorf("%+v", p)
	}
}
