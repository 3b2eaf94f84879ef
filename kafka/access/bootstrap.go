package access

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// This file finds a broker that answers, among several that may be down or frozen.

// headStart is the time after which AskInTurn asks the next broker as well.
const headStart = time.Second

// Connect waits until a broker has answered, has accepted us and is new enough, or ctx
// ends. Its error is permanent only if all brokers refuse us permanently: a single broker
// may have an expired certificate.
func (a *Access) Connect(ctx context.Context) error {
	addrs, err := a.Addresses()
	if err != nil {
		return err
	}
	_, err = AskInTurn(ctx, a, addrs, func(ctx context.Context, d *Dialer, addr string) (struct{}, error) {
		return struct{}{}, a.NoteResult(addr, a.probe(ctx, d, addr))
	}, func(error) bool { return false })
	return err
}

// AskInTurn asks brokers in a random order, each with a head start on the next, until
// one answers, an error is final, or all have failed (*UnreachableError). It closes the
// connections of the dialer that it passes to ask.
func AskInTurn[T any](ctx context.Context, a *Access, addrs []string,
	ask func(ctx context.Context, d *Dialer, addr string) (T, error), final func(error) bool,
) (T, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d := a.Dialer(ctx, nil)
	defer d.Abort()

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
					v, err := ask(ctx, d, addrs[i])
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
const oldestLeaveGroup = 3

// probe connects to one broker, authenticates and checks its version.
func (a *Access) probe(ctx context.Context, d *Dialer, addr string) error {
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		return a.explain(ctx, addr, err)
	}
	defer conn.Close() //nolint:errcheck // nothing was asked that could be lost
	w := Wire{Conn: conn, Addr: addr, ClientID: a.c.ClientID, Timeout: a.SocketTimeout()}
	versions := kmsg.NewPtrApiVersionsResponse()
	if err := w.Call(kmsg.NewPtrApiVersionsRequest(), versions); err != nil {
		return a.explainClosed(ctx, addr, err)
	}
	recent := false
	for _, k := range versions.ApiKeys {
		recent = recent || k.ApiKey == int16(kmsg.LeaveGroup) && k.MaxVersion >= oldestLeaveGroup
	}
	if !recent {
		return &TooOldError{Addr: addr, Temporary: a.tls == nil}
	}
	// Some brokers answer ApiVersions before authentication; this request shows whether
	// the broker accepts us. Its answer does not matter.
	metadata, topic := kmsg.NewPtrMetadataRequest(), kmsg.NewMetadataRequestTopic()
	metadata.Version, topic.Topic = 4, kmsg.StringPtr("__consumer_offsets")
	metadata.Topics = append(metadata.Topics, topic)
	return a.explainClosed(ctx, addr, w.Call(metadata, kmsg.NewPtrMetadataResponse()))
}

// Await calls f, which takes no ctx, and returns without it when ctx ends first. The
// client's timeouts and its Close end f.
func Await[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		var zero T
		return zero, context.Cause(ctx)
	}
}
