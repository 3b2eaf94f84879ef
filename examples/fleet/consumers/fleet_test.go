package consumers

import (
	"context"
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
)

// calls returns how many calls the middleware has measured.
func calls(t *testing.T, topic, failed string) uint64 {
	t.Helper()
	var m dto.Metric
	if err := seconds.WithLabelValues(topic, failed).(prometheus.Histogram).Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.Histogram.GetSampleCount()
}

// Each consumer is tested as it is registered, with the middleware around it.
func TestFleet(t *testing.T) {
	messages := []*racecar.Message{{Value: []byte(`{"name":"ada"}`)}, {Value: []byte("ada")}}
	for name, topic := range map[string]string{"SignupConsumer": "signups", "LoginConsumer": "logins"} {
		for _, m := range messages {
			m.Topic = topic
		}
		good, bad := calls(t, topic, "false"), calls(t, topic, "true")
		r := racecartest.RunRegistered(t, name, messages)
		if got := racecartest.VerdictOf(r.Errors[0]); got != racecartest.Processed {
			t.Errorf("%s: %s (%v)", name, got, r.Errors[0])
		}
		if got := racecartest.VerdictOf(r.Errors[1]); got != racecartest.Skipped {
			t.Errorf("%s: malformed: %s", name, got)
		}
		if calls(t, topic, "false") != good+1 || calls(t, topic, "true") != bad+1 {
			t.Errorf("%s: the middleware has not measured both calls", name)
		}
	}
}

func TestAudit(t *testing.T) {
	r := racecartest.RunRegistered(t, "AuditConsumer", []*racecar.Message{{Topic: "logins"}, {Topic: "logins", Offset: 1}, {Topic: "signups"}})
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	if len(r.Produced) != 2 || string(r.Produced[0].Value) != `{"events":2,"topic":"logins"}` || string(r.Produced[1].Value) != `{"events":1,"topic":"signups"}` {
		t.Errorf("produced %v", r.Produced)
	}
}

// The middleware hides no error.
func TestObservePassesErrorsOn(t *testing.T) {
	cause := errors.New("cause")
	err := observe(func(context.Context, []*racecar.Message) error { return cause })(t.Context(), []*racecar.Message{{Topic: "t"}})
	if !errors.Is(err, cause) {
		t.Errorf("error %v", err)
	}
}
