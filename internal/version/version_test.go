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

func TestFull(t *testing.T) {
	settings := []debug.BuildSetting{{Key: "vcs.revision", Value: "0b397bb8a1c2d3e4f5061728394a5b6c7d8e9f00"}, {Key: "vcs.time", Value: "2026-11-30T09:12:00Z"}, {Key: "vcs.modified", Value: "false"}}
	changed := append(settings[:2:2], debug.BuildSetting{Key: "vcs.modified", Value: "true"})
	for _, test := range []struct {
		name string
		info debug.BuildInfo
		want string
	}{
		{"a release", debug.BuildInfo{GoVersion: "go1.26.1", Main: debug.Module{Path: module, Version: "v1.2.0"}}, "v1.2.0 (go1.26.1)"},
		{"a checkout", debug.BuildInfo{GoVersion: "go1.26.1", Main: debug.Module{Path: module, Version: "(devel)"}, Settings: settings}, "(devel) (commit 0b397bb8a1c2, 2026-11-30, go1.26.1)"},
		{"a changed one", debug.BuildInfo{GoVersion: "go1.26.1", Main: debug.Module{Path: module}, Settings: changed}, "(devel) (commit 0b397bb8a1c2 with changes, 2026-11-30, go1.26.1)"},
		{
			"an application", debug.BuildInfo{
				GoVersion: "go1.26.1", Main: debug.Module{Path: "example.com/app"}, Settings: settings,
				Deps: []*debug.Module{{Path: module, Version: "v1.2.0"}},
			}, "v1.2.0 (go1.26.1)",
		},
	} {
		if got := full(&test.info); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}
