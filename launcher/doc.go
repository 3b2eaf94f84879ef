// Package launcher is the racecar command. It builds a program from the consumers in
// the current module and executes that program.
// It is not covered by the compatibility promise.
//
// Go cannot load code while it runs, so `racecar SomeConsumer` generates the
// three-line main that imports the packages of --require, lets the go command
// build it into a cache, and executes it with the same arguments. As long as no
// input of the build has changed, that costs a few hundred stat calls.
//
//	main.go     which command it is
//	args.go     the launcher's part of the command line
//	module.go   where the module is
//	program.go  the generated main
//	gotool.go   running the go command, and its errors
//	modfile.go  building where go.mod does not know racecar
//	cache.go    built programs, and when they are out of date
//	stamp.go    the inputs of a build and their state
//	run.go      from the arguments to exec
//	dev.go      --dev: the embedded broker beside the program
//
// and the commands that need no program: broker, build, demo, generate, install.
//
// The launcher forwards the supervisor's roles. When a supervisor looks for its program
// again (`racecarctl restart`) and starts the launcher, the launcher rebuilds what has
// changed and executes it with the same role, environment and descriptors.
package launcher
