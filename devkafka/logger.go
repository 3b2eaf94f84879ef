package devkafka

import (
	"fmt"

	"github.com/sirupsen/logrus"
	"github.com/twmb/franz-go/pkg/kfake"
)

// logger hands kfake's words on. Its "info" is about single requests, which is
// debug to us.
type logger struct{ to logrus.FieldLogger }

func (l logger) Logf(level kfake.LogLevel, format string, args ...any) {
	e := l.to.WithField("detail", fmt.Sprintf(format, args...))
	switch level {
	case kfake.LogLevelError:
		e.Error("embedded broker")
	case kfake.LogLevelWarn:
		e.Warn("embedded broker")
	default:
		e.Debug("embedded broker")
	}
}
