package store

import (
	"slices"
	"strings"
	"testing"

	"github.com/millrace-dev/millrace"
)

// FuzzPages holds that whoever follows the cursors of a list sees each of its
// rows once and in order, from its start to its end and back again, whatever
// the size of a page and whichever end comes first.
func FuzzPages(f *testing.F) {
	f.Add([]byte("abcdefg"), 3, true)
	f.Add([]byte{255, 0, 1}, 1, false)
	f.Add([]byte{}, 0, false)
	f.Add([]byte("ab"), 2, true)
	f.Fuzz(func(t *testing.T, rows []byte, size int, ascending bool) {
		all := idsOf(rows)
		want := slices.Clone(all)
		if !ascending {
			slices.Reverse(want)
		}
		there, last := walk(t, all, bounded(millrace.Page{Size: size, Ascending: ascending}))
		if !slices.Equal(there, want) {
			t.Fatalf("%d rows by %d: on goes %v, want %v", len(all), size, there, want)
		}
		if last == (millrace.ID{}) {
			return // one page, or none
		}
		back, _ := walk(t, all, bounded(millrace.Page{Size: size, Ascending: ascending, Backward: true, Cursor: last}))
		slices.Reverse(back)
		if before := want[:slices.Index(want, last)]; !slices.Equal(back, before) {
			t.Fatalf("%d rows by %d: back from %s goes %v, want %v", len(all), size, last, back, before)
		}
	})
}

// idsOf are distinct ids in their order, among them neither the first nor the
// last that there could be: no row has it.
func idsOf(rows []byte) []millrace.ID {
	var all []millrace.ID
	for _, b := range rows[:min(len(rows), 200)] {
		all = append(all, millrace.ID{b, 6: 0x70, 8: 0x80, 15: b})
	}
	slices.SortFunc(all, compareIDs)
	return slices.Compact(all)
}

// walk follows the cursors to where they end, and answers the rows as they
// came, and the first row of the last page where there was more than one. Back,
// the rows of each page come last first.
func walk(t *testing.T, all []millrace.ID, p millrace.Page) (seen []millrace.ID, last millrace.ID) {
	t.Helper()
	for range len(all) + 1 {
		page := listOf(selected(all, keysetOf(p)), p)
		if more := p.Cursor != (millrace.ID{}); !p.Backward && page.HasPrev != more || p.Backward && page.HasNext != more {
			t.Fatalf("the page at %s says that there is more: %v, %v", p.Cursor, page.HasPrev, page.HasNext)
		}
		items := slices.Clone(page.Items)
		if len(items) > 0 && p.Cursor != (millrace.ID{}) {
			last = items[0]
		}
		goesOn := page.HasNext
		if p.Backward {
			goesOn = page.HasPrev
			slices.Reverse(items)
		}
		seen = append(seen, items...)
		if !goesOn {
			return seen, last
		}
		p.Cursor = items[len(items)-1]
	}
	t.Fatalf("the pages of %d rows do not end", len(all))
	return nil, last
}

// selected is what PostgreSQL would answer to the end of a keyset's query.
func selected(all []millrace.ID, k keyset) []millrace.ID {
	var rows []millrace.ID
	up := strings.Contains(k.order(), "id > $1 ORDER BY id LIMIT $2")
	for _, id := range all {
		if order := compareIDs(id, k.From); up && order > 0 || !up && order < 0 {
			rows = append(rows, id)
		}
	}
	if !up {
		slices.Reverse(rows)
	}
	return rows[:min(len(rows), k.Limit)]
}
