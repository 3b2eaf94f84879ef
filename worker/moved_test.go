package worker

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/test/kafka/cluster"
	"github.com/racecar-go/racecar/test/kafka/testbroker"
)

// forwarder listens at an address that stays and sends connections on to one that
// may change, as a load balancer or a DNS name does.
type forwarder struct {
	addr string
	to   atomic.Pointer[string]
}

func newForwarder(t *testing.T, to string) *forwarder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{addr: l.Addr().String()}
	f.to.Store(&to)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer in.Close()
				out, err := net.Dial("tcp", *f.to.Load())
				if err != nil {
					return
				}
				defer out.Close()
				wg.Go(func() {
					_, _ = io.Copy(out, in) // either side may hang up
					_ = out.Close()
				})
				_, _ = io.Copy(in, out)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close() })
	return f
}

// A session timeout that the brokers do not allow ends the worker, with the key, its
// value and the brokers' settings: waiting does not help.
func TestSessionTimeoutOutsideOfTheBrokersRange(t *testing.T) {
	b := testbroker.New(t)
	cfg := testConfig(b, b.Group())
	cfg.SessionTimeout = 500 * time.Millisecond
	s := start(t, one(t, b.Topic(1), ignore), cfg)
	if code := s.awaitExit(); code != wire.ExitPermanent {
		t.Errorf("exit code %d", code)
	}
	const want = "session_timeout (500ms) is outside of what the brokers allow: set it between their group.min.session.timeout.ms and group.max.session.timeout.ms"
	if s.last == nil || s.last.Reason != want {
		t.Errorf("got  %+v\nwant %s", s.last, want)
	}
}

// separateBroker starts a broker with a topic "in" and returns its address and a function
// that stops it.
func separateBroker(t *testing.T) (addr string, end func()) {
	t.Helper()
	if cluster.Real() {
		broker, _, cfg := ownBroker(t)
		return cfg.Brokers[0], func() {
			if err := broker.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(time.Second), kfake.SeedTopics(1, "in"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()[0], c.Close
}

// When all brokers move to other addresses, a consumer asks the configured one again
// within seconds, whether it has something to commit or idles.
func TestAllBrokersMove(t *testing.T) {
	for _, idle := range []bool{false, true} {
		t.Run(map[bool]string{false: "busy", true: "idle"}[idle], func(t *testing.T) {
			t.Parallel()
			old, end := separateBroker(t)
			entrance := newForwarder(t, old)
			cfg := testConfig(nil, "group")
			cfg.Brokers = []string{entrance.addr}
			cfg.TopicMetadataRefreshInterval = 10 * time.Minute
			called := make(chan string, 1000)
			s := start(t, one(t, "in", func(_ context.Context, m *racecar.Message) error {
				called <- string(m.Value)
				return nil
			}), cfg)
			s.running()
			if !idle {
				send(t, []string{old}, "in", values(3)...)
				for range 3 {
					<-called
				}
			}
			moved, _ := separateBroker(t)
			entrance.to.Store(&moved)
			end()
			began := time.Now()
			send(t, []string{moved}, "in", "after")
			select {
			case <-called:
				t.Logf("consumed %v after the move", time.Since(began).Round(time.Millisecond))
			case <-time.After(patient):
				t.Fatalf("nothing is consumed %v after the move", patient)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
			s.stop()
		})
	}
}
