// Package consumers archives events.
package consumers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/racecar-go/racecar/racecar"
)

const archive = "tmp/archive"

// ArchiveEventsConsumer writes each batch of events to a separate file.
type ArchiveEventsConsumer struct{}

// NewArchiveEventsConsumer creates the archive's directory.
func NewArchiveEventsConsumer(racecar.Runtime) (*ArchiveEventsConsumer, error) {
	return &ArchiveEventsConsumer{}, os.MkdirAll(archive, 0o755)
}

// event is a line of the archive. After a crash some events are archived again, in other files,
// since the batches differ: readers recognize them by partition and offset.
type event struct {
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Value     string `json:"value"`
}

// ProcessBatch writes one file. A batch has messages of one partition, in order.
func (c *ArchiveEventsConsumer) ProcessBatch(_ context.Context, messages []*racecar.Message) error {
	first, last := messages[0], messages[len(messages)-1]
	var lines bytes.Buffer
	for _, m := range messages {
		if err := json.NewEncoder(&lines).Encode(event{m.Partition, m.Offset, string(m.Value)}); err != nil {
			return err
		}
	}
	name := fmt.Sprintf("%s-%d-%d-%d.jsonl", first.Topic, first.Partition, first.Offset, last.Offset)
	return writeWhole(filepath.Join(archive, name), lines.Bytes())
}

// writeWhole returns nil only when the whole file is on the disk, since racecar commits the
// offsets then.
func writeWhole(name string, text []byte) (err error) {
	f, err := os.Create(name + ".new")
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

func init() {
	racecar.Register(NewArchiveEventsConsumer, racecar.Spec{
		Subscriptions: []racecar.Subscription{{Topic: "events"}},
		FetchMessages: 500,
	})
}
