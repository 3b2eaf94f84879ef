package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/rs/zerolog/log"
)

// Toxics log through zerolog's global logger, each packet at trace level.
func init() { log.Logger = zerolog.Nop() }

// errNoProxy is returned by the faults of connections without Options.Proxy.
var errNoProxy = errors.New("no proxy before this broker: start the cluster with Options.Proxy")

// proxy stands between clients and one broker's client listener.
type proxy struct {
	mu   sync.Mutex
	p    *toxiproxy.Proxy
	open bool // guarded by mu: whether p listens
}

// newProxy starts a proxy from addr to upstream.
func newProxy(name, addr, upstream string) (*proxy, error) {
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	p := &proxy{p: toxiproxy.NewProxy(server, name, addr, upstream)}
	return p, p.listen()
}

// Addr is where the proxy listens, or will again after a Cut.
func (p *proxy) Addr() string { return p.p.Listen }

func (p *proxy) listen() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open {
		return nil
	}
	if err := p.p.Start(); err != nil {
		return fmt.Errorf("proxy on %s: %w", p.p.Listen, err)
	}
	p.open = true
	return nil
}

// Close ends the proxy and every connection through it.
func (p *proxy) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open {
		p.p.Stop()
		p.open = false
	}
}

// add lets both directions of every connection, open and to come, go through a
// toxic; attributes are its JSON. One of the same kind is replaced.
func (p *proxy) add(kind, attributes string) error {
	for _, stream := range []string{"upstream", "downstream"} {
		name := kind + "_" + stream
		if p.p.Toxics.GetToxic(name) != nil {
			if err := p.p.Toxics.RemoveToxic(context.Background(), name); err != nil {
				return fmt.Errorf("proxy on %s: remove %s: %w", p.p.Listen, name, err)
			}
		}
		toxic := fmt.Sprintf(`{"name":%q,"type":%q,"stream":%q,"attributes":%s}`, name, kind, stream, attributes)
		if _, err := p.p.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
			return fmt.Errorf("proxy on %s: add %s: %w", p.p.Listen, name, err)
		}
	}
	return nil
}

// Cut closes every connection to the broker and refuses new ones, until Restore.
func (b *Broker) Cut() error {
	if b.proxy == nil {
		return errNoProxy
	}
	b.proxy.Close()
	return nil
}

// Drop closes every connection to the broker once; clients may come back at once.
func (b *Broker) Drop() error {
	if b.proxy == nil {
		return errNoProxy
	}
	b.proxy.Close()
	return b.proxy.listen()
}

// Delay holds back everything to and from the broker by d each, until Restore:
// a round trip takes 2 d longer.
func (b *Broker) Delay(d time.Duration) error {
	if b.proxy == nil {
		return errNoProxy
	}
	return b.proxy.add("latency", fmt.Sprintf(`{"latency":%d}`, d.Milliseconds()))
}

// Bandwidth lets each connection carry so many KiB a second each way, until
// Restore.
func (b *Broker) Bandwidth(kib int) error {
	if b.proxy == nil {
		return errNoProxy
	}
	return b.proxy.add("bandwidth", fmt.Sprintf(`{"rate":%d}`, kib))
}

// BlackHole swallows everything to and from the broker, until Restore, which then
// closes these connections, as what they lost cannot be made up for.
func (b *Broker) BlackHole() error {
	if b.proxy == nil {
		return errNoProxy
	}
	return b.proxy.add("timeout", `{"timeout":0}`)
}

// Restore undoes Cut, Delay, Bandwidth and BlackHole.
func (b *Broker) Restore() error {
	if b.proxy == nil {
		return errNoProxy
	}
	b.proxy.p.Toxics.ResetToxics(context.Background())
	return b.proxy.listen()
}
