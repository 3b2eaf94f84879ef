package access

import (
	"bytes"
	"context"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/test/seeds"
)

func TestMain(m *testing.M) {
	seeds.Parallel(4) // most tests wait: for timeouts, backoffs and brokers that do not answer
	os.Exit(m.Run())
}

// settings returns upstream's defaults where this package looks at them, with
// shorter timeouts, for the given brokers.
func settings(brokers ...string) *config.Config {
	return &config.Config{Brokers: brokers, ClientID: "racecar", SocketTimeout: 5 * time.Second, SSLVerifyHostname: true}
}

func fakeCluster(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// try connects once, with configuration c.
func try(t *testing.T, c *config.Config) error {
	t.Helper()
	a, err := New(c, nil)
	if err != nil {
		return err
	}
	return a.Connect(testContext(t))
}

func overwrite(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	// Whatever the clock's resolution: this is another file now.
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
}

// closedPort returns an address on which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it only reserved a port
	return l.Addr().String()
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.String()
}

func captureLog() (logrus.FieldLogger, *logBuffer) {
	log, out := logrus.New(), &logBuffer{}
	log.SetOutput(out)
	return log, out
}
