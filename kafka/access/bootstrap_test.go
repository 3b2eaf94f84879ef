package access

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/racecar-go/racecar/test/kafka/pki"
)

func TestOldBroker(t *testing.T) {
	ca := pki.Root(t, "Test CA")
	cluster := fakeCluster(t, kfake.MaxVersions(kversion.V2_3_0()), kfake.TLS(tlsConfig(ca.Issue("broker"))))
	c := tlsSettings(t, cluster, ca)
	err := try(t, c)
	reason, key, ok := Permanent(err)
	want := "broker " + cluster.ListenAddrs()[0] + " is too old: racecar needs Kafka 2.4 or newer (it does not offer LeaveGroup version 3)"
	if reason != want || key != "brokers" || !ok {
		t.Errorf("got %q, %q, %v\nwant %q", reason, key, ok, want)
	}
}

// Without TLS nothing proves that it was the broker who answered.
func TestOldBrokerWithoutTLS(t *testing.T) {
	cluster := fakeCluster(t, kfake.MaxVersions(kversion.V2_3_0()))
	err := try(t, settings(cluster.ListenAddrs()...))
	if _, _, final := Permanent(err); err == nil || final || !strings.Contains(err.Error(), "is too old: racecar needs Kafka 2.4 or newer") {
		t.Errorf("got %v, want that it is too old, and that it passes", err)
	}
}
