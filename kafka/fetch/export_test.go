package fetch

import "time"

// SetUntouched shortens how long nobody has to take from a partition before what waits in it
// is dropped for others.
func (f *Fetcher) SetUntouched(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.untouched = d
}

// Used is how much of the budget is used, and its limit.
func (f *Fetcher) Used() (used, limit int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used, f.limit
}
