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
	listed, err := b.with(ctx, b.tool, flags)
	if incomplete, ok := errors.AsType[*goError](err); !ok || !incomplete.wantsModules() {
		return listed, err
	}
	completing := *b.tool
	if completing.modfile, err = writeModfile(b.module, b.from, b.work); err != nil {
		return nil, err
	}
	return b.with(ctx, &completing, flags)
}

func (b build) with(ctx context.Context, g *goTool, flags []string) ([]goPackage, error) {
	packages, err := resolve(ctx, g, b.module, b.required)
	if err != nil {
		return nil, err
	}
	p := newProgram(b.module, packages)
	overlay, err := p.writeOverlay(b.work)
	if err != nil {
		return nil, err
	}
	args := append([]string{"-overlay=" + overlay}, flags...)
	if _, err := g.run(ctx, "build", append(args, p.path)...); err != nil {
		return nil, err
	}
	listed, err := g.list(ctx, "-deps", "-overlay="+overlay, p.path)
	if err != nil {
		return nil, err
	}
	files, dirs := inputs(g, b.module, b.required, listed)
	return listed, planted(b.module.root, append(files, dirs...))
}
