package producer_test

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/racecar-go/racecar/kafka/producer"
	"github.com/racecar-go/racecar/test/harness"
)

// idleListener closes connections on which nothing was read for a moment, as brokers
// and load balancers do after minutes. closed counts them.
type idleListener struct {
	net.Listener
	after  time.Duration
	mu     sync.Mutex
	closed int
}

func (l *idleListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	conn := &idleConn{Conn: c}
	conn.timer = time.AfterFunc(l.after, func() {
		l.mu.Lock()
		l.closed++
		l.mu.Unlock()
		_ = c.Close()
	})
	return conn, nil
}

type idleConn struct {
	net.Conn
	timer *time.Timer
}

func (c *idleConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.timer.Reset(idleAfter)
	return n, err
}

const idleAfter = 300 * time.Millisecond

// A producer with nothing to send is silent when its connections are closed because
// they idle, and the next message goes at once.
func TestClosedIdleConnectionsAreNotFailures(t *testing.T) {
	t.Parallel()
	l := &idleListener{after: idleAfter}
	c := fakeCluster(t, kfake.SeedTopics(1, "out"), kfake.ListenFn(func(network, addr string) (net.Listener, error) {
		inner, err := net.Listen(network, addr)
		l.Listener = inner
		return l, err
	}))
	conf := settings(c.ListenAddrs()...)
	conf.TopicMetadataRefreshInterval = time.Second
	var log lockedBuffer
	logger := logrus.New()
	logger.SetOutput(&log)
	p := newProducer(t, conf, producer.Options{Logger: logger})
	var d deliveries
	sendNumbered(t, p, "out", 1, 1, &d)
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "closed connections", func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.closed < 4 {
			return fmt.Errorf("%d are closed", l.closed)
		}
		return nil
	})
	began := time.Now()
	sendNumbered(t, p, "out", 1, 1, &d)
	if err := p.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the message after idling took %v", took)
	}
	if said := log.String(); strings.Contains(said, "level=warning") || strings.Contains(said, "level=error") {
		t.Errorf("logged: %s", said)
	}
}

// lockedBuffer may be written to and read at the same time.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
