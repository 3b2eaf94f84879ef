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

// standard is the default producer, opened by the first function that uses it.
var standard struct {
	sync.Mutex
	p *StandaloneProducer
}

// defaultProducer is the part of a producer that the package functions use.
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

// brokersAreConfigured reports whether any source sets the brokers.
func brokersAreConfigured() bool {
	loaded, err := config.Load(config.Options{Environ: os.Environ(), Configure: program.Configures()})
	return err != nil || loaded.Sources["brokers"] != config.SourceDefault // OpenProducer reports the error
}

// ProduceSync calls the default producer's ProduceSync. The first of ProduceSync,
// ProduceAsync and WaitForDelivery opens the default producer as OpenProducer does, and
// returns its error; Close closes it. A program that does not run by racecar's command line
// must call Close before it exits. In a test with package racecartest the message goes to the
// rest of the test's output if ctx is that of the call.
func ProduceSync(ctx context.Context, m ProducerMessage) error {
	p, err := standardProducer(ctx)
	if err != nil {
		return err
	}
	return p.ProduceSync(ctx, m)
}

// ProduceAsync calls the default producer's ProduceAsync; see ProduceSync for that producer.
func ProduceAsync(ctx context.Context, m ProducerMessage) error {
	p, err := standardProducer(ctx)
	if err != nil {
		return err
	}
	return p.ProduceAsync(ctx, m)
}

// WaitForDelivery calls the default producer's WaitForDelivery; see ProduceSync for that
// producer.
func WaitForDelivery(ctx context.Context, f func(ctx context.Context) error) error {
	p, err := standardProducer(ctx)
	if err != nil {
		return err
	}
	return p.WaitForDelivery(ctx, f)
}

// Close closes the default producer as StandaloneProducer.Close does; if none is open it
// returns nil. Producing afterwards opens another one.
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
