package streams

// room is how many entries of each lane there is place for. Bulk is also limited by live's.
type room struct{ live, bulk int }

func (r room) covers(want room) bool { return r.live >= want.live && r.bulk >= want.bulk }

// seat is a reader at the window. All readers fill the same room: each asks for its part of it, and they are served in the order in which they asked.
type seat struct {
	freed chan struct{} // told when what was asked for has become free, and it is this one's turn

	// Guarded by the window.
	want   room
	queued bool
	full   bool // its last read brought all that it asked for
	more   bool // its stream has more live entries than the last read brought
}

// sit gives a reader its seat.
func (w *window) sit() *seat {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seats++
	return &seat{freed: make(chan struct{}, 1)}
}

// stand takes the seat back.
func (w *window) stand(s *seat) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(s, false, false)
	w.unqueue(s)
	w.seats--
	w.kick() // bulk may have waited for its live entries
	w.tell()
}

// note keeps what the last read from a seat told of its stream.
func (w *window) note(s *seat, full, more bool) {
	count := func(n *int, was, is bool) {
		if was {
			*n--
		}
		if is {
			*n++
		}
	}
	count(&w.hungry, s.full, full)
	count(&w.backlogged, s.more, more)
	s.full, s.more = full, more
}

// ask returns a seat's part of the room that there is. It reports false if that is less than what is wanted, or others have waited for longer; then freed is told.
func (w *window) ask(s *seat, want room) (room, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.want = want
	r := w.space()
	if !r.covers(want) || len(w.queue) > 0 && w.queue[0] != s {
		if !s.queued {
			s.queued = true
			w.queue = append(w.queue, s)
		}
		w.tell()
		return room{}, false
	}
	w.unqueue(s)
	w.tell()
	return w.part(s, r), true
}

// part divides r. A reader that is about to wait in Redis gets its share of all slots, because others wait with theirs; one that knows of a backlog gets its share
// of what is free now.
func (w *window) part(s *seat, r room) room {
	if s.full {
		return room{live: max(1, r.live/w.hungry), bulk: divide(r.bulk, w.hungry)}
	}
	return room{live: min(r.live, max(1, w.size/w.seats)), bulk: min(r.bulk, max(1, w.bulkSize/w.seats))}
}

// divide leaves what is no room as it is.
func divide(room, parts int) int {
	if room < 1 {
		return room
	}
	return max(1, room/parts)
}

func (w *window) unqueue(s *seat) {
	if !s.queued {
		return
	}
	s.queued = false
	for i, other := range w.queue {
		if other == s {
			w.queue = append(w.queue[:i], w.queue[i+1:]...)
			return
		}
	}
}

// tell lets the reader go on that has waited for longest, if there is the room it waits for.
func (w *window) tell() {
	if len(w.queue) == 0 || !w.space().covers(w.queue[0].want) {
		return
	}
	select {
	case w.queue[0].freed <- struct{}{}:
	default:
	}
}

func (w *window) space() room {
	if len(w.waiting) >= w.maxWaiting {
		return room{}
	}
	bulkFree := w.bulkSize - w.runningBulk
	free := w.size - w.running - w.live.len() - w.again[Live].len() - min(bulkFree, w.again[Bulk].len())
	return room{live: free, bulk: min(free, bulkFree-w.again[Bulk].len()) - w.bulk.len()}
}
