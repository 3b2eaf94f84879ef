package worker

import (
	"slices"

	"github.com/racecar-go/racecar/internal/middleware"
)

// wrap puts the middlewares, if there are any, around the instance's calls.
func (i *instance) wrap() (err error) {
	all := slices.Concat(i.w.opts.Middlewares, i.w.reg.Spec().Use)
	switch {
	case len(all) == 0:
	case i.single != nil:
		i.single, err = middleware.Processor(i.single, all)
	default:
		i.batch, err = middleware.BatchProcessor(i.batch, all)
	}
	return err
}
