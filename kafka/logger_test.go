package kafka

import (
	"bytes"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/IBM/sarama"
	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/test/seeds"
)

// testLog is where sarama's log goes in all tests: its logger is a global that
// may be set before the first client only, as in a real process.
var testLog = &switchedWriter{}

func TestMain(m *testing.M) {
	log := logrus.New()
	log.SetOutput(testLog)
	log.SetLevel(logrus.DebugLevel)
	SetLogger(log)
	seeds.Parallel(4) // most tests wait: for timeouts, backoffs and brokers that do not answer
	os.Exit(m.Run())
}

type switchedWriter struct {
	mu  sync.Mutex
	out *bytes.Buffer // nil: nobody listens
}

func (w *switchedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.out != nil {
		w.out.Write(b)
	}
	return len(b), nil
}

func (w *switchedWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.String()
}

// captureLog keeps what is logged during the test.
func captureLog(t *testing.T) *switchedWriter {
	t.Helper()
	set := func(b *bytes.Buffer) {
		testLog.mu.Lock()
		defer testLog.mu.Unlock()
		testLog.out = b
	}
	set(&bytes.Buffer{})
	t.Cleanup(func() { set(nil) })
	return testLog
}

func TestSetLogger(t *testing.T) {
	log := captureLog(t)
	sarama.Logger.Printf("hello %s\n", "broker")
	sarama.Logger.Println("using proxy")
	if got := log.String(); !strings.Contains(got, `level=debug msg="kafka client" sarama="hello broker"`) || strings.Contains(got, "proxy") {
		t.Errorf("logged %s", got)
	}
}
