package producerevent

import "testing"

// In a program without package event subscribers get events that have their names.
func TestReportWithoutPackageEvent(t *testing.T) {
	if e := (Report{Name: "produce_sync"}).Event(); e.EventName() != "produce_sync" {
		t.Errorf("%s", e.EventName())
	}
}
