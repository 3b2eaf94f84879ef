package launcher

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// goTool runs the go command.
type goTool struct {
	path string
	dir  string   // where it runs: its messages name files relative to it
	env  []string // nil: ours
	// modfile stands in for go.mod when not empty; the go command may then also
	// add to it what is missing.
	modfile string
}

// errNoGo says that consumers cannot be built here.
var errNoGo = errors.New("the go command is not found, and consumers are built with it: install Go (https://go.dev/dl), or run a program made with `racecar build`")

func findGo(dir string) (*goTool, error) {
	path, err := exec.LookPath("go")
	if err != nil {
		return nil, errNoGo
	}
	return &goTool{path: path, dir: dir}, nil
}

// run runs a go subcommand that loads packages and returns its output. When it
// fails the error is what it wrote to stderr.
func (g *goTool) run(ctx context.Context, subcommand string, args ...string) ([]byte, error) {
	if g.modfile != "" {
		args = append([]string{"-modfile=" + g.modfile, "-mod=mod"}, args...)
	}
	return g.plain(ctx, append([]string{subcommand}, args...)...)
}

// plain runs the go command with just these arguments.
func (g *goTool) plain(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, g.path, args...)
	cmd.Dir = g.dir
	cmd.Env = g.env
	// The interrupt of a terminal reaches the go command as well, and it cleans
	// up; when we are told in another way, so should it be.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if _, exited := errors.AsType[*exec.ExitError](err); exited {
		return nil, &goError{command: "go " + args[0], output: strings.TrimRight(stderr.String(), "\n")}
	}
	if err != nil {
		return nil, fmt.Errorf("go %s: %w", args[0], err)
	}
	return stdout.Bytes(), nil
}

// goError is a failure of the go command in its own words: compile errors, as a
// rule.
type goError struct {
	command string
	output  string // without the last newline
}

func (e *goError) Error() string {
	if e.output == "" {
		return e.command + " says nothing of why"
	}
	return e.output
}

// wantsModules reports whether the go command would have gone on if it might
// have added to go.mod or go.sum.
func (e *goError) wantsModules() bool {
	for _, s := range []string{
		"missing go.sum entry",
		"updates to go.mod needed",
		"no required module provides package " + racecarPath,
		"cannot find module providing package " + racecarPath,
	} {
		if strings.Contains(e.output, s) {
			return true
		}
	}
	return false
}

// goPackage is what `go list` says of a package.
type goPackage struct {
	ImportPath string
	Name       string
	Dir        string
	Standard   bool
	Module     *goModule
	Error      *struct{ Err string }

	GoFiles, CgoFiles, IgnoredGoFiles, IgnoredOtherFiles []string
	CFiles, CXXFiles, HFiles, SFiles, SysoFiles          []string
	EmbedFiles                                           []string
}

// reason is what the go command says of a package that it cannot load, in one line
// after a colon; empty when it says nothing.
func (p goPackage) reason() string {
	if p.Error == nil || strings.HasPrefix(p.Error.Err, "no Go files in ") { // which the caller says
		return ""
	}
	text := strings.Join(strings.Fields(strings.TrimPrefix(p.Error.Err, "pattern ")), " ")
	if strings.Contains(text, "listed in go.work") && !strings.Contains(text, "go work use") {
		text += ": add the module with `go work use .`"
	}
	return ": " + text
}

// isStandard reports whether the standard library has a package of that path, or
// packages below it: a module of that name would hide them or be hidden.
func (g *goTool) isStandard(ctx context.Context, path string) (bool, error) {
	root, err := g.plain(ctx, "env", "GOROOT")
	if err != nil {
		return false, err
	}
	first, _, _ := strings.Cut(path, "/")
	_, err = os.Stat(filepath.Join(strings.TrimSpace(string(root)), "src", first))
	return err == nil, nil
}

type goModule struct {
	Main    bool
	Dir     string
	GoMod   string
	Replace *struct{ Path, Version string }
}

// listFields are goPackage's.
const listFields = "-json=ImportPath,Name,Dir,Standard,Module,Error,GoFiles,CgoFiles,IgnoredGoFiles,IgnoredOtherFiles,CFiles,CXXFiles,HFiles,SFiles,SysoFiles,EmbedFiles"

// list lists packages; those with errors are among them.
func (g *goTool) list(ctx context.Context, args ...string) ([]goPackage, error) {
	out, err := g.run(ctx, "list", append([]string{"-e", listFields}, args...)...)
	if err != nil {
		return nil, err
	}
	var all []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("go list: %w", err)
		}
		all = append(all, p)
	}
}
