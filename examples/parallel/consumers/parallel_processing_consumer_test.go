package consumers

import (
	"testing"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
)

func TestParallelProcessingConsumer(t *testing.T) {
	result := racecartest.Run(t, NewParallelProcessingConsumer, []*racecar.Message{{Value: []byte("x")}})
	if err := result.Err(); err != nil {
		t.Error(err)
	}
}
