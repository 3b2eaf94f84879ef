package cluster

import (
	"os"
	"testing"
)

// Marker is logged by every test that runs against Apache Kafka. The continuous
// integration counts it: a pass in which no test says so is a failure.
const Marker = "runs against Apache Kafka"

// Real reports whether tests are to use Apache Kafka: KAFKA=real.
func Real() bool { return os.Getenv("KAFKA") == "real" }

// Start starts a cluster for one test, and ends it with the test. Without
// KAFKA=real the test is skipped. When the test has failed, the end of each
// broker's log is printed; a broker that died of its own accord fails it.
func Start(t testing.TB, opts Options) *Cluster {
	t.Helper()
	if !Real() {
		t.Skip("needs Apache Kafka: set KAFKA=real")
	}
	c, err := New(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("\n" + c.Logs(60))
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("%s %s: %d brokers at %v", Marker, Version(), len(c.brokers), c.Addrs())
	return c
}
