package monitor

import (
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/DataDog/datadog-go/v5/statsd"
	"github.com/sirupsen/logrus"
)

const (
	// agentPatience is how long a start waits for the agent's address.
	agentPatience = time.Second
	// agentRetry is how often an agent is looked for that could not be found.
	agentRetry = 10 * time.Second
)

// agentClient is the client of Datadog's agent. A host name that does not resolve for now
// keeps no worker from its messages: the agent is looked for in the background, and
// there is no client until it was found.
type agentClient struct {
	client atomic.Pointer[statsd.Client] // nil: not found yet; statsd takes that for a client that is closed
	stop   chan struct{}
}

// findAgent looks for the agent with connect. Its error is what no time can cure.
func findAgent(connect func() (*statsd.Client, error), log logrus.FieldLogger) (*agentClient, error) {
	a := &agentClient{stop: make(chan struct{})}
	first := make(chan error, 1)
	go a.look(connect, first, log)
	select {
	case err := <-first:
		if err != nil && !mayBeFound(err) {
			return nil, err
		}
	case <-time.After(agentPatience):
	}
	return a, nil
}

// look looks for the agent until it is found, or until close.
func (a *agentClient) look(connect func() (*statsd.Client, error), first chan<- error, log logrus.FieldLogger) {
	for tries := 0; ; tries++ {
		client, err := connect()
		a.client.Store(client)
		if tries == 0 {
			first <- err
		}
		if err == nil && tries > 0 {
			log.Info("Datadog's agent is found: metrics are sent")
		}
		if err == nil || !mayBeFound(err) {
			break
		}
		if tries == 0 {
			log.WithError(err).Warn("Datadog's agent cannot be found: no metrics are sent until it is (datadog_host)")
		}
		select {
		case <-time.After(agentRetry):
		case <-a.stop:
			return
		}
	}
	select {
	case <-a.stop: // close came first
		_ = a.closeClient() // nothing was given to it
	default:
	}
}

// mayBeFound reports whether time can cure that the agent was not found.
func mayBeFound(err error) bool {
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return true
	}
	_, ok := errors.AsType[*net.OpError](err)
	return ok
}

// close sends what the client has. A look-up that takes long is left behind.
func (a *agentClient) close() error {
	close(a.stop)
	return a.closeClient()
}

func (a *agentClient) closeClient() error {
	if client := a.client.Swap(nil); client != nil {
		return client.Close()
	}
	return nil
}
