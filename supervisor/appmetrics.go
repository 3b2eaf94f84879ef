package supervisor

import (
	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/internal/appmetrics"
	"github.com/racecar-go/racecar/internal/wire"
)

// takeMetrics keeps what a worker sends of its consumer code's metrics.
func (s *Supervisor) takeMetrics(c *child, m wire.Metrics) {
	if s.opts.AppMetrics == nil {
		return
	}
	if err := s.opts.AppMetrics.Update(c.metricsSlot(), c.process.PID(), m.Encoded); err != nil {
		s.logf(logrus.ErrorLevel, "metrics of a worker cannot be decoded", logrus.Fields{"worker": c.name, "pid": c.process.PID(), "error": err.Error()})
	}
}

// stopMetrics says that a worker sends no more.
func (s *Supervisor) stopMetrics(c *child) {
	if s.opts.AppMetrics != nil {
		s.opts.AppMetrics.Stop(c.metricsSlot(), c.process.PID())
	}
}

func (c *child) metricsSlot() appmetrics.Slot {
	return appmetrics.Slot{Consumer: c.consumer, Worker: c.name}
}
