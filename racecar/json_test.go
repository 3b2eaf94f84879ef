package racecar_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/racecar-go/racecar/internal/verdict"
	"github.com/racecar-go/racecar/racecar"
)

type order struct {
	ID    string `json:"id"`
	Cents int    `json:"cents"`
}

// A malformed message does not reach the function; OnMalformed decides what the call returns.
func TestMalformedJSON(t *testing.T) {
	for name, c := range map[string]struct {
		options []racecar.JSONOption
		kind    verdict.Kind
	}{
		"by default":   {nil, verdict.Retry},
		"skipped":      {[]racecar.JSONOption{racecar.OnMalformed(racecar.Skip)}, verdict.Skip},
		"dead letters": {[]racecar.JSONOption{racecar.OnMalformed(racecar.DeadLetter)}, verdict.DeadLetter},
		"never silent": {[]racecar.JSONOption{racecar.OnMalformed(func(error) error { return nil })}, verdict.Retry},
	} {
		t.Run(name, func(t *testing.T) {
			process := racecar.JSON(func(context.Context, *racecar.Message, order) error {
				t.Error("it was called")
				return nil
			}, c.options...)
			for _, value := range []string{`{"id":`, `{"id":7}`, `{"id":"a"} more`, ``, `[]`} {
				err := process.Process(t.Context(), &racecar.Message{Value: []byte(value)})
				if err == nil {
					t.Errorf("%q was taken", value)
					continue
				}
				kind := verdict.Retry
				if v, ok := errors.AsType[*verdict.Error](err); ok {
					kind = v.Kind
				}
				if kind != c.kind || !strings.Contains(err.Error(), "racecar_test.order") {
					t.Errorf("%q: %v, verdict %v", value, err, kind)
				}
			}
			err := process.Process(t.Context(), &racecar.Message{Value: []byte(`{"cents":"7"}`)})
			if e, ok := errors.AsType[*json.UnmarshalTypeError](err); !ok || e.Field != "cents" {
				t.Errorf("the cause is gone: %v", err)
			}
		})
	}
}

// Each message is decoded into its own value, and the function's error is the call's.
func TestJSON(t *testing.T) {
	var got []order
	process := racecar.JSON(func(_ context.Context, m *racecar.Message, o order) error {
		got = append(got, o)
		if m.Offset == 1 {
			return racecar.Skip(errors.New("free of charge"))
		}
		return nil
	}, racecar.OnMalformed(racecar.DeadLetter))
	for i, value := range []string{`{"id":"a","cents":5}`, `{"id":"b"}`} {
		err := process(t.Context(), &racecar.Message{Offset: int64(i), Value: []byte(value)})
		if v, skipped := errors.AsType[*verdict.Error](err); skipped != (i == 1) || skipped && v.Kind != verdict.Skip {
			t.Errorf("message %d: %v", i, err)
		}
	}
	if want := []order{{"a", 5}, {"b", 0}}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A consumer of JSON orders. Malformed ones go to the dead-letter topic at once, since a retry
// would not help.
func ExampleJSON() {
	ship := func(_ context.Context, _ *racecar.Message, o struct{ ID string }) error {
		fmt.Println("shipping", o.ID)
		return nil
	}
	newOrders := func(racecar.Runtime) (racecar.ProcessFunc, error) {
		return racecar.JSON(ship, racecar.OnMalformed(racecar.DeadLetter)), nil
	}
	racecar.Register(newOrders, racecar.Spec{
		Name:            "Orders",
		Subscriptions:   []racecar.Subscription{{Topic: "orders"}},
		DeadLetterTopic: "orders-dead",
	})

	process, _ := newOrders(racecar.Runtime{})
	fmt.Println(process(context.Background(), &racecar.Message{Value: []byte(`{"ID":"a17"}`)}))
	// Output:
	// shipping a17
	// <nil>
}
