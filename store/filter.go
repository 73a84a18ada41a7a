package store

import (
	"strconv"
	"strings"
	"time"

	"github.com/millrace-dev/millrace"
)

// listFilter is the WHERE clause of a list: fixed fragments, whose values are
// parameters. The first two are the keyset's.
type listFilter struct {
	clauses []string
	args    []any
}

func newListFilter(k keyset) *listFilter { return &listFilter{args: []any{k.From, k.Limit}} }

// add narrows the list. Each ? in the fragment is the next of the values.
func (f *listFilter) add(fragment string, values ...any) {
	var clause strings.Builder
	for part := range strings.SplitSeq(fragment, "?") {
		if clause.Len() > 0 {
			f.args = append(f.args, values[0])
			values = values[1:]
			clause.WriteString("$" + strconv.Itoa(len(f.args)))
		}
		clause.WriteString(part)
	}
	f.clauses = append(f.clauses, clause.String())
}

// between narrows the list to ids of a time: from since on, before until.
func (f *listFilter) between(since, until time.Time) {
	if !since.IsZero() {
		f.add(`id >= ?`, millrace.FloorID(since))
	}
	if !until.IsZero() {
		f.add(`id < ?`, millrace.FloorID(until))
	}
}

func (f *listFilter) where() string { return strings.Join(f.clauses, " AND ") }
