// Command msk-iam is a consumer on Amazon MSK that proves who it is by IAM.
package main

import "github.com/racecar-go/racecar/cli"

func main() { cli.Main() }
