package producer

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/racecar-go/racecar/config"
)

func settings(brokers ...string) *config.Config {
	return &config.Config{Brokers: brokers, ClientID: "racecar", SocketTimeout: 5 * time.Second, MessageTimeout: 300 * time.Second}
}

func fakeCluster(t *testing.T) *kfake.Cluster {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster
}
