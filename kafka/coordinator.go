package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/racecar-go/racecar/kafka/access"
)

// joinMargin is how much longer than the rebalance timeout we wait for the
// answer to a join: the coordinator answers when that timeout is over.
const joinMargin = 10 * time.Second

// coordinatorClient is a connection to the coordinator of one group, used for that group only. When
// the coordinator moves or the connection breaks, it connects again. It may be used
// concurrently.
type coordinatorClient struct {
	client *Client // to find the coordinator
	group  string
	conf   *sarama.Config
	dialer *access.Dialer
	ctx    context.Context // ends with close, and with the client
	cancel context.CancelFunc

	mu     sync.Mutex
	addr   string         // guarded by mu; where the coordinator is; empty: unknown
	conn   *sarama.Broker // guarded by mu; nil before the first use and after close
	closed bool           // guarded by mu
	old    sync.WaitGroup // connections being closed
}

// newCoordinator copies the client's configuration. It does not connect yet.
func newCoordinator(client *Client, group string, notify coordinatorHooks) *coordinatorClient {
	usual := client.conf.Net.ReadTimeout
	k := &coordinatorClient{client: client, group: group}
	k.ctx, k.cancel = context.WithCancel(client.ctx)
	k.dialer = client.conf.Access.Dialer(context.Background(), func(c net.Conn) net.Conn {
		return &coordinatorConn{Conn: c, usual: usual, hooks: notify, version: -1}
	})
	k.conf = client.conf.SaramaConfig(k.dialer, max(usual, client.conf.Consumer.Group.Rebalance.Timeout+joinMargin))
	return k
}

// broker returns the connection. It may still be connecting: then its first use waits.
func (k *coordinatorClient) broker() (*sarama.Broker, error) {
	b, again, err := k.open()
	if again { // it was closed or broke: the coordinator may be elsewhere by now
		k.forget()
		b, _, err = k.open()
	}
	return b, err
}

// open is broker without a new search; again: it had to connect again to the address that was
// found before.
func (k *coordinatorClient) open() (b *sarama.Broker, again bool, err error) {
	addr, known, err := k.find()
	if err != nil {
		return nil, false, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil, false, sarama.ErrClosedClient
	}
	if k.conn != nil && k.conn.Addr() != addr {
		k.retire(k.conn)
		k.conn = nil
	}
	again = k.conn != nil && known
	if k.conn == nil {
		k.conn = sarama.NewBroker(addr)
	}
	err = k.conn.Open(k.conf)
	if errors.Is(err, sarama.ErrAlreadyConnected) {
		return k.conn, false, nil
	}
	return k.conn, again && err == nil, err
}

// find returns the coordinator's address, and whether it was known already. It does not leave
// the search to sarama, which waits for one broker after the other.
func (k *coordinatorClient) find() (addr string, known bool, err error) {
	k.mu.Lock()
	addr = k.addr
	k.mu.Unlock()
	if addr != "" {
		return addr, true, nil
	}
	addr, err = FindCoordinator(k.ctx, &k.client.conf, k.client.addresses(), CoordinatorKey{Kind: sarama.CoordinatorGroup, Key: k.group})
	if err != nil {
		if k.ctx.Err() != nil {
			err = sarama.ErrClosedClient
		}
		return "", false, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.addr = addr
	return addr, false, nil
}

// forget makes the next use search for the coordinator.
func (k *coordinatorClient) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.addr = ""
}

// retire closes a connection without waiting for requests on it.
func (k *coordinatorClient) retire(conn *sarama.Broker) {
	k.dialer.CloseConnections() // the dialer has no other connection
	k.old.Go(func() { _ = conn.Close() })
}

// close fails pending requests and returns when the connection is closed.
func (k *coordinatorClient) close() {
	k.cancel()
	k.mu.Lock()
	k.closed = true
	conn := k.conn
	k.conn = nil
	k.mu.Unlock()
	k.dialer.Abort()
	if conn != nil {
		_ = conn.Close() // not connected, or cut off by Abort
	}
	k.old.Wait()
}

// How often do tries, and its first pause.
const (
	coordinatorAttempts = 6
	coordinatorBackoff  = 100 * time.Millisecond
)

// do calls f with the connection. It retries, after a pause, while the coordinator has moved,
// is loading or cannot be reached: at most coordinatorAttempts attempts, which take about 3 s.
// The end of ctx interrupts f.
func (k *coordinatorClient) do(ctx context.Context, f func(*sarama.Broker) error) error {
	stop := context.AfterFunc(ctx, k.dialer.CloseConnections)
	defer stop()
	pause := coordinatorBackoff
	for attempt := 1; ; attempt++ {
		err := k.attempt(ctx, f)
		if ctx.Err() != nil && err != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		if err == nil || attempt == coordinatorAttempts || !coordinatorMoved(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(pause):
		}
		pause *= 2
		k.forget()
	}
}

func (k *coordinatorClient) attempt(ctx context.Context, f func(*sarama.Broker) error) error {
	b, err := access.Await(ctx, k.broker)
	if err != nil {
		return err
	}
	err = f(b)
	var kerr sarama.KError
	if err != nil && !errors.As(err, &kerr) && !IsEncodingError(err) { // the connection is not usable any more
		_ = b.Close() // may be closed already
	}
	return err
}

// coordinatorMoved reports whether another search for the coordinator may help.
func coordinatorMoved(err error) bool {
	var kerr sarama.KError
	if errors.As(err, &kerr) {
		switch kerr {
		case sarama.ErrNotCoordinatorForConsumer, sarama.ErrConsumerCoordinatorNotAvailable, sarama.ErrOffsetsLoadInProgress:
			return true
		}
		return false
	}
	_, _, permanent := access.Permanent(err)
	return !permanent && !IsEncodingError(err)
}

// coordinatorConn lets JoinGroup and SyncGroup wait for the other members of the
// group, which takes up to the rebalance timeout, while everything else on the
// same connection is answered within the usual time or given up: a heartbeat
// must not hang for minutes when the coordinator's machine is gone.
//
// sarama has one request at a time on such a connection, writes it in one call,
// and sets the read deadline when it begins to wait for the answer.
type coordinatorConn struct {
	net.Conn
	usual time.Duration
	hooks coordinatorHooks

	mu      sync.Mutex
	joining bool  // guarded by mu
	version int16 // guarded by mu; of the join whose answer is awaited; -1: none is

	answer []byte // of ours, what sarama has not read of it yet
}

// coordinatorHooks get reports of joins; either may be nil.
type coordinatorHooks struct {
	joins   func(memberID string)          // called for each join that is sent
	invalid func(memberID, problem string) // called for each member with an invalid subscription

	answersOffsetFetch bool // answer OffsetFetch ourselves
}

const (
	joinGroupKey = 11
	syncGroupKey = 14
)

func (p *coordinatorConn) Write(b []byte) (int, error) {
	if len(b) >= 8 { // 4 bytes of length, then the key and the version of the request
		key := int(b[4])<<8 | int(b[5])
		if key == offsetFetchKey && p.hooks.answersOffsetFetch {
			answer, err := answerOffsetFetch(b)
			if err != nil {
				return 0, err
			}
			p.answer = answer
			return len(b), nil
		}
		p.mu.Lock()
		p.joining = key == joinGroupKey || key == syncGroupKey
		p.version = -1
		if key == joinGroupKey {
			p.version = int16(binary.BigEndian.Uint16(b[6:]))
		}
		p.mu.Unlock()
		if p.hooks.joins != nil && key == joinGroupKey {
			if id := joiningMember(b); id != "" {
				p.hooks.joins(id)
			}
		}
	}
	return p.Conn.Write(b)
}

// Read hands out answers to joins as joinFilter leaves them.
func (p *coordinatorConn) Read(b []byte) (int, error) {
	if len(p.answer) == 0 {
		p.mu.Lock()
		version := p.version
		p.version = -1
		p.mu.Unlock()
		if version < 0 {
			return p.Conn.Read(b)
		}
		var err error
		if p.answer, err = filterJoin(p.Conn, version, p.hooks.invalid); err != nil {
			return 0, err
		}
	}
	n := copy(b, p.answer)
	p.answer = p.answer[n:]
	return n, nil
}

func (p *coordinatorConn) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	joining := p.joining
	p.mu.Unlock()
	if usual := time.Now().Add(p.usual); !joining && t.After(usual) {
		t = usual
	}
	return p.Conn.SetReadDeadline(t)
}

// joiningMember returns the member id in a whole JoinGroup request of version 1 or
// later, empty when there is none (yet), or when we do not know the request:
//
//	size int32, key int16, version int16, correlation id int32, client id string
//	(int16 length, -1: null), from version 6 on tagged fields (a count),
//	group id string, session timeout int32, rebalance timeout int32, member id string
//
// From version 6 on the strings of the body have a length of one more, as a varint.
func joiningMember(b []byte) string {
	if len(b) < 14 || int(binary.BigEndian.Uint32(b)) != len(b)-4 {
		return ""
	}
	version := binary.BigEndian.Uint16(b[6:])
	client := max(0, int(int16(binary.BigEndian.Uint16(b[12:]))))
	if version < 1 || len(b) < 14+client {
		return ""
	}
	rest := b[14+client:]
	flexible := version >= joinFlexible
	if flexible {
		if len(rest) == 0 || rest[0] != 0 {
			return "" // sarama has no tagged fields
		}
		rest = rest[1:]
	}
	take := func() (string, bool) {
		n := 0
		if flexible {
			length, size := binary.Uvarint(rest)
			if size <= 0 || length == 0 || length > uint64(len(rest)) {
				return "", false
			}
			n, rest = int(length)-1, rest[size:]
		} else if len(rest) >= 2 {
			n, rest = int(int16(binary.BigEndian.Uint16(rest))), rest[2:]
		}
		if n < 0 || n > len(rest) {
			return "", false
		}
		s := string(rest[:n])
		rest = rest[n:]
		return s, true
	}
	if _, ok := take(); !ok || len(rest) < 8 {
		return ""
	}
	rest = rest[8:]
	id, _ := take()
	return id
}

// joinFlexible is the first version of JoinGroup with tagged fields.
const joinFlexible = 6

// CoordinatorKey names what has a coordinator: a group or a transactional id.
type CoordinatorKey struct {
	Kind sarama.CoordinatorType
	Key  string
}

// FindCoordinator asks the brokers in turn for the address of a coordinator.
func FindCoordinator(ctx context.Context, conf *Config, addrs []string, key CoordinatorKey) (addr string, err error) {
	return access.AskInTurn(ctx, conf.Access, addrs, func(_ context.Context, d *access.Dialer, addr string) (string, error) {
		b := sarama.NewBroker(addr)
		_ = b.Open(conf.SaramaConfig(d, 0))
		defer b.Close() //nolint:errcheck // it was only asked
		resp, err := b.FindCoordinator(&sarama.FindCoordinatorRequest{Version: 3, CoordinatorKey: key.Key, CoordinatorType: key.Kind})
		if err != nil {
			return "", conf.Access.NoteResult(addr, err)
		}
		if resp.Err != sarama.ErrNoError {
			return "", resp.Err
		}
		return resp.Coordinator.Addr(), nil
	}, answered)
}

// answered reports whether an error is the cluster's answer, and not a failure of one broker
// or of the connection to it.
func answered(err error) bool {
	_, ok := errors.AsType[sarama.KError](err)
	return ok
}

// IsEncodingError reports whether sarama could not encode a request: nothing was sent.
func IsEncodingError(err error) bool {
	_, ok := errors.AsType[sarama.PacketEncodingError](err)
	return ok
}
