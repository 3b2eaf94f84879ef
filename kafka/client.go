package kafka

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/kafka/access"
)

// Client adds to a sarama client what it lacks: the group coordinator has a separate
// connection, and Abort ends waiting. It belongs to one consumer group, one
// producer or one admin.
type Client struct {
	sarama.Client
	conf   Config
	dialer *access.Dialer
	addrs  []string        // configured
	ctx    context.Context // ends by Abort or Close
	cancel context.CancelFunc

	mu     sync.Mutex
	groups map[string]*coordinatorClient // guarded by mu
	notify coordinatorHooks              // guarded by mu
}

var _ sarama.Client = (*Client)(nil)

// NewClient connects: when it returns without an error, a broker has answered, has accepted
// us and is new enough. ctx bounds only NewClient itself; the client lives until Close. The
// error is an *access.UnreachableError if no broker answered. access.Permanent distinguishes
// the others.
//
// conf is copied and may be used for several clients.
func NewClient(ctx context.Context, conf *Config) (*Client, error) {
	addrs, err := conf.Access.Addresses()
	if err != nil {
		return nil, err
	}
	if err := conf.Validate(); err != nil {
		return nil, err
	}
	if err := conf.Access.Connect(ctx); err != nil {
		return nil, err
	}
	client := &Client{conf: *conf, addrs: addrs, groups: make(map[string]*coordinatorClient)}
	client.ctx, client.cancel = context.WithCancel(context.Background())
	client.dialer = conf.Access.Dialer(context.Background(), nil)
	inner, err := sarama.NewClient(addrs, conf.SaramaConfig(client.dialer, 0)) // does not connect, since Metadata.Full is false
	if err != nil {
		client.cancel()
		client.dialer.Abort()
		return nil, err
	}
	client.Client = inner
	return client, nil
}

// HandleJoin makes the client report the member id of each join to f when it sends the
// join. sarama reports it only after the answer: a worker that exits before could not
// leave the group, and would stay in it until its session expires. f must neither block
// nor use the client. Call HandleJoin before the group is created.
func (c *Client) HandleJoin(f func(memberID string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notify.joins = f
}

// HandleInvalidMembers makes the client report to f each member of the group whose
// subscription it ignores in part or as a whole: because a topic name is invalid, or
// because the subscription cannot be decoded. It does so at each join that makes us the
// group's leader. f must neither block nor use the client. Call HandleInvalidMembers
// before the group is created.
func (c *Client) HandleInvalidMembers(f func(memberID, problem string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notify.invalid = f
}

// Coordinator implements sarama.Client: it returns a connection used for
// nothing but this group's joins, heartbeats and the like. sarama would share the
// connection with other requests, which would wait while a join waits for the other
// members.
func (c *Client) Coordinator(group string) (*sarama.Broker, error) {
	return c.coordinator(group).broker()
}

// RefreshCoordinator implements sarama.Client.
func (c *Client) RefreshCoordinator(group string) error {
	k := c.coordinator(group)
	k.forget()
	_, _, err := k.find()
	return err
}

func (c *Client) coordinator(group string) *coordinatorClient {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.groups[group]
	if k == nil {
		notify := c.notify
		notify.answersOffsetFetch = true
		k = newCoordinator(c, group, notify)
		c.groups[group] = k
	}
	return k
}

// addresses returns those of the configuration and of all brokers in the metadata.
func (c *Client) addresses() []string {
	addrs := slices.Clone(c.addrs)
	for _, b := range c.Brokers() {
		if !slices.Contains(addrs, b.Addr()) {
			addrs = append(addrs, b.Addr())
		}
	}
	return addrs
}

// Controller implements sarama.Client. A client that has not requested any topic yet does not
// know the controller, and sarama would request all topics to find it. A topic that every
// cluster has does as well.
func (c *Client) Controller() (*sarama.Broker, error) {
	b, err := c.Client.Controller()
	if !errors.Is(err, sarama.ErrNoTopicsToUpdateMetadata) {
		return b, err
	}
	if err := c.RefreshMetadata("__consumer_offsets"); err != nil && !isTopicError(err) {
		return nil, err
	}
	return c.Client.Controller()
}

// Metadata asks a broker that the client knows and, if it does not answer, the configured
// addresses, because all brokers may have moved. It does not change sarama's metadata: else a
// request for all topics would make sarama refresh all of them from then on.
func (c *Client) Metadata(ctx context.Context, req *sarama.MetadataRequest) (*sarama.MetadataResponse, error) {
	// Each attempt uses a copy of the request: sarama writes the version into it, and an
	// attempt without an answer may still be running.
	question := func() *sarama.MetadataRequest {
		own := *req
		return &own
	}
	known := c.LeastLoadedBroker()
	var lost error
	if known != nil {
		_ = known.Open(c.Config()) // mostly it is open already; using it shows whether it is
		limited, cancel := context.WithTimeout(ctx, access.FirstAnswer)
		resp, err := access.Await(limited, func() (*sarama.MetadataResponse, error) { return known.GetMetadata(question()) })
		cancel()
		if err == nil || ctx.Err() != nil {
			return resp, err
		}
		if lost = err; limited.Err() == nil {
			_ = known.Close() // not usable any more; the next use opens it again
		}
	}
	resp, err := access.AskInTurn(ctx, c.conf.Access, c.addrs, func(_ context.Context, d *access.Dialer, addr string) (*sarama.MetadataResponse, error) {
		b := sarama.NewBroker(addr)
		if err := b.Open(c.conf.SaramaConfig(d, 0)); err != nil {
			return nil, err
		}
		defer b.Close() //nolint:errcheck // it served for one question
		return b.GetMetadata(question())
	}, func(error) bool { return false })
	if unreachable, ok := errors.AsType[*access.UnreachableError](err); ok && lost != nil && !slices.Contains(c.addrs, known.Addr()) {
		unreachable.Advertised, unreachable.AdvertisedErr = known.Addr(), lost
	}
	return resp, err
}

// isTopicError reports whether the error is only about the topic: not authorized, or no such
// topic. The answer names the controller all the same.
func isTopicError(err error) bool {
	return errors.Is(err, sarama.ErrUnknownTopicOrPartition) || errors.Is(err, sarama.ErrTopicAuthorizationFailed) ||
		errors.Is(err, sarama.ErrLeaderNotAvailable)
}

// Abort fails all requests, running ones and later ones, and so ends a join that waits
// for the other members. It is for a shutdown that must not wait. Call Close afterwards.
func (c *Client) Abort() {
	c.cancel()
	c.mu.Lock()
	for _, k := range c.groups {
		k.dialer.Abort()
	}
	c.mu.Unlock()
	c.dialer.Abort()
}

// CloseConnections closes the connections except those to coordinators; the next use opens new ones.
func (c *Client) CloseConnections() { c.dialer.CloseConnections() }

// Close closes all connections. Close the consumer group, producer or admin that uses the
// client before.
func (c *Client) Close() error {
	c.cancel()
	c.mu.Lock()
	groups := c.groups
	c.groups = make(map[string]*coordinatorClient)
	c.mu.Unlock()
	for _, k := range groups {
		k.close()
	}
	err := c.Client.Close()
	c.dialer.Abort()
	return err
}
