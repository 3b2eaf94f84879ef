package kafka

import (
	"bytes"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/sirupsen/logrus"
)

// captureLog returns what is logged from now on. sarama's logger is a global, so
// tests that use it do not run in parallel.
func captureLog(t *testing.T, level logrus.Level) *bytes.Buffer {
	t.Helper()
	var buf bytes.Buffer
	log := logrus.New()
	log.SetOutput(&buf)
	log.SetLevel(level)
	before := sarama.Logger
	SetLogger(log)
	t.Cleanup(func() { sarama.Logger = before })
	return &buf
}

func TestSetLogger(t *testing.T) {
	buf := captureLog(t, logrus.DebugLevel)
	sarama.Logger.Printf("hello %s\n", "broker")
	sarama.Logger.Println("using proxy")
	if got := buf.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `level=debug msg="kafka client" sarama="hello broker"`) {
		t.Errorf("logged %s", got)
	}
}
