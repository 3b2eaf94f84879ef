package consumers

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
)

func TestArchiveEventsConsumer(t *testing.T) {
	t.Chdir(t.TempDir())
	result := racecartest.Run(t, NewArchiveEventsConsumer, []*racecar.Message{
		{Topic: "events", Partition: 3, Offset: 10, Value: []byte("a")},
		{Topic: "events", Partition: 3, Offset: 12, Value: []byte("b")},
		{Topic: "events", Partition: 4, Offset: 1, Value: []byte("c")},
	})
	if err := result.Err(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"events-3-10-12.jsonl": "{\"partition\":3,\"offset\":10,\"value\":\"a\"}\n{\"partition\":3,\"offset\":12,\"value\":\"b\"}\n",
		"events-4-1-1.jsonl":   "{\"partition\":4,\"offset\":1,\"value\":\"c\"}\n",
	} {
		if got, err := os.ReadFile(filepath.Join(archive, name)); err != nil || string(got) != want {
			t.Errorf("%s: %v, %q, want %q", name, err, got, want)
		}
	}
}
