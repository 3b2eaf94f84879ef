package racecar

import (
	"context"
	"sync"

	"github.com/racecar-go/racecar/internal/dispatch"
)

// standard is the producer of the package functions, opened at their first use.
var standard struct {
	sync.Mutex
	p *StandaloneProducer
}

func standardProducer(ctx context.Context) (*StandaloneProducer, error) {
	standard.Lock()
	defer standard.Unlock()
	if standard.p == nil {
		p, err := OpenProducer(ctx)
		if err != nil {
			return nil, err
		}
		standard.p = p
	}
	return standard.p, nil
}

// ProduceSync calls the default producer's ProduceSync. The default producer is
// opened at the first use of one of these functions and ended by Close; a
// program without racecar's command line has to call that before it exits.
func ProduceSync(ctx context.Context, m ProducerMessage) error {
	p, err := standardProducer(ctx)
	if err != nil {
		return err
	}
	return p.ProduceSync(ctx, m)
}

// ProduceAsync calls the default producer's ProduceAsync.
func ProduceAsync(ctx context.Context, m ProducerMessage) error {
	p, err := standardProducer(ctx)
	if err != nil {
		return err
	}
	return p.ProduceAsync(ctx, m)
}

// WaitForDelivery calls the default producer's WaitForDelivery.
func WaitForDelivery(ctx context.Context, f func(ctx context.Context) error) error {
	p, err := standardProducer(ctx)
	if err != nil {
		return err
	}
	return p.WaitForDelivery(ctx, f)
}

// Close closes the default producer; without one it does nothing. Producing
// afterwards opens another one.
func Close(ctx context.Context) error {
	if dispatch.InCall() {
		return errCloseInCall
	}
	standard.Lock()
	p := standard.p
	standard.p = nil
	standard.Unlock()
	if p == nil {
		return nil
	}
	return p.Close(ctx)
}
