// Package version tells which Racecar a binary contains.
package version

import "runtime/debug"

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
