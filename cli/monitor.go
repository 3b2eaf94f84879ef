package cli

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/appmetrics"
	"github.com/racecar-go/racecar/internal/logs"
	"github.com/racecar-go/racecar/internal/registered"
	"github.com/racecar-go/racecar/monitor"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
	"github.com/racecar-go/racecar/supervisor"
	"github.com/racecar-go/racecar/supervisor/fleet"
	"github.com/racecar-go/racecar/worker"
	"github.com/sirupsen/logrus"
)

// runWatched runs a worker and delivers its events to Datadog and subscribers.
func runWatched(ctx context.Context, o worker.Options, log *logs.Log) int {
	m, err := monitor.NewWorker(&o.Handshake.Consumer.Config, registered.Observers(), log)
	if err != nil {
		return exitReason(o.Conn, err, true)
	}
	if d := m.Datadog(); d != nil {
		// For standalone producers in this process, which notify the subscribers themselves.
		// After the call of Observers above: the worker's own events come through Emit.
		racecar.Observe(d.Observe)
	}
	o.Emit, o.EmitStarts = m.Emit(), m.Starts()
	if o.Tracer, err = registered.StartTracer(&o.Handshake.Consumer.Config, logs.Slog(log.WithField("component", "otel"))); err != nil {
		return exitReason(o.Conn, errors.Join(err, m.Close()), true)
	}
	code := worker.Run(ctx, o)
	// The default producer, which consumers may use instead of their Runtime's. Inline,
	// Run closes it at the end of the process.
	if o.Conn != nil {
		if err := closeProducer(); err != nil {
			log.WithError(err).Error("output of the default producer was lost")
		}
	}
	if o.Tracer != nil {
		flushSpans(o.Tracer, log)
	}
	if err := m.Close(); err != nil {
		log.WithError(err).Warn("the last metrics were lost")
	}
	return code
}

// spanTimeout bounds the export of the last spans, so that a collector that does not
// answer does not delay the shutdown.
const spanTimeout = 2 * time.Second

func flushSpans(t racecar.Tracer, log *logs.Log) {
	ctx, cancel := context.WithTimeout(context.Background(), spanTimeout)
	defer cancel()
	if err := t.Flush(ctx); err != nil {
		log.WithError(err).Warn("the last spans were lost")
	}
}

// emitWorkerEvents returns a function that passes the supervisor's events to the
// subscribers in its process.
func emitWorkerEvents(m *monitor.Worker) func(fleet.WorkerEvent) {
	emit := m.Emit()
	if emit == nil {
		return nil
	}
	return func(e fleet.WorkerEvent) {
		switch e.Kind {
		case fleet.WorkerStarted:
			emit(event.WorkerStarted{Consumer: e.Consumer, Index: e.Index, PID: e.PID})
		case fleet.WorkerExited:
			emit(event.WorkerExited{Consumer: e.Consumer, Index: e.Index, PID: e.PID, Reason: e.Reason, Graceful: e.Graceful, Detail: e.Detail})
		case fleet.WorkerStoppedPermanently:
			emit(event.WorkerStoppedPermanently{Consumer: e.Consumer, Index: e.Index, Detail: e.Detail})
		}
	}
}

// monitoring is the status page with /metrics and the health checks, and the liveness
// file. Either may be nil.
type monitoring struct {
	page     *monitor.Server
	liveness *monitor.Liveness
	log      logrus.FieldLogger
}

// newAppMetrics returns where the metrics of consumer code are kept; nil: nobody can ask
// for them.
func newAppMetrics(c *config.Config, log logrus.FieldLogger) *appmetrics.Store {
	if c.StatusAddr == "" {
		return nil
	}
	return appmetrics.NewStore(func(family, reason string) {
		log.WithField("metric", family).WithField("reason", reason).Warn("a metric of consumer code is left out of /metrics")
	})
}

// newMonitoring listens and creates the liveness file, so that errors are reported before
// there are workers. api is the control socket's service.
func newMonitoring(c *config.Config, sup *supervisor.Supervisor, app *appmetrics.Store, api http.Handler, log logrus.FieldLogger) (*monitoring, error) {
	l := &monitoring{log: log}
	var err error
	if c.LivenessProbeEnabled {
		if l.liveness, err = monitor.NewLiveness(c, sup.StatusWithoutReports, log); err != nil {
			return nil, err
		}
	}
	if c.StatusAddr != "" {
		l.page, err = monitor.NewServer(monitor.ServerOptions{
			Addr: c.StatusAddr, Token: c.StatusToken, MetricsPublic: c.StatusMetricsPublic, Status: sup.Status, Brief: sup.StatusWithoutReports, AppMetrics: app, Control: api, Log: log,
		})
		if err != nil {
			return nil, err
		}
		log.WithField("addr", l.page.Addr()).Info("status page is served")
	}
	return l, nil
}

// start runs it until stop is called, which waits. stop is called after the supervisor
// has stopped, so that the page shows the shutdown.
func (l *monitoring) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	if l.page != nil {
		running.Go(func() {
			// Consumers go on without it.
			if err := l.page.Run(ctx); err != nil {
				l.log.WithError(err).Error("status page is not served any more")
			}
		})
	}
	if l.liveness != nil {
		running.Go(func() { l.liveness.Run(ctx) })
	}
	return func() { cancel(); running.Wait() }
}
