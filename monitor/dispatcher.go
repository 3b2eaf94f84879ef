package monitor

import (
	"github.com/racecar-go/racecar/internal/dispatch"
	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecar/event"
)

// emitTo returns a function that queues an event for subscribers.
func emitTo(d *dispatch.Dispatcher[racecar.Event]) func(racecar.Event) {
	return func(e racecar.Event) {
		// The worker counts attempts in a message that it retries, which a subscriber may
		// still be reading.
		switch p := e.(type) {
		case event.StartProcessMessage:
			m := *p.Message
			p.Message = &m
			e = p
		case event.ProcessMessage:
			m := *p.Message
			p.Message = &m
			e = p
		}
		d.Emit(e)
	}
}
