package worker

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
)

// An error that comes again and again is logged ten times as upstream does, then
// once a minute; that it is over is said as well, and the next one begins anew.
func TestTroubleIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, said := test.NewNullLogger()
		tr := trouble{log: logrus.NewEntry(log)}
		lines := func() (all []string) {
			for _, e := range said.AllEntries() {
				all = append(all, e.Level.String()+" "+e.Message)
			}
			said.Reset()
			return all
		}
		bad := errors.New("topic t: no leader")
		for range 10 {
			tr.say(bad, "consuming")
			time.Sleep(100 * time.Millisecond) //nolint:forbidigo // in invented time
		}
		all := lines()
		if len(all) != 10 || all[0] != "error (try 1/10): topic t: no leader" || all[9] != "error (try 10/10): topic t: no leader" {
			t.Errorf("ten tries: %q", all)
		}
		for range 310 { // five minutes, and some
			tr.say(bad, "consuming")
			time.Sleep(time.Second) //nolint:forbidigo // in invented time
		}
		if all := lines(); len(all) != 5 {
			t.Errorf("five minutes: %q", all)
		}
		tr.over()
		tr.over()
		tr.say(bad, "consuming")
		if diff := cmp.Diff([]string{"info works again", "error (try 1/10): topic t: no leader"}, lines()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestBackoffDoubles(t *testing.T) {
	var got []time.Duration
	for n := 1; n <= 9; n++ {
		got = append(got, backoff(n))
	}
	ms := time.Millisecond
	want := []time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 6400 * ms, 10_000 * ms, 10_000 * ms}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
