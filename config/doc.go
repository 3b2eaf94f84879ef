// Package config defines the configuration: the original's keys with their names,
// defaults and units, and ours.
// Flags, environment variables, the YAML file, `--help`, `racecar config` and
// docs/configuration.md all derive from the one struct in config.go.
//
// A Config is plain data except for the function-typed fields at its end. Load builds it
// in the supervisor, and the handshake brings it to the workers. Functions cannot be sent:
// each worker runs the Configure functions itself (see ApplyFunctions). Nothing changes a
// Config afterwards, so concurrent reading is safe.
//
// Load reads defaults, the file's common section, its section for the environment,
// Configure functions, the consumer's Spec, RACECAR_* variables and flags, in this order:
// later ones override earlier ones. It reports all problems at once.
package config

//go:generate go test . -run TestReference$ -update
