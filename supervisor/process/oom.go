package process

// OOMWatch follows the count of out-of-memory kills. It remembers the last two
// counts: a death just before the last one may not have been reported yet.
type OOMWatch struct {
	updates      int
	older, newer uint64
}

// Update reads the count.
func (w *OOMWatch) Update(sp Spawner) {
	n, ok := sp.OutOfMemoryKills()
	if !ok {
		w.updates = 0
		return
	}
	w.older, w.newer = w.newer, n
	if w.updates == 0 {
		w.older = n
	}
	w.updates++
}

// Claim reports whether there was such a kill since the last update but one, and
// uses it up: one kill explains one death.
func (w *OOMWatch) Claim(sp Spawner) bool {
	n, ok := sp.OutOfMemoryKills()
	if !ok || w.updates == 0 || n <= w.older {
		return false
	}
	w.older++
	w.newer = max(w.newer, w.older)
	return true
}
