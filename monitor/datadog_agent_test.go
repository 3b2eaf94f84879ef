package monitor

import (
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/DataDog/datadog-go/v5/statsd"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/racecar-go/racecar/racecar/event"
)

// sent collects what a client sends.
type sent struct{ strings.Builder }

func (s *sent) Close() error { return nil }

// A host name that does not resolve yet is looked up again in the background, and the counts
// until then are sent as soon as it resolves.
func TestDatadogHostThatResolvesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, hook := logtest.NewNullLogger()
		var out sent
		tries := 0
		began := time.Now()
		c := datadogConfig()
		d, err := newDatadog(&c, log, func() (*statsd.Client, error) {
			if tries++; tries < 3 {
				return nil, &net.DNSError{Err: "no such host", Name: "agent.example"}
			}
			return statsd.NewWithWriter(&out, statsd.WithoutTelemetry())
		})
		if err != nil || time.Since(began) > 0 {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
		for range 5 {
			d.Observe(event.AcknowledgedMessage{Topic: "t"})
		}
		<-time.After(2*agentRetry + 2*flushInterval) // no time passes in here
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if !strings.Contains(out.String(), "producer.ack.messages:5|c") {
			t.Errorf("sent: %q", out.String())
		}
		var lines []string
		for _, e := range hook.AllEntries() {
			if e.Level <= logrus.InfoLevel {
				lines = append(lines, e.Message)
			}
		}
		if len(lines) != 2 || !strings.Contains(lines[0], "cannot be found") || !strings.Contains(lines[1], "was found") {
			t.Errorf("logged %q", lines)
		}
	})
}

// A resolver that does not answer delays the start by a second, and the shutdown not at all.
func TestDatadogHostThatTakesLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := logtest.NewNullLogger()
		began := time.Now()
		a, err := findAgent(func() (*statsd.Client, error) {
			<-time.After(time.Minute)
			return statsd.NewWithWriter(&sent{}, statsd.WithoutTelemetry())
		}, log)
		if err != nil || time.Since(began) != agentTimeout {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if err := a.close(); err != nil || time.Since(began) != agentTimeout {
			t.Errorf("closed after %v: %v", time.Since(began), err)
		}
		<-time.After(time.Minute) // the client comes too late and is closed: else the test would end with its goroutines
	})
}

func TestDatadogAddressThatCannotWork(t *testing.T) {
	log, _ := logtest.NewNullLogger()
	if _, err := findAgent(func() (*statsd.Client, error) { return statsd.New("a:b:c") }, log); err == nil {
		t.Error("an invalid address was accepted")
	}
	c := datadogConfig()
	c.DatadogHost = "nowhere.invalid"
	d, err := NewDatadog(&c, log)
	if err != nil {
		t.Fatalf("a host that does not resolve: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
