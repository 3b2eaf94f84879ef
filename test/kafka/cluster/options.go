package cluster

import (
	"errors"
	"fmt"
	"strings"
)

// Options describe a cluster. The zero value is one broker.
type Options struct {
	// Brokers is how many to start, each broker and controller in one. 0 is 1.
	Brokers int

	// Proxy puts a proxy in front of each broker's client listener, which then
	// advertises the proxy's address: see Broker.Cut, Drop, Delay, Bandwidth,
	// BlackHole and Restore. Traffic between brokers and the helpers of this
	// package use a listener of their own and are never cut.
	Proxy bool

	// MinInSync is min.insync.replicas. 0 is 2 with three brokers or more, else 1.
	MinInSync int

	// AutoCreateTopics lets clients create a topic by asking for it. Off by
	// default, unlike Kafka: a test that misspells a topic should fail.
	AutoCreateTopics bool

	// HeapMB bounds each broker's Java heap in MiB. 0 is 320.
	HeapMB int

	// Listeners are started besides the plaintext client listener, on every
	// broker, each on a free port: Cluster.ListenerAddrs gives the addresses.
	// This is the place for TLS and SASL.
	Listeners []Listener

	// Properties are server.properties lines for every broker. They win over
	// those this package sets.
	Properties map[string]string

	// JVMFlags come after this package's own, so they win too: for example
	// "-XX:TieredStopAtLevel=4" for benchmarks (the default compiles quickly
	// rather than well, since most brokers live for seconds), or
	// "-Djava.security.krb5.conf=…".
	JVMFlags []string

	// Dir is where data and logs go, kept at Close. Empty is a temporary
	// directory, removed at Close.
	Dir string
}

// Listener is one more door to each broker.
type Listener struct {
	// Name of the listener, upper case as Kafka wants it, not one of CLIENT,
	// INTERNAL and CONTROLLER.
	Name string
	// Protocol is Kafka's: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
	Protocol string
	// Host is advertised to clients, for certificates and Kerberos principals
	// that name one. Empty is 127.0.0.1; it must resolve to that address.
	Host string
	// Properties of this listener alone, such as "ssl.keystore.location" or
	// "plain.sasl.jaas.config"; the prefix listener.name.<name>. is added.
	Properties map[string]string
}

// withDefaults returns o with every zero value replaced by what it stands for.
func (o Options) withDefaults() (Options, error) {
	if o.Brokers == 0 {
		o.Brokers = 1
	}
	if o.MinInSync == 0 {
		o.MinInSync = min(2, o.replication())
	}
	if o.HeapMB == 0 {
		o.HeapMB = 320
	}
	var errs []error
	if o.Brokers < 1 || o.Brokers > 9 {
		errs = append(errs, fmt.Errorf("%d brokers: from 1 to 9 can be started", o.Brokers))
	}
	for _, l := range o.Listeners {
		switch {
		case l.Name == "" || l.Name != strings.ToUpper(l.Name):
			errs = append(errs, fmt.Errorf("listener %q: a name in upper case is needed", l.Name))
		case l.Name == clientListener || l.Name == internalListener || l.Name == controllerListener:
			errs = append(errs, fmt.Errorf("listener %q: the name is taken", l.Name))
		}
	}
	return o, errors.Join(errs...)
}

// replication is the replication factor of Kafka's own topics, and the default
// of those a test creates.
func (o Options) replication() int { return min(3, max(1, o.Brokers)) }
