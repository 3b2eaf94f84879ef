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
	// agentTimeout is how long a start waits for the agent's address.
	agentTimeout = time.Second
	// agentRetry is the time between two attempts to find the agent.
	agentRetry = 10 * time.Second
)

// agentClient is the client of Datadog's agent. A host name that does not resolve yet keeps
// no worker from its messages: the agent is looked up in the background, and there is no
// client until it is found.
type agentClient struct {
	client atomic.Pointer[statsd.Client] // nil: not found yet; statsd treats nil as a closed client
	stop   chan struct{}
}

// findAgent looks for the agent with connect. It returns an error that a later attempt would
// meet again.
func findAgent(connect func() (*statsd.Client, error), log logrus.FieldLogger) (*agentClient, error) {
	a := &agentClient{stop: make(chan struct{})}
	first := make(chan error, 1)
	go a.find(connect, first, log)
	select {
	case err := <-first:
		if err != nil && !mayBeFound(err) {
			return nil, err
		}
	case <-time.After(agentTimeout):
	}
	return a, nil
}

// find looks for the agent until it is found, or until close.
func (a *agentClient) find(connect func() (*statsd.Client, error), first chan<- error, log logrus.FieldLogger) {
	for tries := 0; ; tries++ {
		client, err := connect()
		a.client.Store(client)
		if tries == 0 {
			first <- err
		}
		if err == nil && tries > 0 {
			log.Info("Datadog's agent was found: metrics are sent")
		}
		if err == nil || !mayBeFound(err) {
			break
		}
		if tries == 0 {
			log.WithError(err).Warn("Datadog's agent cannot be found (datadog_host): no metrics are sent until it is")
		}
		select {
		case <-time.After(agentRetry):
		case <-a.stop:
			return
		}
	}
	select {
	case <-a.stop: // close came first
		_ = a.closeClient() // it has no metrics yet
	default:
	}
}

// mayBeFound reports whether a later attempt may find the agent.
func mayBeFound(err error) bool {
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return true
	}
	_, ok := errors.AsType[*net.OpError](err)
	return ok
}

// close sends what the client has. It does not wait for a lookup.
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
