// Racecar runs Kafka consumers: see README.md, or `racecar --help`.
package main

import (
	"os"

	"github.com/racecar-go/racecar/launcher"
)

func main() { os.Exit(launcher.Main()) }
