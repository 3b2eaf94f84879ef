package wire

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/status"
)

// compared are Consumers by what they say: where they came from does not count, and a
// config.Config would be compared by its methods.
var compared = []cmp.Option{
	cmpopts.IgnoreUnexported(Consumer{}),
	cmp.Transformer("secrets", func(c config.Config) config.WithSecrets { return config.WithSecrets(c) }),
}

// TestSecretsTravel to the worker and nowhere else.
func TestSecretsTravel(t *testing.T) {
	c := config.Default()
	c.SASLPassword, c.WorkerMemoryLimit, c.PauseJitter, c.DatadogTags = "s3cr3t", 1<<40, 0.1, []string{}
	consumer := Consumer{Name: "X", Config: c, Sources: map[string]string{"client_id": "--client-id"}, Digest: "d"}
	for _, sent := range []any{
		Handshake{Versions: Supported(), Consumer: consumer, Index: 2, StartedAt: time.Unix(1, 0).UTC()},
		Plan{Consumers: []Consumer{consumer, consumer}},
		Leave{Consumer: consumer, Members: []status.Member{{Group: "g", MemberID: "m"}}, Within: time.Second},
	} {
		b, err := json.Marshal(sent)
		if err != nil {
			t.Fatal(err)
		}
		got := reflect.New(reflect.TypeOf(sent))
		if err := json.Unmarshal(b, got.Interface()); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(sent, got.Elem().Interface(), compared...); d != "" {
			t.Errorf("%T: %s", sent, d)
		}
		if !strings.Contains(string(b), "s3cr3t") {
			t.Errorf("%T: the worker would not get its password", sent)
		}
	}
}

// A supervisor passes on what it does not know of a Consumer, and takes what a Consumer
// of an earlier release lacks to be as by default.
func TestConsumerOfAnotherRelease(t *testing.T) {
	later := `{"name":"X","config":{"GroupID":"g","Zest":7},"digest":"d","zest":[1]}`
	var c Consumer
	if err := json.Unmarshal([]byte(later), &c); err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	want.GroupID = "g"
	if d := cmp.Diff(Consumer{Name: "X", Config: want, Digest: "d"}, c, compared...); d != "" {
		t.Error(d)
	}
	b, err := json.Marshal(Handshake{Consumer: c})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), later) {
		t.Errorf("passed on as %s", b)
	}
}
