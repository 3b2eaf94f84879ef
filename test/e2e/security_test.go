package e2e

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/racecar-go/racecar/test/harness"
	"github.com/racecar-go/racecar/test/kafka/pki"
)

// A failure that no restart can mend ends the whole with exit code 1 and one line
// that names the key to change; the worker is started once.
func TestAPermanentFailureIsNotRetried(t *testing.T) {
	ca := pki.Root(t, "Test CA")
	secure, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "journal"),
		kfake.TLS(&tls.Config{Certificates: []tls.Certificate{ca.Issue("broker", pki.Hosts("127.0.0.1")).TLS()}}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(secure.Close)
	elsewhere, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "journal"),
		kfake.TLS(&tls.Config{Certificates: []tls.Certificate{ca.Issue("broker", pki.Hosts("kafka.example")).TLS()}}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(elsewhere.Close)
	root := pki.File(t, "ca.pem", ca.CertPEM())

	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"unknown authority": {[]string{"--brokers", secure.ListenAddrs()[0], "--security-protocol", "ssl"}, "ssl_ca_location"},
		"another's name":    {[]string{"--brokers", elsewhere.ListenAddrs()[0], "--security-protocol", "ssl", "--ssl-ca-location", root}, "kafka.example"},
	} {
		t.Run(name, func(t *testing.T) {
			p := harness.Start(t, harness.Command{
				Role: "app", Env: []string{"JOURNAL_DIR=" + t.TempDir()},
				Args: append(test.args, "--log-format", "text", "Journal"),
			})
			if code := p.Wait(); code != 1 {
				t.Errorf("exit code %d", code)
			}
			lines := strings.Split(strings.TrimSpace(p.Stderr()), "\n")
			if last := lines[len(lines)-1]; !strings.HasPrefix(last, "=> Crashed: ") || !strings.Contains(last, test.want) {
				t.Errorf("last line of stderr: %s\nwant it to name %s", last, test.want)
			}
			if n := strings.Count(p.Stdout(), `msg="worker started"`); n != 1 {
				t.Errorf("the worker was started %d times", n)
			}
		})
	}
}
