package racecar

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
)

func outermost(next Handler) Handler { return next }

func TestUseRefusesNil(t *testing.T) {
	emptyRegistry(t)
	Use(outermost, nil)
	mistakes := program.Mistakes()
	if len(mistakes) != 1 || !strings.HasPrefix(mistakes[0].Error(), "middleware_test.go:15: Use: argument 2 of 2 is nil") {
		t.Errorf("mistakes: %v", mistakes)
	}
	if n := len(program.Middlewares()); n != 0 {
		t.Errorf("%d middlewares are kept", n)
	}
}

func TestUseAfterTheStartIsRefused(t *testing.T) {
	emptyRegistry(t)
	var log bytes.Buffer
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	Use(outermost)
	if _, err := program.StartTracer(nil, slog.Default()); err != nil {
		t.Fatal(err)
	}
	Use(outermost)
	const line = "middleware_test.go:35"
	mistakes := program.Mistakes()
	if len(mistakes) != 1 || mistakes[0].Error() != line+": Use is called after the start: call it from init" {
		t.Errorf("mistakes: %v", mistakes)
	}
	if !strings.Contains(log.String(), "at="+line) {
		t.Errorf("log: %s", log.String())
	}
	if n := len(program.Middlewares()); n != 1 {
		t.Errorf("%d middlewares, want the first alone", n)
	}
}

func TestSetupRefusesMistakes(t *testing.T) {
	emptyRegistry(t)
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	slog.SetDefault(slog.New(slog.DiscardHandler))
	nothing := func(context.Context, Runtime) (func(context.Context) error, error) { return nil, nil }
	Setup(nil)
	Setup(nothing)
	if _, err := program.StartTracer(nil, slog.Default()); err != nil {
		t.Fatal(err)
	}
	Setup(nothing)
	mistakes := program.Mistakes()
	if len(mistakes) != 2 || !strings.HasSuffix(mistakes[0].Error(), ": Setup: the function is nil") || !strings.HasSuffix(mistakes[1].Error(), ": Setup is called after the start: call it from init") {
		t.Errorf("mistakes: %v", mistakes)
	}
	for _, m := range mistakes {
		if !strings.HasPrefix(m.Error(), "middleware_test.go:") {
			t.Errorf("%v does not name the line", m)
		}
	}
	if n := len(program.Setups()); n != 1 || !strings.HasPrefix(program.Setups()[0].Line, "middleware_test.go:") {
		t.Errorf("%d setups, want the one from before the start", n)
	}
}

func TestLoggerOutsideOfAWorker(t *testing.T) {
	if Logger(t.Context()) != slog.Default() {
		t.Error("not the default logger")
	}
}
