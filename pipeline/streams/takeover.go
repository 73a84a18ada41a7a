package streams

// beginClaim begins to note what is acked, for pushAgain.
func (w *window) beginClaim() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.claims++; w.claims == 1 {
		w.ackedInClaim = map[string]bool{}
	}
}

func (w *window) endClaim() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.claims--; w.claims == 0 {
		w.ackedInClaim = nil
	}
}

// pushAgain takes in what was taken over from others. It goes first: it has waited for a lease already. What was our own, and acked since Redis gave it, is over.
func (w *window) pushAgain(entries []*entry) (fresh int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range entries {
		if !w.ackedInClaim[e.key+"/"+e.id] && w.admit(e) {
			w.again[e.lane].push(e)
			fresh++
		}
	}
	w.kick()
	return fresh
}

// claimable returns how many entries may be taken over from others now.
func (w *window) claimable() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.waiting) >= w.maxWaiting {
		return 0
	}
	return w.size - w.again[Live].len() - w.again[Bulk].len()
}
