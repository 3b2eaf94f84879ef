// Command racecarctl rules running Racecar consumers: status, stop, restart,
// scale and more; see `racecarctl --help`.
package main

import (
	"os"

	"github.com/racecar-go/racecar/ctl"
)

func main() {
	os.Exit(ctl.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
