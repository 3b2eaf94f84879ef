package launcher

import (
	"context"
	"errors"
)

// build makes a program of packages of a module.
type build struct {
	tool     *goTool
	module   *module
	required []required
	from     source // of racecar, for a module that does not know it
	work     string // a folder for generated files
}

// run runs `go build` with the given flags and lists what went into the program.
//
// It builds with the module's own go.mod first. Where that is incomplete, a copy
// is used that the go command may complete: the module's files are never
// changed.
func (b build) run(ctx context.Context, flags ...string) ([]goPackage, error) {
	packages, err := resolve(ctx, b.tool, b.module, b.required)
	if err != nil {
		return nil, err
	}
	p := newProgram(b.module, packages)
	overlay, err := p.writeOverlay(b.work)
	if err != nil {
		return nil, err
	}
	args := append([]string{"-overlay=" + overlay}, flags...)
	args = append(args, p.path)
	tool := *b.tool
	_, err = tool.run(ctx, "build", args...)
	if incomplete, ok := errors.AsType[*goError](err); ok && incomplete.wantsModules() {
		if tool.modfile, err = writeModfile(b.module, b.from, b.work); err != nil {
			return nil, err
		}
		_, err = tool.run(ctx, "build", args...)
	}
	if err != nil {
		return nil, err
	}
	return tool.list(ctx, "-deps", "-overlay="+overlay, p.path)
}
