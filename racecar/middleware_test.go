package racecar

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func outermost(next Handler) Handler { return next }

func TestUseRefusesNil(t *testing.T) {
	emptyRegistry(t)
	Use(outermost, nil)
	mistakes := program.Mistakes()
	if len(mistakes) != 1 || !strings.HasPrefix(mistakes[0].Error(), "middleware_test.go:14: Use: argument 2 of 2 is nil") {
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
	const line = "middleware_test.go:34"
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
