package judge

import (
	"fmt"
	"strings"
	"time"
)

// Leftovers is what a run left behind besides messages, and what of it is allowed.
type Leftovers struct {
	// Orphans are processes that outlived their supervisor for longer than promised.
	Orphans []string `json:"orphans,omitempty"`
	// Zombies are children that ended and were not waited for.
	Zombies []string `json:"zombies,omitempty"`
	// Files should have been removed: control sockets, pidfiles.
	Files []string `json:"files,omitempty"`
	// FDs are the supervisor's open descriptors, when all is quiet.
	FDs        int `json:"fds"`
	FDsAllowed int `json:"fds_allowed"`
	// Sockets is the largest number of connections that a worker holds.
	Sockets        int `json:"sockets"`
	SocketsAllowed int `json:"sockets_allowed"`
	// Rebalances are the group's generations between the first fault and the end;
	// allowed -1: any number.
	Rebalances        int `json:"rebalances"`
	RebalancesAllowed int `json:"rebalances_allowed"`
	// Recovery is the time from the end of the last fault until all was committed.
	Recovery        time.Duration `json:"recovery"`
	RecoveryAllowed time.Duration `json:"recovery_allowed"`
}

// Findings are the broken promises, each in words.
func (l Leftovers) Findings() []string {
	var found []string
	for _, kind := range []struct {
		what  string
		names []string
	}{{"orphans", l.Orphans}, {"zombies", l.Zombies}, {"files left behind", l.Files}} {
		if len(kind.names) > 0 {
			found = append(found, kind.what+": "+strings.Join(kind.names, " "))
		}
	}
	for _, count := range []struct {
		what         string
		got, allowed int
	}{
		{"descriptors of the supervisor", l.FDs, l.FDsAllowed},
		{"sockets of a worker", l.Sockets, l.SocketsAllowed},
		{"rebalances", l.Rebalances, l.RebalancesAllowed},
	} {
		if count.allowed >= 0 && count.got > count.allowed {
			found = append(found, fmt.Sprintf("%s: %d, allowed are %d", count.what, count.got, count.allowed))
		}
	}
	if l.Recovery > l.RecoveryAllowed {
		found = append(found, fmt.Sprintf("recovery took %v, allowed are %v", l.Recovery, l.RecoveryAllowed))
	}
	return found
}
