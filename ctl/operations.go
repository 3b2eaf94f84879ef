package ctl

import (
	"context"
	"fmt"
	"net/http"

	"github.com/racecar-go/racecar/internal/logs"
)

// operation is something that a supervisor can be asked for: METHOD /v1/name.
type operation struct {
	method, name string
	serve        http.HandlerFunc
	secret       bool     // served by the control socket alone
	commands     []string // of racecarctl that ask for it; nil: the one of its name
}

// operations is all that a supervisor can be asked for.
func (s *Server) operations() []operation {
	get, post := http.MethodGet, http.MethodPost
	return []operation{
		{method: get, name: "status", serve: s.status},
		{method: get, name: "config", serve: s.config},
		{method: get, name: "settings", serve: s.settings, secret: true, commands: []string{"lag", "reset-offsets", "dlq list", "dlq replay"}},
		{method: post, name: "stop", serve: long(s, s.stop)},
		{method: post, name: "restart", serve: long(s, s.sup.Restart)},
		{method: post, name: "scale", serve: long(s, s.scale)},
		{method: post, name: "pause", serve: short(s.pause)},
		{method: post, name: "resume", serve: short(s.resume)},
		{method: post, name: "quiet", serve: short(func(ctx context.Context, r targetRequest) error { return s.sup.Quiet(ctx, r.Consumer) })},
		{method: post, name: "continue", serve: short(func(ctx context.Context, r targetRequest) error { return s.sup.Continue(ctx, r.Consumer) })},
		{method: post, name: "log-level", serve: short(s.logLevel)},
		{method: post, name: "dump", serve: short(func(ctx context.Context, _ struct{}) error { return s.sup.Dump(ctx) })},
	}
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), statusTimeout)
	defer cancel()
	st, err := s.sup.Status(ctx)
	if err != nil {
		fail(w, err)
		return
	}
	reply(w, http.StatusOK, st)
}

func (s *Server) config(w http.ResponseWriter, r *http.Request) {
	c, err := s.sup.Config(r.Context())
	if err != nil {
		fail(w, err)
		return
	}
	reply(w, http.StatusOK, c)
}

func (s *Server) settings(w http.ResponseWriter, r *http.Request) {
	c, err := s.sup.Settings(r.Context(), r.FormValue("consumer"))
	if err != nil {
		fail(w, err)
		return
	}
	reply(w, http.StatusOK, c)
}

func (s *Server) stop(ctx context.Context, o StopOptions, progress func(Progress)) error {
	if o.Timeout < 0 {
		return badRequest("timeout is negative")
	}
	return s.sup.Stop(ctx, o, progress)
}

func (s *Server) scale(ctx context.Context, r scaleRequest, progress func(Progress)) error {
	if r.Workers == nil {
		return badRequest("no number of workers")
	}
	return s.sup.Scale(ctx, r.Consumer, *r.Workers, progress)
}

func (s *Server) pause(ctx context.Context, r partitionRequest) error {
	partition, err := r.check()
	if err != nil {
		return err
	}
	return s.sup.Pause(ctx, r.Consumer, r.Topic, partition)
}

func (s *Server) resume(ctx context.Context, r partitionRequest) error {
	partition, err := r.check()
	if err != nil {
		return err
	}
	if r.SkipBatch && r.Partition == nil {
		return badRequest("a batch is skipped in one partition, not in a whole topic")
	}
	if r.SkipBatch {
		return s.sup.SkipBatch(ctx, r.Consumer, r.Topic, partition)
	}
	return s.sup.Resume(ctx, r.Consumer, r.Topic, partition)
}

func (s *Server) logLevel(ctx context.Context, r levelRequest) error {
	if _, err := logs.ParseLevel(r.Level); err != nil || r.Level == "" {
		return badRequest(fmt.Sprintf("log level %q: must be debug, info, warn or error", r.Level))
	}
	return s.sup.SetLogLevel(ctx, r.Level)
}

func (r partitionRequest) check() (int32, error) {
	if r.Topic == "" {
		return 0, badRequest("no topic")
	}
	if r.Partition == nil {
		return wholeTopic, nil
	}
	if *r.Partition < 0 {
		return 0, badRequest(fmt.Sprintf("partition %d of %q: must not be negative", *r.Partition, r.Topic))
	}
	return *r.Partition, nil
}
