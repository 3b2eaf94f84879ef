// The journal application runs the consumers of test/consumers as any app
// binary does, for tests that need a program of its own.
package main

import (
	"github.com/racecar-go/racecar/cli"

	_ "github.com/racecar-go/racecar/test/consumers"
)

func main() { cli.Main() }
