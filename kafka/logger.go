package kafka

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/IBM/sarama"
	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
)

// SetLogger hands sarama's own log to log, at debug level. sarama has one
// logger for the whole process, so this is to be called once, before the first
// client.
func SetLogger(log logrus.FieldLogger) { sarama.Logger = logBridge{log} }

// defaultMaxBatch stands in for max_batch_bytes in a configuration that was not loaded.
const defaultMaxBatch = 64 << 20

// SetMaxBatch bounds what sarama decompresses. It is as global as its logger.
func SetMaxBatch(c *config.Config) {
	sarama.MaxDecompressedBatchSize = int32(cmp.Or(c.MaxBatchBytes, defaultMaxBatch))
}

type logBridge struct{ log logrus.FieldLogger }

func (b logBridge) Print(v ...any)                 { b.line(fmt.Sprint(v...)) }
func (b logBridge) Printf(format string, v ...any) { b.line(fmt.Sprintf(format, v...)) }
func (b logBridge) Println(v ...any)               { b.line(fmt.Sprintln(v...)) }

func (b logBridge) line(s string) {
	s = strings.TrimSpace(s)
	if s == "using proxy" { // said at each connection: our dialer is no proxy
		return
	}
	b.log.WithField("sarama", s).Debug("kafka client")
}
