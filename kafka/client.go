package kafka

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/kafka/access"
)

// Client is a sarama client with what sarama's lacks: the group coordinator has
// a connection of its own, and waiting can be ended. It belongs to one consumer group, one
// producer or one admin.
type Client struct {
	sarama.Client
	conf   Config
	dialer *access.Dialer
	addrs  []string        // configured
	ctx    context.Context // ends by Interrupt or Close
	cancel context.CancelFunc

	mu     sync.Mutex
	groups map[string]*coordinator // guarded by mu
	notify joinHandlers            // guarded by mu
}

var _ sarama.Client = (*Client)(nil)

// NewClient connects: when it returns without error a broker has answered, has
// let us in and is new enough. It gives up when ctx ends; afterwards ctx means
// nothing to the client, which lives until Close. *access.UnreachableError: no broker
// answered. See access.Permanent for what else may come.
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
	client := &Client{conf: *conf, addrs: addrs, groups: make(map[string]*coordinator)}
	client.ctx, client.cancel = context.WithCancel(context.Background())
	client.dialer = conf.Access.Dialer(context.Background(), nil)
	inner, err := sarama.NewClient(addrs, conf.Through(client.dialer, 0)) // connects to nobody, since Metadata.Full is false
	if err != nil {
		client.cancel()
		client.dialer.Interrupt()
		return nil, err
	}
	client.Client = inner
	return client, nil
}

// HandleJoin has f told the member id of each join that is sent, which sarama tells
// only once it is answered: whoever ends before that would stay in the group until
// its session is over. f must neither block nor use the client. To be set before the
// group is made.
func (c *Client) HandleJoin(f func(memberID string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notify.joins = f
}

// HandleStrangeMembers has f told of a member of the group whose subscription is not
// taken as it is: a name in it cannot be a topic's, or it cannot be decoded. It is
// told at each join of which we are the leader. f must neither block nor use the
// client. To be set before the group is made.
func (c *Client) HandleStrangeMembers(f func(memberID, problem string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notify.strange = f
}

// Coordinator implements sarama.Client: it returns a connection used for
// nothing but this group's joins, heartbeats and the like. sarama would use the
// one it fetches on, where a heartbeat waits behind a fetch and, while a join
// waits for the other members, nothing is fetched at all.
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

func (c *Client) coordinator(group string) *coordinator {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.groups[group]
	if k == nil {
		notify := c.notify
		notify.noOffsets = true
		k = newCoordinator(c, group, notify)
		c.groups[group] = k
	}
	return k
}

// addresses are those of the configuration and of all brokers heard of.
func (c *Client) addresses() []string {
	addrs := slices.Clone(c.addrs)
	for _, b := range c.Brokers() {
		if !slices.Contains(addrs, b.Addr()) {
			addrs = append(addrs, b.Addr())
		}
	}
	return addrs
}

// Controller implements sarama.Client. A client that has not asked for any topic
// yet knows no controller, and sarama does not find one without asking for all
// topics; a topic that every cluster has serves as well.
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

// Metadata asks a broker that the client knows, and when that one does not answer the
// configured addresses: all brokers may have moved. What sarama keeps is not touched,
// so that a question about all topics does not make it follow them.
func (c *Client) Metadata(ctx context.Context, req *sarama.MetadataRequest) (*sarama.MetadataResponse, error) {
	// Each asks with a request of its own: sarama writes the version into it, and one
	// that gets no answer is left alone.
	question := func() *sarama.MetadataRequest {
		own := *req
		return &own
	}
	known := c.LeastLoadedBroker()
	var lost error
	if known != nil {
		_ = known.Open(c.Config()) // already open, most of the time; its use tells
		limited, cancel := context.WithTimeout(ctx, access.FirstAnswer)
		resp, err := access.Await(limited, func() (*sarama.MetadataResponse, error) { return known.GetMetadata(question()) })
		cancel()
		if err == nil || ctx.Err() != nil {
			return resp, err
		}
		if lost = err; limited.Err() == nil {
			_ = known.Close() // not usable any more; opened again by whoever needs it
		}
	}
	resp, err := access.AskInTurn(ctx, c.conf.Access, c.addrs, func(_ context.Context, d *access.Dialer, addr string) (*sarama.MetadataResponse, error) {
		b := sarama.NewBroker(addr)
		if err := b.Open(c.conf.Through(d, 0)); err != nil {
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

// isTopicError reports whether a broker answered, if only that one may not see a
// topic or that there is none: the answer names the controller all the same.
func isTopicError(err error) bool {
	return errors.Is(err, sarama.ErrUnknownTopicOrPartition) || errors.Is(err, sarama.ErrTopicAuthorizationFailed) ||
		errors.Is(err, sarama.ErrLeaderNotAvailable)
}

// Interrupt ends whatever waits for a broker, a join that waits for the other
// members included, and fails all that is tried afterwards. It is for a stop
// that must not wait; Close is still to be called.
func (c *Client) Interrupt() {
	c.cancel()
	c.mu.Lock()
	for _, k := range c.groups {
		k.dialer.Interrupt()
	}
	c.mu.Unlock()
	c.dialer.Interrupt()
}

// Drop closes the connections but for those to coordinators; the next use opens
// new ones. It ends fetches that a broker holds for up to max_wait_time, which
// sarama would wait for before it lets a partition go.
func (c *Client) Drop() { c.dialer.Drop() }

// Close closes all connections. The consumer group, producer or admin that uses
// the client is to be closed before.
func (c *Client) Close() error {
	c.cancel()
	c.mu.Lock()
	groups := c.groups
	c.groups = make(map[string]*coordinator)
	c.mu.Unlock()
	for _, k := range groups {
		k.close()
	}
	err := c.Client.Close()
	c.dialer.Interrupt()
	return err
}
