package kafka

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/IBM/sarama"
)

// headStart is how long a broker is given before the next one is asked as well.
const headStart = time.Second

// probe asks the brokers until one answers. Only when all of them refuse us for good is
// that final: one broker may have a certificate that has expired.
func probe(ctx context.Context, addrs []string, conf *sarama.Config) error {
	a := dialerOf(conf).access
	_, err := askInTurn(ctx, conf, addrs, func(ctx context.Context, conf *sarama.Config, addr string) (struct{}, error) {
		return struct{}{}, a.judge(addr, probeBroker(ctx, addr, conf, a))
	}, func(error) bool { return false })
	return err
}

// askInTurn asks brokers in a random order, each with a head start on the next, until
// one answers, an error is final, or all have failed (*UnreachableError). The
// connections of conf, which ask gets, end with it.
func askInTurn[T any](ctx context.Context, conf *sarama.Config, addrs []string,
	ask func(ctx context.Context, conf *sarama.Config, addr string) (T, error), final func(error) bool,
) (T, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cfg := *conf
	d := dialerOf(conf).bind(ctx, nil)
	defer d.interrupt()
	cfg.Net.Proxy.Enable, cfg.Net.Proxy.Dialer = true, d

	type answer struct {
		i   int
		v   T
		err error
	}
	var none T
	answers := make(chan answer, len(addrs)) // room for all: nobody waits when we leave early
	order := rand.Perm(len(addrs))
	errs := make([]error, len(addrs))
	next := time.NewTimer(0)
	defer next.Stop()
	asked, pending := 0, 0
	for {
		select {
		case <-ctx.Done():
			return none, context.Cause(ctx)
		case <-next.C:
			if asked < len(order) {
				i := order[asked]
				asked++
				pending++
				go func() {
					v, err := ask(ctx, &cfg, addrs[i])
					answers <- answer{i, v, err}
				}()
				next.Reset(headStart)
			}
		case a := <-answers:
			pending--
			if a.err == nil {
				return a.v, nil
			}
			if ctx.Err() != nil {
				return none, context.Cause(ctx)
			}
			if final(a.err) {
				return none, a.err
			}
			errs[a.i] = a.err
			if asked < len(order) {
				next.Reset(0)
			} else if pending == 0 {
				all := &UnreachableError{Addrs: addrs, Errs: errs}
				if _, _, final := Permanent(all); final {
					return none, errs[0]
				}
				return none, all
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
func probeBroker(ctx context.Context, addr string, conf *sarama.Config, a *Access) error {
	b := sarama.NewBroker(addr)
	if err := b.Open(conf); err != nil {
		return err
	}
	defer b.Close() //nolint:errcheck // nothing was asked that could be lost
	if ok, err := b.Connected(); err != nil {
		return explain(ctx, addr, err, a)
	} else if !ok {
		return errors.New("connection closed")
	}
	versions, err := b.ApiVersions(&sarama.ApiVersionsRequest{Version: 0})
	if err != nil {
		return explainClosed(ctx, addr, err, a)
	}
	recent := false
	for _, k := range versions.ApiKeys {
		recent = recent || k.ApiKey == leaveGroupKey && k.MaxVersion >= oldestLeaveGroup
	}
	if !recent {
		return &TooOldError{Addr: addr, Passes: a == nil || a.tls == nil}
	}
	// Some tell their versions to everybody; the next request shows whether we are
	// in. What it asks for is of no interest, a topic that we may not see included.
	_, err = b.GetMetadata(&sarama.MetadataRequest{Version: 4, Topics: []string{"__consumer_offsets"}})
	return explainClosed(ctx, addr, err, a)
}

// explainClosed is explain for the first requests: a broker that wants
// authentication answers those of others by hanging up.
func explainClosed(ctx context.Context, addr string, err error, a *Access) error {
	if err != nil && closedByPeer(err) && a != nil && !a.security.sasl && a.wantsSASL(ctx, addr) {
		return &AccessError{Addr: addr, Key: "security_protocol", Err: err, Passes: !a.security.tls,
			Problem: "it wants authentication on this port: set security_protocol to " + a.security.with(a.security.tls, true) + ", or change the port"}
	}
	return explain(ctx, addr, err, a)
}

// explain adds to err what a user needs to act: which broker, which key. It may
// ask the broker again, in another way, to find out. nil stays nil.
func explain(ctx context.Context, addr string, err error, a *Access) error {
	var known *AccessError
	if err == nil || a == nil {
		return err
	}
	errors.As(err, &known)
	if closedByPeer(err) || known != nil && errors.Is(err, context.DeadlineExceeded) {
		if mismatch := a.mismatch(ctx, addr, err); mismatch != nil {
			return mismatch
		}
	}
	if known != nil {
		return err
	}
	if e := (&AccessError{Addr: addr, Err: err}); explainAlert(e, err, a.tls != nil && a.tls.material().certificate != nil) {
		return e
	}
	if a.sasl == nil {
		return err
	}
	if closedByPeer(err) {
		return &AccessError{Addr: addr, Key: "sasl_password", Passes: true, Err: err,
			Problem: "it closed the connection while we authenticated (if this goes on: check the sasl_ keys)"}
	}
	if errors.Is(err, sarama.ErrUnsupportedSASLMechanism) {
		if offered := a.mechanisms(ctx, addr); len(offered) > 0 {
			err = &mechanismError{offered}
		}
	}
	return explainSASL(addr, a.sasl.mechanism, a.tls != nil, err)
}

// closedByPeer reports whether the other side ended the connection, or sent what
// is not Kafka's protocol.
func closedByPeer(err error) bool {
	var garbage sarama.PacketDecodingError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.As(err, &garbage)
}
