package supervisor

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/wire"
)

// Whoever dies with its workers says so, and for which consumers nothing is done before.
func TestWarnKilledTogether(t *testing.T) {
	for limit, want := range map[int64]string{
		0:         "set worker_memory_limit consumers=A",
		128 << 20: "worker_memory_limit replaces a worker before",
	} {
		log := logrus.New()
		var out bytes.Buffer
		log.SetOutput(&out)
		c := config.Default()
		c.WorkerMemoryLimit = limit
		s := &Supervisor{opts: Options{Log: logrus.NewEntry(log), Plan: wire.Plan{Consumers: []wire.Consumer{{Name: "A", Config: c}}}}}
		s.warnKilledTogether()
		if got := strings.ReplaceAll(out.String(), `"`, ""); !strings.Contains(got, want) || !strings.Contains(got, "memory.oom.group") {
			t.Errorf("limit %d: %s", limit, got)
		}
	}
}
