// Command msk-iam runs a consumer on Amazon MSK that authenticates with IAM.
package main

import "github.com/racecar-go/racecar/cli"

func main() { cli.Main() }
