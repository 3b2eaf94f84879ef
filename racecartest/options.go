package racecartest

import (
	"testing"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/registered"
	"github.com/racecar-go/racecar/racecar"
)

// Option is an option of Run and RunWorker.
type Option func(*options)

type options struct {
	spec    *racecar.Spec
	changes []func(*racecar.Config)
	// subscribers are those of racecar.Observe, except in tests of this package.
	subscribers []func(racecar.Event)
	// middlewares are those of racecar.Use, except in tests of this package.
	middlewares []func(racecar.Handler) racecar.Handler
	// setups are those of racecar.Setup, except in tests of this package.
	setups []registered.Setup
}

// WithSpec gives the consumer the Spec that it is registered with in production. Of
// several the last one counts. RunWorker needs it, since a worker subscribes to the
// topics of the Spec. Run goes by the rest: Name, GroupID, FetchMessages, DeadLetterTopic,
// MaxRetries, Transactional and Use; Subscriptions may be left out there.
func WithSpec(spec racecar.Spec) Option { return func(o *options) { o.spec = &spec } }

// WithConfig changes the configuration, after the Spec and what racecar.Configure sets.
// Several are called in order.
func WithConfig(change func(*racecar.Config)) Option {
	return func(o *options) { o.changes = append(o.changes, change) }
}

// WithoutSetup leaves out the functions given to racecar.Setup: the test provides what they
// would.
func WithoutSetup() Option { return func(o *options) { o.setups = nil } }

func collect(all []Option) options {
	o := options{subscribers: registered.Observers(), middlewares: registered.Middlewares(), setups: registered.Setups()}
	for _, option := range all {
		option(&o)
	}
	return o
}

// load is the configuration of a test, with defaults last: file and environment are not
// read. A mistake in it fails the test.
func (o options) load(t testing.TB, spec *config.SpecValues, defaults ...func(*config.Config) error) racecar.Config {
	t.Helper()
	loaded, err := config.Load(config.Options{NoFile: true, Spec: spec, Configure: append(registered.Configures(), defaults...)})
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range o.changes {
		change(&loaded.Config)
	}
	if err := loaded.Config.Validate(); err != nil {
		t.Fatal(err)
	}
	return loaded.Config
}
