package racecar

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/racecar-go/racecar/config"
)

// observed adds a subscriber for this test alone and returns a configuration with a running
// broker.
func observed(t *testing.T, f func(Event)) *Config {
	t.Helper()
	emptyRegistry(t)
	Observe(f)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "a", "b"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	c := config.Default()
	c.Brokers, c.Logger = cluster.ListenAddrs(), slog.New(slog.NewTextHandler(io.Discard, nil))
	return &c
}

func standalone(t *testing.T, c *Config) *StandaloneProducer {
	t.Helper()
	p, err := NewStandaloneProducer(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Subscribers need no lock: they are called with one event at a time, whoever produces.
func TestSubscribersAreCalledWithOneEventAtATime(t *testing.T) {
	const callers, each = 4, 200
	n := 0 // the race detector watches
	c := observed(t, func(Event) { n++ })
	ps := []*StandaloneProducer{standalone(t, c), standalone(t, c)}
	var wg sync.WaitGroup
	for _, p := range ps {
		for range callers {
			wg.Go(func() {
				for range each {
					if err := p.ProduceAsync(t.Context(), ProducerMessage{Topic: "a", Value: []byte("v")}); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	for _, p := range ps {
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if want := 2 * len(ps) * callers * each; n != want { // queued and acknowledged
		t.Errorf("%d events of %d", n, want)
	}
}

// A subscriber that blocks delays no message, and Close does not wait for it beyond its ctx.
func TestBlockedSubscriberDelaysNoMessage(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	p := standalone(t, observed(t, func(Event) { <-release }))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, topic := range []string{"a", "b", "a", "b"} {
		if err := p.ProduceSync(ctx, ProducerMessage{Topic: topic, Value: []byte("v")}); err != nil {
			t.Fatal(err)
		}
	}
	brief, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Close(brief); err != nil {
		t.Error(err)
	}
}
