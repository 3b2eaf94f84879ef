package fleet

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/racecar-go/racecar/internal/scoreboard"
	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
)

func call(partition int32, first, last int64, alone bool) scoreboard.Call {
	return scoreboard.Call{Topic: "t", Partition: partition, FirstOffset: first, LastOffset: last, Alone: alone}
}

func suspect(partition int32, first, last int64, deaths int) wire.Suspect {
	return wire.Suspect{Topic: "t", Partition: partition, FirstOffset: first, LastOffset: last, Deaths: deaths, Reason: "x"}
}

func checkSuspects(t *testing.T, s *suspects, want ...wire.Suspect) {
	t.Helper()
	if d := cmp.Diff(want, s.list(), cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
}

func TestMessageAloneInHandIsCounted(t *testing.T) {
	var s suspects
	for n := range wire.PoisonedAfter {
		if !s.addDeath([]scoreboard.Call{call(0, 7, 7, true)}, "x") {
			t.Fatal("not proven")
		}
		checkSuspects(t, &s, suspect(0, 7, 7, n+1))
	}
}

func TestNeighboursAreClearedOnceOneIsProven(t *testing.T) {
	var s suspects
	if s.addDeath([]scoreboard.Call{call(0, 7, 7, false), call(1, 9, 9, false), call(2, 3, 3, false)}, "x") {
		t.Fatal("three in hand prove nothing")
	}
	checkSuspects(t, &s, suspect(0, 7, 7, 0), suspect(1, 9, 9, 0), suspect(2, 3, 3, 0))
	s.addDeath([]scoreboard.Call{call(5, 1, 1, false), call(6, 1, 1, false)}, "x") // another death
	s.addDeath([]scoreboard.Call{call(1, 9, 9, true)}, "x")
	checkSuspects(t, &s, suspect(1, 9, 9, 1), suspect(5, 1, 1, 0), suspect(6, 1, 1, 0))
}

func TestBatchIsSplit(t *testing.T) {
	var s suspects
	if s.addDeath([]scoreboard.Call{call(0, 10, 19, true)}, "x") {
		t.Fatal("a batch is not one message")
	}
	checkSuspects(t, &s, suspect(0, 10, 19, 0))
	s.addDeath([]scoreboard.Call{call(0, 14, 14, true)}, "x")
	checkSuspects(t, &s, suspect(0, 14, 14, 1))
	s.addDeath([]scoreboard.Call{call(0, 12, 30, true)}, "x") // a later batch around it
	checkSuspects(t, &s, suspect(0, 14, 14, 1), suspect(0, 12, 13, 0), suspect(0, 15, 30, 0))
}

func TestPassedSuspectsAreForgotten(t *testing.T) {
	var s suspects
	s.addDeath([]scoreboard.Call{call(0, 10, 19, true)}, "x")
	s.addDeath([]scoreboard.Call{call(1, 5, 5, true)}, "x")
	if s.forgetPassed([]status.Partition{{Topic: "t", Partition: 0, Position: 19}, {Topic: "t", Partition: 1, Position: 5}, {Topic: "u", Partition: 1, Position: 9}}) {
		t.Error("nothing was passed")
	}
	if !s.forgetPassed([]status.Partition{{Topic: "t", Partition: 0, Position: 20}}) {
		t.Error("the batch was passed")
	}
	checkSuspects(t, &s, suspect(1, 5, 5, 1))
	if !s.forgetResumed([]wire.Partition{{Topic: "t", Partition: -1}}) {
		t.Error("the topic was resumed")
	}
	checkSuspects(t, &s)
}

func TestSuspectsAreBounded(t *testing.T) {
	var s suspects
	for i := range int64(maxSuspects + 100) {
		s.addDeath([]scoreboard.Call{call(0, 2*i, 2*i, true)}, "x")
		s.addDeath([]scoreboard.Call{call(1, 2*i, 2*i, false), call(2, 2*i, 2*i, false)}, "x")
	}
	if n := len(s.proven) + len(s.ranges); n != 2*maxSuspects {
		t.Errorf("%d remembered", n)
	}
}
