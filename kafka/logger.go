package kafka

import (
	"fmt"
	"strings"

	"github.com/IBM/sarama"
	"github.com/sirupsen/logrus"
)

// SetLogger makes sarama log to log, at debug level. sarama has one logger for the whole
// process, so call SetLogger once, before the first client is created.
func SetLogger(log logrus.FieldLogger) { sarama.Logger = logBridge{log} }

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
