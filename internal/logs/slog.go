package logs

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"
)

// fromSlog is a slog.Handler that writes through logrus, so that consumer code
// and racecar share one log.
type fromSlog struct {
	entry  *logrus.Entry
	prefix string // of open groups, with its dot
}

func (h *fromSlog) Enabled(_ context.Context, level slog.Level) bool {
	return h.entry.Logger.IsLevelEnabled(toLogrusLevel(level))
}

func (h *fromSlog) Handle(ctx context.Context, r slog.Record) error {
	fields := logrus.Fields{}
	r.Attrs(func(a slog.Attr) bool {
		h.add(fields, h.prefix, a)
		return true
	})
	e := h.entry.WithContext(ctx).WithFields(fields)
	if !r.Time.IsZero() {
		e = e.WithTime(r.Time)
	}
	e.Log(toLogrusLevel(r.Level), r.Message)
	return nil
}

func (h *fromSlog) WithAttrs(attrs []slog.Attr) slog.Handler {
	fields := logrus.Fields{}
	for _, a := range attrs {
		h.add(fields, h.prefix, a)
	}
	return &fromSlog{entry: h.entry.WithFields(fields), prefix: h.prefix}
}

func (h *fromSlog) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return &fromSlog{entry: h.entry, prefix: h.prefix + name + "."}
}

func (h *fromSlog) add(fields logrus.Fields, prefix string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() != slog.KindGroup {
		if a.Key != "" {
			fields[prefix+a.Key] = v.Any()
		}
		return
	}
	if a.Key != "" {
		prefix += a.Key + "."
	}
	for _, sub := range v.Group() {
		h.add(fields, prefix, sub)
	}
}

func toLogrusLevel(l slog.Level) logrus.Level {
	switch {
	case l >= slog.LevelError:
		return logrus.ErrorLevel
	case l >= slog.LevelWarn:
		return logrus.WarnLevel
	case l >= slog.LevelInfo:
		return logrus.InfoLevel
	}
	return logrus.DebugLevel
}

// leveled is the user's own slog.Handler with log_level in front.
type leveled struct {
	slog.Handler
	log *logrus.Logger
}

func (h leveled) Enabled(ctx context.Context, level slog.Level) bool {
	return h.log.IsLevelEnabled(toLogrusLevel(level)) && h.Handler.Enabled(ctx, level)
}

func (h leveled) WithAttrs(attrs []slog.Attr) slog.Handler {
	return leveled{h.Handler.WithAttrs(attrs), h.log}
}

func (h leveled) WithGroup(name string) slog.Handler {
	return leveled{h.Handler.WithGroup(name), h.log}
}

// attrs are the fields of an entry, in the order of their names.
func attrs(fields logrus.Fields) []slog.Attr {
	all := make([]slog.Attr, 0, len(fields))
	for k, v := range fields {
		all = append(all, slog.Any(k, v))
	}
	slices.SortFunc(all, func(a, b slog.Attr) int { return strings.Compare(a.Key, b.Key) })
	return all
}

// toSlog is a logrus hook that hands every line to a slog.Handler of the user's.
type toSlog struct{ handler slog.Handler }

func (toSlog) Levels() []logrus.Level { return logrus.AllLevels }

func (h toSlog) Fire(e *logrus.Entry) error {
	level := slog.LevelDebug
	switch e.Level {
	case logrus.PanicLevel, logrus.FatalLevel, logrus.ErrorLevel:
		level = slog.LevelError
	case logrus.WarnLevel:
		level = slog.LevelWarn
	case logrus.InfoLevel:
		level = slog.LevelInfo
	}
	ctx := e.Context
	if ctx == nil {
		ctx = context.Background()
	}
	if !h.handler.Enabled(ctx, level) {
		return nil
	}
	r := slog.NewRecord(e.Time, level, e.Message, 0)
	r.AddAttrs(attrs(e.Data)...)
	return h.handler.Handle(ctx, r)
}

// toLogrus is a logrus hook that hands every line to a logger of the user's.
type toLogrus struct{ entry *logrus.Entry }

func (toLogrus) Levels() []logrus.Level { return logrus.AllLevels }

func (h toLogrus) Fire(e *logrus.Entry) error {
	// Fatal and panic are ours to act upon, not the user's logger's.
	h.entry.WithContext(e.Context).WithTime(e.Time).WithFields(e.Data).Log(max(e.Level, logrus.ErrorLevel), e.Message)
	return nil
}
