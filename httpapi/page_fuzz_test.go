package httpapi

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	millrace "github.com/millrace-dev/millrace"
)

// FuzzListQuery holds of any query string: a page that is asked for is within
// bounds; what is refused is refused by the name of a parameter that is there;
// and the cursors of a page lead where they say, on or back, in the same order
// and size.
func FuzzListQuery(f *testing.F) {
	const id = "019e0b3c-7e80-7000-8000-0000000000ff"
	for _, seed := range []string{
		"", "perPage=1000&sort=asc", "perPage=0&direction=next", "next_page_cursor=" + id, "prev_page_cursor=" + id + "&sort=DESC", "direction=prev&prev_page_cursor=" + id,
		"next_page_cursor=FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF&prev_page_cursor=" + id, "next_page_cursor=" + id + "&prev_page_cursor=" + id,
		"startDate=2024-01-02&endDate=2024-01-01T00:00:00Z", "endDate=0001-01-01T00:00:00Z", "startDate=9999-12-31T23:59:59.999999999-14:00",
		"perPage=%31%30&sort=%00", "perPage=-1&sort=up&direction=down&next_page_cursor=x", "a=%zz&perPage=5;b", "endpointId=" + id + "&endpointId=x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		values, _ := url.ParseQuery(raw) // as the server does: what cannot be read is not there
		q := query{values: values}
		p := q.page()
		since, until := q.period(testNow)
		q.ids("endpointId")
		if p.Size < 1 || p.Size > maxPerPage || since.IsZero() {
			t.Errorf("%q asks for %+v from %s", raw, p, since)
		}
		if err := q.err(); err != nil {
			wantParameters(t, raw, values, err)
			return
		}
		if !until.IsZero() && until.Before(since) {
			t.Errorf("%q is taken for %s to %s", raw, since, until)
		}
		list := millrace.List[millrace.ID]{Items: []millrace.ID{{15: 1}, {15: 2}}, HasNext: true, HasPrev: true}
		shown := newPage(p, list, func(id millrace.ID) millrace.ID { return id }, millrace.ID.String).Pagination
		order := url.Values{"perPage": values["perPage"], "sort": values["sort"]}
		on := asked(order, "next_page_cursor", shown.NextPageCursor)
		back := asked(order, "prev_page_cursor", shown.PrevPageCursor)
		if want := (millrace.Page{Size: p.Size, Cursor: millrace.ID{15: 2}, Ascending: p.Ascending}); on != want {
			t.Errorf("%q: the next page is %+v, want %+v", raw, on, want)
		}
		if want := (millrace.Page{Size: p.Size, Cursor: millrace.ID{15: 1}, Ascending: p.Ascending, Backward: true}); back != want {
			t.Errorf("%q: the page before is %+v, want %+v", raw, back, want)
		}
	})
}

func asked(order url.Values, cursor, at string) millrace.Page {
	q := query{values: url.Values{"perPage": order["perPage"], "sort": order["sort"], cursor: {at}}}
	return q.page()
}

func wantParameters(t *testing.T, raw string, values url.Values, refused error) {
	t.Helper()
	var e *millrace.Error
	if !errors.As(refused, &e) || e.Code != millrace.CodeInvalid || len(e.Fields) == 0 {
		t.Fatalf("%q is refused with %v", raw, refused)
	}
	for _, fault := range e.Fields {
		if len(values[fault.Field]) == 0 || strings.TrimSpace(strings.Join(values[fault.Field], "")) == "" {
			t.Errorf("%q: refused is %s, which is not there", raw, fault.Field)
		}
	}
}
