package launcher

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// buildCommand is `racecar build`.
type buildCommand struct {
	Output  string   `short:"o" required:"" placeholder:"FILE" help:"Where to write the program"`
	Require []string `short:"r" placeholder:"DIR" help:"Package with consumers, DIR/... with those below (default: consumers/...)"`
}

func (buildCommand) Help() string {
	return `The program is static, needs neither Go nor racecar where it runs, takes the same flags as racecar, and acts as racecarctl under that name. GOOS and GOARCH build for another system.

Example: GOOS=linux GOARCH=arm64 racecar build -o bin/racecar`
}

// Run builds.
func (c *buildCommand) Run() error {
	cwd, err := workingDir()
	if err != nil {
		return err
	}
	m, err := findModule(cwd)
	if err != nil {
		return err
	}
	all, err := requiredDirs(m, arguments{require: c.Require}, cwd)
	if err != nil {
		return err
	}
	output, err := filepath.Abs(c.Output)
	if err != nil {
		return err
	}
	if info, err := os.Stat(output); err == nil && info.IsDir() {
		return fmt.Errorf("-o %s: it is a directory; name the file to write", c.Output)
	}
	g, err := findGo(cwd)
	if err != nil {
		return err
	}
	g.env = append(os.Environ(), "CGO_ENABLED=0")
	work, err := os.MkdirTemp("", "racecar-build")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }() // it is in the system's temporary folder
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	done := showProgress(os.Stderr, "=> Building "+what(all))
	_, err = build{tool: g, module: m, required: all, from: ownSource(), work: work}.
		run(ctx, "-trimpath", "-ldflags=-s -w", "-o", output)
	done()
	if err := building(ctx, m, all, err); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "=> Built %s of module %s: %s\n", what(all), m.path, c.Output)
	return nil
}
