package version

import (
	"runtime/debug"
	"testing"
)

func TestOf(t *testing.T) {
	dep := func(d debug.Module) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Path: "example.com/app", Version: "v7.0.0"}, Deps: []*debug.Module{{Path: "example.com/other", Version: "v3.0.0"}, &d}}
	}
	for _, test := range []struct {
		name string
		info *debug.BuildInfo
		want string
	}{
		{"the command itself", &debug.BuildInfo{Main: debug.Module{Path: module, Version: "v1.2.0"}}, "v1.2.0"},
		{"without version control", &debug.BuildInfo{Main: debug.Module{Path: module}}, unknown},
		{"an application", dep(debug.Module{Path: module, Version: "v1.2.0"}), "v1.2.0"},
		{"an application with a fork", dep(debug.Module{Path: module, Version: "v1.2.0", Replace: &debug.Module{Path: "example.com/fork", Version: "v1.2.1"}}), "v1.2.1"},
		{"an application beside a checkout", dep(debug.Module{Path: module, Version: "v0.0.0", Replace: &debug.Module{Path: "../racecar"}}), unknown},
		{"not in it at all", &debug.BuildInfo{Main: debug.Module{Path: "example.com/app", Version: "v7.0.0"}}, unknown},
	} {
		if got := of(test.info); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}
