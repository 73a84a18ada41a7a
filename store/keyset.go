package store

import (
	"slices"
	"time"

	"github.com/millrace-dev/millrace"
)

// keyset is where a page of a list begins and which way it is read. Its
// queries take From as $1 and Limit as $2 and end in its order.
type keyset struct {
	From  millrace.ID
	Limit int
	up    bool
}

const (
	defaultPage = 20
	largestPage = 1000
)

// bounded brings a page's size into what is allowed.
func bounded(p millrace.Page) millrace.Page {
	if p.Size < 1 {
		p.Size = defaultPage
	}
	p.Size = min(p.Size, largestPage)
	return p
}

// keysetOf reads a page by one row more than asked for, which tells whether
// the list goes on.
func keysetOf(p millrace.Page) keyset {
	k := keyset{From: p.Cursor, Limit: p.Size + 1, up: p.Ascending != p.Backward}
	if p.Cursor == (millrace.ID{}) && !k.up {
		for i := range k.From {
			k.From[i] = 0xff
		}
	}
	return k
}

// order is how a query of this keyset ends.
func (k keyset) order() string {
	if k.up {
		return ` AND id > $1 ORDER BY id LIMIT $2`
	}
	return ` AND id < $1 ORDER BY id DESC LIMIT $2`
}

// listOf makes the page of the rows that its keyset read.
func listOf[T any](rows []T, p millrace.Page) millrace.List[T] {
	more := len(rows) > p.Size
	if more {
		rows = rows[:p.Size]
	}
	came := p.Cursor != (millrace.ID{})
	if p.Backward {
		slices.Reverse(rows)
		return millrace.List[T]{Items: rows, HasNext: came, HasPrev: more}
	}
	return millrace.List[T]{Items: rows, HasNext: more, HasPrev: came}
}

func idOrNull(id millrace.ID) *millrace.ID {
	if id == (millrace.ID{}) {
		return nil
	}
	return &id
}

func idOrZero(id *millrace.ID) millrace.ID {
	if id == nil {
		return millrace.ID{}
	}
	return *id
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func timeOrZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}
