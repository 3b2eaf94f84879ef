package consumers

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/racecar-go/racecar/racecar"
)

// Event is a line of an events file.
type Event struct {
	Name string          `json:"name"`
	Body json.RawMessage `json:"body"` // without errors, which are no JSON
}

// record appends e to this process's file in dir.
func record(dir string, e racecar.Event) {
	body, err := json.Marshal(e)
	if err != nil {
		panic(err) // tests look for what is missing
	}
	line, err := json.Marshal(Event{e.EventName(), body})
	if err != nil {
		panic(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("%d.events", os.Getpid())), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		panic(err)
	}
	_, werr := f.Write(append(line, '\n'))
	if cerr := f.Close(); werr != nil || cerr != nil {
		panic(fmt.Sprint(werr, cerr))
	}
}
