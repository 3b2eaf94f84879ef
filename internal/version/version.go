// Package version tells which Racecar a binary contains.
package version

import (
	"runtime/debug"
	"strings"
)

const module = "github.com/racecar-go/racecar"

// Of is "Racecar " and the version of the module, as Go's build has it: "Racecar
// v1.2.0", or "Racecar (devel)" when it is not known. In an application's binary it
// is the version of the library, not of the application.
func Of() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return "Racecar " + of(info)
	}
	return "Racecar " + unknown
}

// Full is Of, with what else the build noted, in parentheses: the commit and its
// date, when Racecar was built from a checkout, and the version of Go.
func Full() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return "Racecar " + full(info)
	}
	return "Racecar " + unknown
}

func full(info *debug.BuildInfo) string {
	var details []string
	if info.Main.Path == module { // else the commit is the application's
		s := map[string]string{}
		for _, setting := range info.Settings {
			s[setting.Key] = setting.Value
		}
		if revision := s["vcs.revision"]; revision != "" {
			details = append(details, "commit "+revision[:min(12, len(revision))])
			if s["vcs.modified"] == "true" {
				details[0] += " with changes"
			}
		}
		if date, _, ok := strings.Cut(s["vcs.time"], "T"); ok {
			details = append(details, date)
		}
	}
	return of(info) + " (" + strings.Join(append(details, info.GoVersion), ", ") + ")"
}

const unknown = "(devel)"

func of(info *debug.BuildInfo) string {
	if info.Main.Path == module && info.Main.Version != "" {
		return info.Main.Version
	}
	for _, dep := range info.Deps {
		if dep.Path != module {
			continue
		}
		if dep.Replace != nil && dep.Replace.Version == "" { // a directory
			return unknown
		}
		if dep.Replace != nil {
			return dep.Replace.Version
		}
		return dep.Version
	}
	return unknown
}
