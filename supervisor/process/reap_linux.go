package process

import (
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// As PID 1 of a container we become the parent of every process whose parent has exited,
// and have to reap it. wait(-1) would also reap our workers, for which other goroutines
// wait. So an unknown child that has exited is reaped by its pid, after orphanAge: code in
// this process may have started it and be about to wait for it.

// orphanAge is how long an unknown zombie is not reaped.
const orphanAge = 5 * time.Second

// zombie names a process.
type zombie struct {
	pid     int
	started uint64
}

// Reaper remembers the zombies that it has seen.
type Reaper struct {
	since map[zombie]time.Time
}

// Reap reaps unknown zombies that have been there long enough. It returns when to
// call it again; zero: at the next SIGCHLD.
func (r *Reaper) Reap(now time.Time, known map[int]bool) (reaped []int, again time.Time) {
	seen := map[zombie]time.Time{}
	for _, z := range Zombies() {
		if known[z.pid] {
			continue
		}
		since, old := r.since[z]
		if !old {
			since = now
		}
		if now.Sub(since) < orphanAge {
			seen[z] = since
			if at := since.Add(orphanAge); again.IsZero() || at.Before(again) {
				again = at
			}
			continue
		}
		if _, err := unix.Wait4(z.pid, nil, unix.WNOHANG, nil); err == nil {
			reaped = append(reaped, z.pid)
		}
	}
	r.since = seen
	return reaped, again
}

// Zombies lists our children that have exited and were not reaped.
func Zombies() []zombie {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var list []zombie
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // gone
		}
		if st, err := parseStat(b); err == nil && st.state == 'Z' && st.ppid == os.Getpid() {
			list = append(list, zombie{pid, st.started})
		}
	}
	return list
}
