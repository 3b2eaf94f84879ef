package wire

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
)

// TestSecretsTravel to the worker and nowhere else.
func TestSecretsTravel(t *testing.T) {
	c := config.Default()
	c.SASLPassword, c.WorkerMemoryLimit, c.PauseJitter, c.DatadogTags = "s3cr3t", 1<<40, 0.1, []string{}
	consumer := Consumer{Name: "X", Config: c, Sources: map[string]string{"client_id": "--client-id"}, Digest: "d"}
	for _, sent := range []any{
		Handshake{Version: Version, Consumer: consumer, Index: 2, StartedAt: time.Unix(1, 0).UTC()},
		Plan{Consumers: []Consumer{consumer, consumer}},
		Leave{Config: c, Members: []status.Member{{Group: "g", MemberID: "m"}}, Within: time.Second},
	} {
		b, err := json.Marshal(sent)
		if err != nil {
			t.Fatal(err)
		}
		got := reflect.New(reflect.TypeOf(sent))
		if err := json.Unmarshal(b, got.Interface()); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(sent, got.Elem().Interface()) {
			t.Errorf("%T: sent %s", sent, b)
		}
		if !strings.Contains(string(b), "s3cr3t") {
			t.Errorf("%T: the worker would not get its password", sent)
		}
	}
}
