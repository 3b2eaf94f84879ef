package racecar

import (
	"context"
	"testing"

	"github.com/racecar-go/racecar/internal/callctx"
)

func TestHeaderFindsTheFirstOfAName(t *testing.T) {
	m := &Message{Headers: []Header{{Key: "a", Value: []byte("1")}, {Key: "b", Value: nil}, {Key: "a", Value: []byte("2")}}}
	if v, ok := m.Header("a"); !ok || string(v) != "1" {
		t.Errorf("a: %q, %v", v, ok)
	}
	if v, ok := m.Header("b"); !ok || v != nil {
		t.Errorf("b: %q, %v", v, ok)
	}
	if _, ok := m.Header("c"); ok {
		t.Error("c is there")
	}
}

func TestLeaving(t *testing.T) {
	if Leaving(context.Background()) != nil {
		t.Error("a ctx without a call is leaving")
	}
	leaving := make(chan struct{})
	ctx := callctx.WithLeaving(context.Background(), leaving)
	select {
	case <-Leaving(ctx):
		t.Error("leaving before it was told")
	default:
	}
	close(leaving)
	<-Leaving(ctx)
}

func TestAssignmentEmpty(t *testing.T) {
	if !(Assignment{}).Empty() || !(Assignment{Partitions: map[string][]int32{"t": nil}}).Empty() {
		t.Error("nothing assigned is not empty")
	}
	if (Assignment{Partitions: map[string][]int32{"t": {0}}}).Empty() {
		t.Error("one partition is empty")
	}
}
