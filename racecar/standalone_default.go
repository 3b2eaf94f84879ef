package racecar

import (
	"context"
	"errors"
	"os"
	"sync"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/callctx"
	"github.com/racecar-go/racecar/internal/dispatch"
)

// standard is the producer of the package functions, opened at their first use.
var standard struct {
	sync.Mutex
	p *StandaloneProducer
}

// defaultProducer is what the package functions use.
type defaultProducer interface {
	ProduceSync(ctx context.Context, m ProducerMessage) error
	ProduceAsync(ctx context.Context, m ProducerMessage) error
	WaitForDelivery(ctx context.Context, f func(ctx context.Context) error) error
}

func standardProducer(ctx context.Context) (defaultProducer, error) {
	if p, ok := callctx.Producer(ctx).(defaultProducer); ok {
		return p, nil
	}
	standard.Lock()
	defer standard.Unlock()
	if standard.p == nil {
		if callctx.InTests.Load() && !brokersAreConfigured() {
			return nil, errors.New("the default producer in a test: give it the ctx of the call, so that racecartest gets the message, or configure brokers")
		}
		p, err := OpenProducer(ctx)
		if err != nil {
			return nil, err
		}
		standard.p = p
	}
	return standard.p, nil
}

// brokersAreConfigured reports whether anything says where the brokers are.
func brokersAreConfigured() bool {
	loaded, err := config.Load(config.Options{Environ: os.Environ(), Configure: program.Configures()})
	return err != nil || loaded.Sources["brokers"] != config.SourceDefault // OpenProducer reports the error
}

// ProduceSync calls the default producer's ProduceSync. The default producer is
// opened at the first use of one of these functions and ended by Close; a
// program without racecar's command line has to call that before it exits. In a test
// with package racecartest the message goes where the test's other output goes, if ctx
// is that of the call.
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
