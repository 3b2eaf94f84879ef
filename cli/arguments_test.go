package cli

import (
	"strings"
	"testing"
)

func TestConsumersMayStandAnywhere(t *testing.T) {
	for _, tt := range []struct {
		line, names string
		clientID    string
	}{
		{"A B", "A B", ""},
		{"A --inline B", "A B", ""},
		{"A --client-id x B", "A B", "x"},
		{"A --client-id=x B --inline C", "A B C", "x"},
		{"--no-daemonize A -l x.log B", "A B", ""},
		{"-lx.log A --pause-timeout -1 B", "A B", ""},
		{"A --inline -- B --client-id", "A B --client-id", ""},
		{"config --client-id x", "", "x"},
		{"--client-id x list", "", "x"},
	} {
		p, err := parseArgs(append([]string{"racecar"}, strings.Fields(tt.line)...))
		if err != nil {
			t.Errorf("%s: %v", tt.line, err)
			continue
		}
		if strings.Join(p.names, " ") != tt.names || p.flags["client_id"].Text != tt.clientID {
			t.Errorf("%s: consumers %v, flags %v", tt.line, p.names, p.flags)
		}
	}
}
