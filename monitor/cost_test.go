package monitor

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
	"github.com/racecar-go/racecar/test/seeds"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

// mostForMetrics is the most CPU time per message that Datadog may cost. The worker counts for
// Prometheus anyway (worker.BenchmarkTally).
const mostForMetrics = 300 * time.Nanosecond

func TestDatadogCostsLittle(t *testing.T) {
	seeds.Measure(t)
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := datadogConfig()
	c.DatadogHost, c.DatadogPort = "127.0.0.1", conn.LocalAddr().(*net.UDPAddr).Port
	log, _ := logtest.NewNullLogger()
	best := time.Duration(1 << 62)
	for range 3 {
		w, err := NewWorker(&c, nil, log)
		if err != nil {
			t.Fatal(err)
		}
		emit := w.Emit()
		messages := make([]racecar.Message, 1000)
		for i := range messages {
			messages[i] = racecar.Message{Topic: "greetings", Partition: int32(i / 250), Offset: int64(i), Timestamp: time.Now()}
		}
		const n = 2_000_000
		before := cpu(t)
		for i := range n {
			emit(event.ProcessMessage{Consumer: "A", Group: "g", Message: &messages[i%len(messages)], Duration: 12345})
		}
		if err := w.Close(); err != nil { // what is sent is part of it
			t.Fatal(err)
		}
		best = min(best, (cpu(t)-before)/n)
	}
	t.Logf("%v of CPU time a message", best)
	if best > mostForMetrics {
		t.Errorf("%v of CPU time a message, more than %v", best, mostForMetrics)
	}
}

// cpu is the CPU time that this process has used.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var use unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err != nil {
		t.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
