// Package config is the single source of truth about what can be configured:
// the keys of the original under their names, defaults and units, and ours.
// Flags, environment variables, the YAML file, `--help`, `racecar config` and
// docs/configuration.md all derive from the one struct in config.go.
//
// A Config is plain data but for the function-typed fields at its end. It is
// built by Load in the supervisor, travels to the workers through the
// handshake (functions do not travel: each worker runs the Configure functions
// itself, see ApplyFunctions), and is not changed afterwards. It is safe for
// concurrent reading.
//
// Load reads defaults, the file's common section, its section for the environment,
// Configure functions, the consumer's Spec, RACECAR_* variables and flags, each over
// the one before, and tells all problems at once.
package config

//go:generate go test . -run TestReference$ -update
