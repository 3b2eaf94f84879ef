//go:build lockorder

package locks

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
)

// Mutex is the mutex L, and checks that it is taken in order.
type Mutex[L Lock] struct{ mu sync.Mutex }

// Lock is that of sync.Mutex.
func (m *Mutex[L]) Lock() {
	var lock L
	held.take(lock.rank(), lock.String())
	m.mu.Lock()
}

// TryLock is that of sync.Mutex. It does not wait, so that the order is not its concern.
func (m *Mutex[L]) TryLock() bool {
	if !m.mu.TryLock() {
		return false
	}
	var lock L
	held.add(lock.rank(), lock.String())
	return true
}

// Unlock is that of sync.Mutex. Another goroutine may have locked it.
func (m *Mutex[L]) Unlock() {
	var lock L
	held.release(lock.rank())
	m.mu.Unlock()
}

// None ends the process when the goroutine holds a lock of the order.
func None() { held.take(0, "consumer code") }

// violated ends the process: a panic would be recovered where consumer code may panic.
var violated = func(text string) {
	fmt.Fprintf(os.Stderr, "locks: %s\n%s", text, debug.Stack())
	os.Exit(2)
}

// held are the locks of all goroutines.
var held = holders{by: map[uint64][]taken{}}

type taken struct {
	rank int
	name string
}

type holders struct {
	mu sync.Mutex
	by map[uint64][]taken // by goroutine
}

func (h *holders) take(rank int, name string) {
	id := goroutine()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, have := range h.by[id] {
		if have.rank >= rank {
			violated(fmt.Sprintf("%s is taken while %s is held", name, have.name))
		}
	}
	if rank > 0 {
		h.by[id] = append(h.by[id], taken{rank, name})
	}
}

func (h *holders) add(rank int, name string) {
	id := goroutine()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.by[id] = append(h.by[id], taken{rank, name})
}

func (h *holders) release(rank int) {
	id := goroutine()
	h.mu.Lock()
	defer h.mu.Unlock()
	is := func(t taken) bool { return t.rank == rank }
	if !slices.ContainsFunc(h.by[id], is) {
		for other, all := range h.by { // handed over
			if slices.ContainsFunc(all, is) {
				id = other
				break
			}
		}
	}
	if h.by[id] = slices.DeleteFunc(h.by[id], is); len(h.by[id]) == 0 {
		delete(h.by, id)
	}
}

// goroutine is the number of this one, as its stack begins: "goroutine 17 [".
func goroutine() uint64 {
	var buf [64]byte
	text := bytes.TrimPrefix(buf[:runtime.Stack(buf[:], false)], []byte("goroutine "))
	number, _, _ := bytes.Cut(text, []byte(" "))
	id, err := strconv.ParseUint(string(number), 10, 64)
	if err != nil {
		panic("locks: " + err.Error())
	}
	return id
}
