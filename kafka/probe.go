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

// probeHeadStart is how long a bootstrap broker is given before the next one is
// asked as well.
const probeHeadStart = time.Second

// probe asks the brokers one after the other, each with a head start, until one
// answers. Only when all of them refuse us for good is that final: one broker may
// have a certificate that has expired.
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
				go func() { answers <- answer{i, d.access.judge(addrs[i], probeBroker(ctx, addrs[i], &cfg, d.access))} }()
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
			errs[a.i] = a.err
			if asked < len(order) {
				headStart.Reset(0)
			} else if pending == 0 {
				all := &UnreachableError{Addrs: addrs, Errs: errs}
				if _, _, final := Permanent(all); final {
					return errs[0]
				}
				return all
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
		return &AccessError{Addr: addr, Key: "security_protocol", Err: err,
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
