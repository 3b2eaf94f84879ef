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

// Entry is an entry of a message set, of format 0 or 1.
func Entry(offset int64, format byte, timestamp int64, value string) []byte {
	return entry(offset, format, 0, timestamp, nil, []byte(value))
}
