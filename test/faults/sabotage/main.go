// Command sabotage breaks a promise at a time and sees whether anybody notices:
//
//	go run ./test/faults/sabotage            # what tests catch, some minutes
//	go run ./test/faults/sabotage --matrix   # what the fault matrix catches, too
//
// Each *.patch in this folder is a bug, of the kind that is easily made. It is
// compiled in by way of go's -overlay, so that the working tree stays as it is.
// The lines before the diff say what it breaks and which commands have to fail
// with it and pass without:
//
//	What it breaks, in a sentence.
//	Caught-by: go test -count 1 -run '^TestX$' ./worker
//	Matrix: --mode eager --seed 7
//
// A sabotage that goes unnoticed, a patch that does not apply any more and a
// command that fails without it are errors.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

type flags struct {
	Matrix bool     `help:"Run the schedules of the fault matrix as well (Java and Maven)."`
	Only   []string `help:"Parts of the names of patches; empty: all." placeholder:"NAME"`
}

func main() {
	var f flags
	kong.Parse(&f, kong.Description("Break promises and see whether the tests notice."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	unnoticed, err := run(ctx, f)
	if err != nil {
		fmt.Fprintf(os.Stderr, "sabotage: %v\n", err)
		os.Exit(2)
	}
	if unnoticed > 0 {
		fmt.Fprintf(os.Stderr, "sabotage: %d not noticed\n", unnoticed)
		os.Exit(1)
	}
}

// where the patches are, from the root of the module.
const where = "test/faults/sabotage"

func run(ctx context.Context, f flags) (unnoticed int, err error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return 0, fmt.Errorf("go list -m: %w", err)
	}
	bench := &bench{
		root: strings.TrimSpace(string(root)), sound: map[string]error{},
		builds: "go build ./worker ./supervisor ./kafka ./pidfile ./cli ./test/apps/journal",
	}
	if f.Matrix {
		dir, err := os.MkdirTemp("", "sabotage")
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		bench.faults = filepath.Join(dir, "faults")
		if err := bench.run(ctx, "go build -o "+bench.faults+" ./test/faults", ""); err != nil {
			return 0, err
		}
	}
	paths, err := filepath.Glob(filepath.Join(bench.root, where, "*.patch"))
	if err != nil {
		return 0, err
	}
	fmt.Println("| sabotage | what it breaks | noticed by | after |")
	fmt.Println("|---|---|---|---|")
	for _, path := range paths {
		if !chosen(filepath.Base(path), f.Only) {
			continue
		}
		p, err := read(path)
		if err != nil {
			return unnoticed, err
		}
		for _, command := range p.commands(f.Matrix) {
			began := time.Now()
			noticed, err := bench.notices(ctx, p, command)
			if err != nil {
				return unnoticed, fmt.Errorf("%s: %w", p.name, err)
			}
			verdict := fmt.Sprintf("%.0f s", time.Since(began).Seconds())
			if !noticed {
				unnoticed++
				verdict = "**not noticed**"
			}
			fmt.Printf("| %s | %s | `%s` | %s |\n", p.name, p.what, strings.ReplaceAll(command, "|", `\|`), verdict)
		}
	}
	return unnoticed, nil
}

func chosen(name string, only []string) bool {
	for _, part := range only {
		if strings.Contains(name, part) {
			return true
		}
	}
	return len(only) == 0
}

// matrix is what runs a schedule.
const matrix = "go run ./test/faults --minutes 0 "

// patch is one sabotage.
type patch struct {
	name, path, what string
	tests, matrix    []string
}

func read(path string) (patch, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return patch{}, err
	}
	p := patch{name: strings.TrimSuffix(filepath.Base(path), ".patch"), path: path}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "diff --git ") {
			break
		}
		switch command, isTest := strings.CutPrefix(line, "Caught-by: "); {
		case isTest:
			p.tests = append(p.tests, command)
		case strings.HasPrefix(line, "Matrix: "):
			p.matrix = append(p.matrix, matrix+strings.TrimPrefix(line, "Matrix: "))
		case p.what == "":
			p.what = line
		}
	}
	if p.what == "" || len(p.tests)+len(p.matrix) == 0 {
		return patch{}, fmt.Errorf("%s: says not what it breaks, or not what notices it", path)
	}
	return p, nil
}

func (p patch) commands(matrix bool) []string {
	if matrix {
		return append(append([]string(nil), p.tests...), p.matrix...)
	}
	return p.tests
}

// bench runs commands with and without a sabotage.
type bench struct {
	root   string
	builds string           // what has to compile with a sabotage
	faults string           // the program; go run would hide its exit code
	sound  map[string]error // what commands say without any
}

// notices reports whether command fails with p. It first checks that the command passes
// without p, and that the failure is not a compile error.
func (b *bench) notices(ctx context.Context, p patch, command string) (bool, error) {
	if _, known := b.sound[command]; !known {
		b.sound[command] = b.run(ctx, command, "")
	}
	if err := b.sound[command]; err != nil {
		return false, fmt.Errorf("%s fails without sabotage: %w", command, err)
	}
	overlay, remove, err := b.overlay(ctx, p)
	if err != nil {
		return false, err
	}
	defer remove()
	if err := b.run(ctx, b.builds, overlay); err != nil {
		return false, fmt.Errorf("does not compile any more: %w", err)
	}
	err = b.run(ctx, command, overlay)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 1 {
		return true, nil
	}
	return false, err
}

// run runs a command line. What it prints is in the error.
func (b *bench) run(ctx context.Context, command, overlay string) error {
	if schedule, ok := strings.CutPrefix(command, matrix); ok {
		command = b.faults + " --minutes 0 " + schedule
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Dir = b.root
	cmd.Env = os.Environ()
	if overlay != "" {
		cmd.Env = append(cmd.Env, "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -overlay="+overlay))
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out[max(0, len(out)-4000):])
	}
	return nil
}

// overlay applies the patch to a copy of the files it changes, and returns the
// file that go's -overlay takes.
func (b *bench) overlay(ctx context.Context, p patch) (file string, remove func(), err error) {
	dir, err := os.MkdirTemp("", "sabotage")
	if err != nil {
		return "", nil, err
	}
	clean := func() { _ = os.RemoveAll(dir) }
	defer func() {
		if err != nil {
			clean()
		}
	}()
	changed := exec.CommandContext(ctx, "git", "apply", "--numstat", p.path)
	changed.Dir = b.root
	stat, err := changed.Output()
	if err != nil {
		return "", nil, fmt.Errorf("git apply --numstat: %w", err)
	}
	replace := map[string]string{}
	for line := range strings.Lines(string(stat)) {
		fields := strings.Fields(line)
		name := fields[len(fields)-1]
		from, to := filepath.Join(b.root, name), filepath.Join(dir, name)
		content, err := os.ReadFile(from)
		if err != nil {
			return "", nil, err
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, content, 0o644)); err != nil {
			return "", nil, err
		}
		replace[from] = to
	}
	apply := exec.CommandContext(ctx, "git", "apply", "-C1", p.path)
	apply.Dir = dir
	apply.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
	if out, err := apply.CombinedOutput(); err != nil {
		return "", nil, fmt.Errorf("does not apply any more: %s", out)
	}
	file = filepath.Join(dir, "overlay.json")
	content, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", nil, err
	}
	return file, clean, os.WriteFile(file, content, 0o644)
}
