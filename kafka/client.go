package kafka

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/config"
)

// probeHeadStart is how long a bootstrap broker is given before the next one is
// asked as well.
const probeHeadStart = time.Second

// GetOffsetFunc answers a client's question for an offset instead of the
// broker, see Client.HandleGetOffset. handled false: the broker is asked.
type GetOffsetFunc func(topic string, partition int32, time int64) (offset int64, handled bool, err error)

// Client is a sarama client with what sarama's lacks: the group coordinator has
// a connection of its own, start positions may differ per topic, and waiting
// can be ended. It belongs to one consumer group, one producer or one admin.
type Client struct {
	sarama.Client
	dialer *dialer

	mu        sync.Mutex
	groups    map[string]*coordinator // guarded by mu
	getOffset GetOffsetFunc           // guarded by mu
}

var _ sarama.Client = (*Client)(nil)

// NewClient connects: when it returns without error a broker has answered, has
// let us in and is new enough. It gives up when ctx ends; afterwards ctx means
// nothing to the client, which lives until Close. *UnreachableError: no broker
// answered. See Permanent for what else may come.
//
// conf comes from NewConfig, ConsumerConfig or ProducerConfig, is copied, and
// may be used for several clients.
func NewClient(ctx context.Context, c *config.Config, conf *sarama.Config) (*Client, error) {
	addrs := Brokers(c)
	if len(addrs) == 0 {
		return nil, &ConfigError{Key: "brokers", Problem: "no broker given: write host:port, several with commas between"}
	}
	if err := conf.Validate(); err != nil {
		return nil, err
	}
	if err := probe(ctx, addrs, conf); err != nil {
		return nil, err
	}
	own := *conf
	d := dialerOf(conf).bind(context.Background(), nil)
	own.Net.Proxy.Enable, own.Net.Proxy.Dialer = true, d
	inner, err := sarama.NewClient(addrs, &own) // connects to nobody, since Metadata.Full is false
	if err != nil {
		d.interrupt()
		return nil, err
	}
	return &Client{Client: inner, dialer: d, groups: make(map[string]*coordinator)}, nil
}

// HandleGetOffset lets f answer GetOffset, which sarama's consumer group calls
// with OffsetOldest and OffsetNewest when it starts a partition that has no
// committed offset. To be set before the group is made.
func (c *Client) HandleGetOffset(f GetOffsetFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.getOffset = f
}

// GetOffset implements sarama.Client.
func (c *Client) GetOffset(topic string, partition int32, time int64) (int64, error) {
	c.mu.Lock()
	f := c.getOffset
	c.mu.Unlock()
	if f != nil {
		if offset, handled, err := f(topic, partition, time); handled || err != nil {
			return offset, err
		}
	}
	return c.Client.GetOffset(topic, partition, time)
}

// Coordinator implements sarama.Client: it returns a connection used for
// nothing but this group's joins, heartbeats and the like. sarama would use the
// one it fetches on, where a heartbeat waits behind a fetch and, while a join
// waits for the other members, nothing is fetched at all.
func (c *Client) Coordinator(group string) (*sarama.Broker, error) {
	c.mu.Lock()
	k := c.groups[group]
	if k == nil {
		k = newCoordinator(c.Client, group)
		c.groups[group] = k
	}
	c.mu.Unlock()
	return k.broker()
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
	c.mu.Lock()
	for _, k := range c.groups {
		k.dialer.interrupt()
	}
	c.mu.Unlock()
	c.dialer.interrupt()
}

// Close closes all connections. The consumer group, producer or admin that uses
// the client is to be closed before.
func (c *Client) Close() error {
	c.mu.Lock()
	groups := c.groups
	c.groups = make(map[string]*coordinator)
	c.mu.Unlock()
	for _, k := range groups {
		k.close()
	}
	err := c.Client.Close()
	c.dialer.interrupt()
	return err
}

func dialerOf(conf *sarama.Config) *dialer {
	if d, ok := conf.Net.Proxy.Dialer.(*dialer); ok {
		return d
	}
	return newDialer(conf.Net.DialTimeout)
}

// probe asks the brokers one after the other, each with a head start, until one
// answers. The first that refuses us for good ends it as well: the others have
// the same users and certificates.
func probe(ctx context.Context, addrs []string, conf *sarama.Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cfg := *conf
	d := dialerOf(conf).bind(ctx, nil)
	defer d.interrupt()
	cfg.Net.Proxy.Enable, cfg.Net.Proxy.Dialer = true, d

	type answer struct {
		i   int
		err error
	}
	answers := make(chan answer, len(addrs)) // room for all: nobody waits when we leave early
	order := rand.Perm(len(addrs))
	errs := make([]error, len(addrs))
	headStart := time.NewTimer(0)
	defer headStart.Stop()
	asked, pending := 0, 0
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-headStart.C:
			if asked < len(order) {
				i := order[asked]
				asked++
				pending++
				go func() { answers <- answer{i, probeBroker(addrs[i], &cfg)} }()
				headStart.Reset(probeHeadStart)
			}
		case a := <-answers:
			pending--
			if a.err == nil {
				return nil
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if _, _, ok := Permanent(a.err); ok {
				return a.err
			}
			errs[a.i] = a.err
			if asked < len(order) {
				headStart.Reset(0)
			} else if pending == 0 {
				return &UnreachableError{Addrs: addrs, Errs: errs}
			}
		}
	}
}

// oldestLeaveGroup is the version of LeaveGroup that Kafka 2.4 brought
// (KIP-345); Kafka 2.4 is what we need.
const (
	leaveGroupKey    = 13
	oldestLeaveGroup = 3
)

// probeBroker connects to one broker, authenticates and looks at its version.
func probeBroker(addr string, conf *sarama.Config) error {
	b := sarama.NewBroker(addr)
	if err := b.Open(conf); err != nil {
		return err
	}
	defer b.Close() //nolint:errcheck // nothing was asked that could be lost
	if ok, err := b.Connected(); err != nil {
		return err
	} else if !ok {
		return errors.New("connection closed")
	}
	resp, err := b.ApiVersions(&sarama.ApiVersionsRequest{Version: 0})
	if err != nil {
		return err
	}
	for _, k := range resp.ApiKeys {
		if k.ApiKey == leaveGroupKey && k.MaxVersion >= oldestLeaveGroup {
			return nil
		}
	}
	return &TooOldError{Addr: addr}
}

// patientConn lets JoinGroup and SyncGroup wait for the other members of the
// group, which takes up to the rebalance timeout, while everything else on the
// same connection is answered within the usual time or given up: a heartbeat
// must not hang for minutes when the coordinator's machine is gone.
//
// sarama has one request at a time on such a connection, writes it in one call,
// and sets the read deadline when it begins to wait for the answer.
type patientConn struct {
	net.Conn
	usual   time.Duration
	mu      sync.Mutex
	joining bool // guarded by mu
}

const (
	joinGroupKey = 11
	syncGroupKey = 14
)

func (p *patientConn) Write(b []byte) (int, error) {
	if len(b) >= 6 { // 4 bytes of length, then the key of the request
		key := int(b[4])<<8 | int(b[5])
		p.mu.Lock()
		p.joining = key == joinGroupKey || key == syncGroupKey
		p.mu.Unlock()
	}
	return p.Conn.Write(b)
}

func (p *patientConn) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	joining := p.joining
	p.mu.Unlock()
	if usual := time.Now().Add(p.usual); !joining && t.After(usual) {
		t = usual
	}
	return p.Conn.SetReadDeadline(t)
}
