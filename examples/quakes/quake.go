// Package quakes is a consumer that produces earthquake alerts, with a week of real earthquakes as
// its input. `racecar demo` runs it. README.md names the source of the data.
package quakes

import (
	"bytes"
	"compress/gzip"
	_ "embed" // for the week of earthquakes
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Topic has the quakes, Output the assessments.
const (
	Topic  = "quakes"
	Output = "quake-alerts"
)

// Quake is one event of the feed.
type Quake struct {
	ID        string  `json:"id"`
	Time      int64   `json:"time"` // milliseconds since 1970
	Magnitude float64 `json:"magnitude"`
	Place     string  `json:"place"` // "22km NNE of Hualian, Taiwan"
	Type      string  `json:"type"`  // earthquake, explosion, quarry blast
	Longitude float64 `json:"longitude"`
	Latitude  float64 `json:"latitude"`
	Depth     float64 `json:"depth"`   // km; above sea level it is negative
	Tsunami   bool    `json:"tsunami"` // the feed says that a tsunami is possible
}

// At returns the time of the quake.
func (q Quake) At() time.Time { return time.UnixMilli(q.Time).UTC() }

// states has the states that the feed sometimes abbreviates.
var states = map[string]string{"CA": "California", "NV": "Nevada", "MX": "Mexico"}

// Region returns the part of Place that names a state of the United States, a country or a
// sea.
func (q Quake) Region() string {
	region := q.Place
	if i := strings.LastIndex(region, ", "); i >= 0 {
		region = region[i+2:]
	} else if i := strings.Index(region, " of "); i >= 0 {
		region = region[i+4:]
	}
	region = strings.TrimSuffix(strings.TrimPrefix(region, "the "), " region")
	if full, ok := states[region]; ok {
		return full
	}
	return region
}

//go:embed earthquakes.jsonl.gz
var week []byte

// Week returns the earthquakes of the package, in order of time.
func Week() ([]Quake, error) {
	z, err := gzip.NewReader(bytes.NewReader(week))
	if err != nil {
		return nil, fmt.Errorf("earthquakes.jsonl.gz: %w", err)
	}
	var all []Quake
	for d := json.NewDecoder(z); ; {
		var q Quake
		switch err := d.Decode(&q); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("earthquakes.jsonl.gz: event %d: %w", len(all), err)
		}
		all = append(all, q)
	}
}
