package fetch_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	brokers "github.com/racecar-go/racecar/kafka/access"
	"github.com/racecar-go/racecar/kafka/fetch"
)

// countedAccess counts connections.
type countedAccess struct {
	*brokers.Access
	dialed atomic.Int64
}

func (a *countedAccess) Dial(ctx context.Context, addr string) (net.Conn, error) {
	a.dialed.Add(1)
	return a.Access.Dial(ctx, addr)
}

// Connections log in, and log in again before the broker ends their sessions (KIP-368).
func TestConnectionsAreAuthenticated(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "user", "secret"),
		kfake.SeedTopics(1, "topic"), kfake.BrokerConfigs(map[string]string{"connections.max.reauth.ms": "1000"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	login := kgo.SASL(scram.Auth{User: "user", Pass: "secret"}.AsSha256Mechanism())
	cl, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DefaultProduceTopic("topic"), login)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	c := settings(t)
	c.Brokers = cluster.ListenAddrs()
	c.SecurityProtocol, c.SASLMechanism, c.SASLUsername, c.SASLPassword = "sasl_plaintext", "SCRAM-SHA-256", "user", "secret"
	c.MaxWaitTime = 100 * time.Millisecond
	log, lines := logtest.NewNullLogger()
	log.SetLevel(logrus.InfoLevel)
	inner, err := brokers.New(c, log)
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	a := &countedAccess{Access: inner}
	f := newFetcher(t, nil, func(o *fetch.Options) { o.Config, o.Access, o.Log = c, a, log })
	r := add(t, f, "topic", 0, nothing, fetch.Beginning)
	r.start()
	for began, n := time.Now(), int64(0); time.Since(began) < 3*time.Second; n++ {
		if err := cl.ProduceSync(t.Context(), kgo.StringRecord("v")).FirstErr(); err != nil {
			t.Fatal(err)
		}
		r.has(span(0, n+1)...)
	}
	if n := a.dialed.Load(); n > 3 || len(lines.AllEntries()) > 0 {
		t.Errorf("%d connections, %d lines", n, len(lines.AllEntries()))
	}
}
