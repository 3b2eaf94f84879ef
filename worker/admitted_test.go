package worker

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/racecar-go/racecar/internal/status"
	"github.com/racecar-go/racecar/internal/wire"
	"github.com/racecar-go/racecar/test/kafka/pki"
)

// Certificates that are wrong when a consumer starts end it. When they are wrong for a
// moment while a worker is replaced, it waits for them.
func TestCertificatesOfAConsumerThatWasReady(t *testing.T) {
	ca := pki.Root(t, "Test CA")
	other := pki.Root(t, "Other CA")
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in"), kfake.GroupMinSessionTimeout(time.Second),
		kfake.TLS(&tls.Config{Certificates: []tls.Certificate{ca.Issue("broker").TLS()}}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	write := func(path string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path+".new", data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	for name, file := range map[string]struct {
		text   []byte // nil: none
		reason string
	}{
		"another authority": {other.CertPEM(), "is signed by an authority that we do not trust"},
		"no file":           {nil, "no such file"},
		"half a file":       {ca.CertPEM()[:100], "no certificate in PEM format"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(nil, "group")
			cfg.Brokers, cfg.SecurityProtocol, cfg.SSLVerifyHostname = c.ListenAddrs(), "ssl", true
			cfg.SSLCALocation = filepath.Join(t.TempDir(), "ca.pem")
			if file.text != nil {
				write(cfg.SSLCALocation, file.text)
			}
			first := start(t, one(t, "in", ignore), cfg)
			if code, last := first.awaitExit(), first.exitReport(); code != wire.ExitPermanent || !strings.Contains(last.Reason, file.reason) {
				t.Errorf("at the start: exit code %d, %+v", code, last)
			}
			s := start(t, one(t, "in", ignore), cfg, wasReady)
			s.await("waiting for certificates", func() bool {
				return s.frame.State == status.Waiting && s.frame.Detail != ""
			})
			write(cfg.SSLCALocation, ca.CertPEM())
			s.running()
			if code := s.stop(); code != wire.ExitOK {
				t.Errorf("exit code %d", code)
			}
		})
	}
}
