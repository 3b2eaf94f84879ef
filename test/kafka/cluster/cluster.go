package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/racecar-go/racecar/test/internal/spawn"
)

// clusterID is any valid one: a random UUID in Kafka's base64.
const clusterID = "cmFjZWNhci10ZXN0LWJlZA"

// startTimeout bounds a start, and the start of one broker again. One broker
// takes two seconds on an idle machine; this is for the other kind.
const startTimeout = 2 * time.Minute

// Cluster is a running Kafka cluster. Its methods may be called at the same time.
type Cluster struct {
	opts    Options
	dist    *distribution
	dir     string
	ownsDir bool
	ports   ports
	spawner *spawn.Spawner
	brokers []*Broker
}

// New starts a cluster and returns it when every broker and group coordinator
// answers. The first call on a machine also fetches Kafka, which takes half a
// minute. ctx bounds the start alone; the caller must Close the cluster.
func New(ctx context.Context, opts Options) (*Cluster, error) {
	dist, err := fetch(ctx)
	if err != nil {
		return nil, err
	}
	return start(ctx, dist, opts)
}

// start is New for a Kafka that is there already.
func start(ctx context.Context, dist *distribution, opts Options) (_ *Cluster, err error) {
	opts, err = opts.withDefaults()
	if err != nil {
		return nil, err
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()

	c := &Cluster{opts: opts, dist: dist, dir: opts.Dir, spawner: spawn.New()}
	c.ports.dir = filepath.Join(cache, "ports")
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if c.dir == "" {
		if c.dir, err = os.MkdirTemp("", "racecar-kafka-"); err != nil {
			return nil, err
		}
		c.ownsDir = true
	}
	// Each broker's configuration names the ports of all, and the address of its
	// own proxy: so all of these first.
	for id := 1; id <= opts.Brokers; id++ {
		b, err := newBroker(c, id)
		if err != nil {
			return nil, err
		}
		c.brokers = append(c.brokers, b)
	}
	for _, b := range c.brokers {
		if err := b.configure(); err != nil {
			return nil, err
		}
		if err := b.start(); err != nil {
			return nil, err
		}
	}
	if err := c.awaitReady(ctx); err != nil {
		return nil, fmt.Errorf("start Apache Kafka %s: %w\n%s", Version(), err, c.Logs(40))
	}
	return c, nil
}

// Broker returns the broker with that node id: 1 is the first.
func (c *Cluster) Broker(id int) *Broker { return c.brokers[id-1] }

// Brokers returns all brokers, running or not.
func (c *Cluster) Brokers() []*Broker { return append([]*Broker(nil), c.brokers...) }

// Addrs returns where clients connect, one address a broker: that of its proxy
// where there is one.
func (c *Cluster) Addrs() []string {
	var addrs []string
	for _, b := range c.brokers {
		addrs = append(addrs, b.Addr())
	}
	return addrs
}

// ListenerAddrs returns the addresses of one of Options.Listeners, one a broker.
// It panics for a name that is not there.
func (c *Cluster) ListenerAddrs(name string) []string {
	for _, l := range c.opts.Listeners {
		if l.Name != name {
			continue
		}
		var addrs []string
		for _, b := range c.brokers {
			addrs = append(addrs, b.listenerAddr(l))
		}
		return addrs
	}
	panic(fmt.Sprintf("cluster: no listener %q among Options.Listeners", name))
}

// AdminAddrs returns the addresses of the listener that brokers use among
// themselves: plaintext, and never behind a proxy.
func (c *Cluster) AdminAddrs() []string {
	var addrs []string
	for _, b := range c.brokers {
		addrs = append(addrs, b.addr(internalListener))
	}
	return addrs
}

// Logs returns the last lines of each broker's log, with a heading each.
func (c *Cluster) Logs(lines int) string {
	var s strings.Builder
	for _, b := range c.brokers {
		fmt.Fprintf(&s, "=== broker %d (%s), end of its log\n%s\n", b.ID, b.State(), b.LogTail(lines))
	}
	return s.String()
}

// Close kills every broker, paused ones too, and removes their data. It returns
// an error for each that had died before of its own accord.
func (c *Cluster) Close() error {
	var closing sync.WaitGroup
	died := make([]error, len(c.brokers))
	for i, b := range c.brokers {
		closing.Go(func() { died[i] = b.close() })
	}
	closing.Wait()
	c.spawner.Close()
	c.ports.Release()
	err := errors.Join(died...)
	if c.ownsDir {
		err = errors.Join(err, os.RemoveAll(c.dir))
	}
	return err
}
