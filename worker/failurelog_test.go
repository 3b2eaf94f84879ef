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

// An error that repeats is logged ten times as upstream does, then once a minute. Its end is
// logged as well, and the next error is logged ten times again.
func TestRepeatedFailuresAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, logged := test.NewNullLogger()
		tr := failureLog{entry: logrus.NewEntry(log)}
		lines := func() (all []string) {
			for _, e := range logged.AllEntries() {
				all = append(all, e.Level.String()+" "+e.Message)
			}
			logged.Reset()
			return all
		}
		bad := errors.New("topic t: no leader")
		for range 10 {
			tr.log(bad, "consuming")
			time.Sleep(100 * time.Millisecond) //nolint:forbidigo // in invented time
		}
		all := lines()
		if len(all) != 10 || all[0] != "error (try 1/10): topic t: no leader" || all[9] != "error (try 10/10): topic t: no leader" {
			t.Errorf("ten tries: %q", all)
		}
		for range 310 { // five minutes, and some
			tr.log(bad, "consuming")
			time.Sleep(time.Second) //nolint:forbidigo // in invented time
		}
		if all := lines(); len(all) != 5 {
			t.Errorf("five minutes: %q", all)
		}
		tr.clear()
		tr.clear()
		if after, ok := logged.LastEntry().Data["after"].(string); !ok || after != "5m11s" {
			t.Errorf("it works again after %v", logged.LastEntry().Data["after"]) // JSON has durations in nanoseconds
		}
		tr.log(bad, "consuming")
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
