package consumers

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
)

func TestPushNotificationConsumer(t *testing.T) {
	var got []string
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, string(body))
		switch {
		case strings.Contains(string(body), "nobody"):
			http.Error(w, "no such recipient", http.StatusNotFound)
		case strings.Contains(string(body), "later"):
			http.Error(w, "too busy", http.StatusServiceUnavailable)
		}
	}))
	defer service.Close()
	t.Setenv("PUSH_URL", service.URL)
	result := racecartest.Run(t, NewPushNotificationConsumer, []*racecar.Message{
		{Value: []byte(`{"recipient":"ada","notification":"hello"}`)},
		{Value: []byte(`{"recipient":"nobody","notification":"hello"}`)},
		{Value: []byte(`{"recipient":"later","notification":"hello"}`)},
		{Value: []byte(`hello`)},
	})
	var verdicts []racecartest.Verdict
	for _, err := range result.Errors {
		verdicts = append(verdicts, racecartest.VerdictOf(err))
	}
	want := []racecartest.Verdict{racecartest.Processed, racecartest.Skipped, racecartest.Retried, racecartest.Skipped}
	if !slices.Equal(verdicts, want) {
		t.Errorf("verdicts %v, want %v", verdicts, want)
	}
	if len(got) != 3 || got[0] != `{"recipient":"ada","notification":"hello"}` {
		t.Errorf("pushed %v", got)
	}
	if result.TeardownErr != nil {
		t.Error(result.TeardownErr)
	}
}
