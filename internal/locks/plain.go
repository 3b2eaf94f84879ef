//go:build !lockorder

package locks

import "sync"

// Mutex is the mutex L.
type Mutex[L Lock] struct{ sync.Mutex }

// None is called where no lock of the order may be held.
func None() {}
