package worker

import (
	"errors"
	"slices"

	"github.com/racecar-go/racecar/internal/middleware"
	"github.com/racecar-go/racecar/internal/verdict"
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

// mistakes returns what was registered wrongly since the start, which ends the worker
// permanently: a new process would do the same.
func (w *worker) mistakes() error {
	if w.opts.Mistakes == nil {
		return nil
	}
	all := w.opts.Mistakes()
	if len(all) <= w.mistakesAtStart {
		return nil
	}
	return &verdict.Error{Kind: verdict.Fatal, After: -1, Err: errors.Join(all[w.mistakesAtStart:]...)}
}
