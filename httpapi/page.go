package httpapi

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// Bounds of a page.
const (
	defaultPerPage = 20
	maxPerPage     = 1000
)

// lookBack is how far a list without a start date reaches.
const lookBack = 7 * 24 * time.Hour

// pageOut is one page of a list, as in Convoy.
type pageOut[T any] struct {
	Content    []T           `json:"content"`
	Pagination paginationOut `json:"pagination"`
}

type paginationOut struct {
	PerPage        int    `json:"per_page"`
	HasNextPage    bool   `json:"has_next_page"`
	HasPrevPage    bool   `json:"has_prev_page"`
	NextPageCursor string `json:"next_page_cursor"`
	PrevPageCursor string `json:"prev_page_cursor"`
}

// newPage makes the answer of a page's rows. A cursor is there where there is
// something behind it.
func newPage[T, Out any](p millrace.Page, l millrace.List[T], id func(T) millrace.ID, out func(T) Out) pageOut[Out] {
	page := pageOut[Out]{
		Content:    make([]Out, len(l.Items)),
		Pagination: paginationOut{PerPage: p.Size, HasNextPage: l.HasNext, HasPrevPage: l.HasPrev},
	}
	for i, item := range l.Items {
		page.Content[i] = out(item)
	}
	if n := len(l.Items); n > 0 {
		if l.HasNext {
			page.Pagination.NextPageCursor = id(l.Items[n-1]).String()
		}
		if l.HasPrev {
			page.Pagination.PrevPageCursor = id(l.Items[0]).String()
		}
	}
	return page
}

// query reads a call's query parameters and collects what is wrong with them.
type query struct {
	values url.Values
	faults []error
}

func (c *call) query() *query { return &query{values: c.r.URL.Query()} }

func (q *query) err() error { return millrace.JoinFaults(q.faults...) }

func (q *query) fault(field, format string, args ...any) {
	q.faults = append(q.faults, millrace.Invalid(field, format, args...))
}

func (q *query) text(name string) string { return strings.TrimSpace(q.values.Get(name)) }

// texts reads a repeatable parameter; empty ones are none.
func (q *query) texts(name string) []string {
	var given []string
	for _, v := range q.values[name] {
		if v = strings.TrimSpace(v); v != "" {
			given = append(given, v)
		}
	}
	return given
}

// oneOf reads a repeatable parameter of a closed list.
func (q *query) oneOf(name string, list []string) []string {
	given := q.texts(name)
	for _, v := range given {
		if !slices.Contains(list, v) {
			q.fault(name, "must be one of %s, not %q", strings.Join(list, ", "), v)
		}
	}
	return given
}

func (q *query) id(name string) millrace.ID {
	if ids := q.ids(name); len(ids) > 0 {
		return ids[0]
	}
	return millrace.ID{}
}

func (q *query) ids(name string) []millrace.ID {
	var ids []millrace.ID
	for _, v := range q.texts(name) {
		id, err := millrace.ParseID(v)
		if err != nil {
			q.fault(name, "must be an id, not %q", v)
			continue
		}
		ids = append(ids, id)
	}
	return ids
}

// time reads a moment. Clients of Convoy send the year 1 for none.
func (q *query) time(name string) time.Time {
	v := q.text(name)
	if v == "" {
		return time.Time{}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, v); err == nil {
			if t.Year() <= 1 {
				return time.Time{}
			}
			return t.UTC()
		}
	}
	q.fault(name, "must be a time such as 2006-01-02T15:04:05Z, not %q", v)
	return time.Time{}
}

// period reads startDate and endDate. Without a start, it is the last days
// before the end, or before now.
func (q *query) period(now time.Time) (since, until time.Time) {
	since, until = q.time("startDate"), q.time("endDate")
	switch {
	case since.IsZero() && until.IsZero():
		since = now.Add(-lookBack)
	case since.IsZero():
		since = until.Add(-lookBack)
	case !until.IsZero() && until.Before(since):
		q.fault("endDate", "must not be before startDate")
	}
	return since, until
}

// page reads which page is asked for. Which way it goes is said by direction,
// or else by the cursor that is there.
func (q *query) page() millrace.Page {
	p := millrace.Page{Size: q.number("perPage", defaultPerPage, 1, maxPerPage)}
	switch sort := q.text("sort"); strings.ToUpper(sort) {
	case "", "DESC":
	case "ASC":
		p.Ascending = true
	default:
		q.fault("sort", "must be ASC or DESC, not %q", sort)
	}
	next, prev := q.cursor("next_page_cursor"), q.cursor("prev_page_cursor")
	switch direction := q.text("direction"); direction {
	case "next":
		p.Cursor = next
	case "prev":
		p.Cursor, p.Backward = prev, true
	case "":
		p.Cursor = next
		if none := (millrace.ID{}); next == none && prev != none {
			p.Cursor, p.Backward = prev, true
		}
	default:
		q.fault("direction", "must be next or prev, not %q", direction)
	}
	return p
}

// cursor reads a cursor; Convoy's clients send the highest id for none.
func (q *query) cursor(name string) millrace.ID {
	if strings.EqualFold(q.text(name), "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF") {
		return millrace.ID{}
	}
	return q.id(name)
}

// number reads a whole number; a zero is none, as some clients send it.
func (q *query) number(name string, otherwise, least, most int) int {
	v := q.text(name)
	if v == "" || v == "0" {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		q.fault(name, "must be between %d and %d, not %q", least, most, v)
		return otherwise
	}
	return n
}

// flag reads a parameter that is on or off.
func (q *query) flag(name string) bool {
	v := q.text(name)
	on, err := strconv.ParseBool(v)
	if v != "" && err != nil {
		q.fault(name, "must be true or false, not %q", v)
	}
	return on
}
