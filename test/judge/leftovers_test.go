package judge

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// As with the verdicts about messages: an input for each finding.
func TestLeftovers(t *testing.T) {
	allowed := Leftovers{
		FDs: 20, FDsAllowed: 20, Sockets: 8, SocketsAllowed: 8, Rebalances: 1, RebalancesAllowed: 1,
		Recovery: time.Second, RecoveryAllowed: time.Second,
	}
	for name, test := range map[string]struct {
		change func(*Leftovers)
		want   []string
	}{
		"as promised":       {func(*Leftovers) {}, nil},
		"an orphan":         {func(l *Leftovers) { l.Orphans = []string{"7", "8"} }, []string{"orphans: 7 8"}},
		"a zombie":          {func(l *Leftovers) { l.Zombies = []string{"9"} }, []string{"zombies: 9"}},
		"a control socket":  {func(l *Leftovers) { l.Files = []string{"s1.sock"} }, []string{"files left behind: s1.sock"}},
		"leaked fds":        {func(l *Leftovers) { l.FDs++ }, []string{"descriptors of the supervisor: 21, allowed are 20"}},
		"leaked sockets":    {func(l *Leftovers) { l.Sockets++ }, []string{"sockets of a worker: 9, allowed are 8"}},
		"a rebalance":       {func(l *Leftovers) { l.Rebalances++ }, []string{"rebalances: 2, allowed are 1"}},
		"not the first one": {func(l *Leftovers) { l.RebalancesAllowed = 0 }, []string{"rebalances: 1, allowed are 0"}},
		"any number":        {func(l *Leftovers) { l.Rebalances, l.RebalancesAllowed = 99, -1 }, nil},
		"slow":              {func(l *Leftovers) { l.Recovery *= 2 }, []string{"recovery took 2s, allowed are 1s"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := allowed
			test.change(&l)
			if d := cmp.Diff(test.want, l.Findings()); d != "" {
				t.Error(d)
			}
		})
	}
}
