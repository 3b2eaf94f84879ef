package quakes

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/racecar-go/racecar/racecar"
)

// Level is the severity of a quake.
type Level string

// The levels.
const (
	Noise    Level = "noise"    // no earthquake: a quarry blast, an explosion
	Quiet    Level = "quiet"    // below 3: only instruments notice
	Felt     Level = "felt"     // 3 and above: people nearby may feel it
	Moderate Level = "moderate" // 4.5 and above: an alert
	Strong   Level = "strong"   // 6 and above, or one that may raise a tsunami
)

// Alert reports whether people should be alerted.
func (l Level) Alert() bool { return l == Moderate || l == Strong }

// Assessment is the assessment of one quake.
type Assessment struct {
	ID        string    `json:"id"`
	Region    string    `json:"region"`
	Level     Level     `json:"level"`
	Magnitude float64   `json:"magnitude"`
	Place     string    `json:"place"`
	At        time.Time `json:"at"`
	Tsunami   bool      `json:"tsunami,omitempty"`
	Worker    int       `json:"worker"` // the index of the worker that made it
}

// QuakeAlertConsumer assesses each quake and produces the assessment.
type QuakeAlertConsumer struct {
	out    racecar.Producer
	worker int
}

// NewQuakeAlertConsumer returns a QuakeAlertConsumer.
func NewQuakeAlertConsumer(rt racecar.Runtime) (*QuakeAlertConsumer, error) {
	return &QuakeAlertConsumer{out: rt.Producer, worker: rt.Worker.Index}, nil
}

// Process assesses one quake. Racecar commits the quake's offset after the assessment is
// acknowledged, so no assessment is lost when a process is killed.
func (c *QuakeAlertConsumer) Process(ctx context.Context, m *racecar.Message) error {
	var q Quake
	if err := json.Unmarshal(m.Value, &q); err != nil {
		return racecar.Skip(fmt.Errorf("not a quake: %w", err)) // a retry would not help
	}
	a := Assess(q)
	a.Worker = c.worker
	value, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return c.out.Produce(ctx, racecar.ProducerMessage{Topic: Output, Key: []byte(a.Region), Value: value})
}

// Assess returns the severity of a quake.
func Assess(q Quake) Assessment {
	return Assessment{
		ID: q.ID, Region: q.Region(), Level: level(q),
		Magnitude: q.Magnitude, Place: q.Place, At: q.At(), Tsunami: q.Tsunami,
	}
}

func level(q Quake) Level {
	switch {
	case q.Type != "earthquake":
		return Noise
	case q.Magnitude >= 6 || q.Tsunami:
		return Strong
	case q.Magnitude >= 4.5:
		return Moderate
	case q.Magnitude >= 3:
		return Felt
	}
	return Quiet
}

func init() {
	racecar.Register(NewQuakeAlertConsumer, racecar.Spec{
		Subscriptions:   []racecar.Subscription{{Topic: Topic}},
		ParallelWorkers: 3,
	})
}
