package httpapi

import (
	"testing"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

func TestPagination(t *testing.T) {
	id := millrace.NewID(testNow)
	for rule, c := range map[string]struct {
		query string
		want  millrace.Page
	}{
		"by itself it is the first":           {"", millrace.Page{Size: 20}},
		"what Convoy's clients send for none": {"?perPage=0&next_page_cursor=FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF&prev_page_cursor=", millrace.Page{Size: 20}},
		"the next":                            {"?perPage=1000&direction=next&next_page_cursor=" + id.String(), millrace.Page{Size: 1000, Cursor: id}},
		"the previous":                        {"?direction=prev&prev_page_cursor=" + id.String(), millrace.Page{Size: 20, Cursor: id, Backward: true}},
		"the way is told by the cursor":       {"?prev_page_cursor=" + id.String(), millrace.Page{Size: 20, Cursor: id, Backward: true}},
		"the oldest first":                    {"?sort=asc", millrace.Page{Size: 20, Ascending: true}},
	} {
		t.Run(rule, func(t *testing.T) {
			a := newAPI(t)
			a.call("GET", "events"+c.query, "").want(200)
			equal(t, "the page", a.store.asked.(millrace.EventQuery).Page, c.want)
		})
	}
}

func TestPageIsShown(t *testing.T) {
	a := newAPI(t)
	first, last := millrace.NewID(testNow), millrace.NewID(testNow)
	var x, y millrace.EventRecord
	x.ID, y.ID = first, last
	a.store.events, a.store.hasNext = []millrace.EventRecord{x, y}, true
	var out pageOut[map[string]any]
	a.call("GET", "events?perPage=2", "").wantInto(200, &out)
	equal(t, "the rows", len(out.Content), 2)
	equal(t, "the pagination", out.Pagination, paginationOut{PerPage: 2, HasNextPage: true, NextPageCursor: last.String()})

	a.store.hasNext, a.store.hasPrev = false, true
	a.call("GET", "events", "").wantInto(200, &out)
	equal(t, "the pagination", out.Pagination, paginationOut{PerPage: 20, HasPrevPage: true, PrevPageCursor: first.String()})

	a.store.events = nil
	ans := a.call("GET", "events", "")
	ans.wantInto(200, &out)
	equal(t, "an empty page is a list", string(ans.body.Data[:13]), `{"content":[]`)
}

func TestQueryRefuses(t *testing.T) {
	for query, field := range map[string]string{
		"perPage=1001": "perPage", "perPage=-1": "perPage", "perPage=x": "perPage", "direction=up": "direction", "sort=random": "sort",
		"next_page_cursor=7": "next_page_cursor", "endpointId=7": "endpointId", "startDate=yesterday": "startDate", "query=x": "query", "body={}": "body",
		"startDate=2026-01-02&endDate=2026-01-01": "endDate",
	} {
		newAPI(t).call("GET", "events?"+query, "").refused(millrace.CodeInvalid, field)
	}
	newAPI(t).call("GET", "eventdeliveries?status=Done", "").refused(millrace.CodeInvalid, "status")
	newAPI(t).call("GET", "events?perPage=x&sort=y", "").refused(millrace.CodeInvalid, "perPage", "sort")
}

func TestPeriod(t *testing.T) {
	day := func(d int) time.Time { return time.Date(2026, 11, d, 0, 0, 0, 0, time.UTC) }
	for rule, c := range map[string]struct {
		query        string
		since, until time.Time
	}{
		"without dates it is the last 7 days":     {"", testNow.Add(-7 * 24 * time.Hour), time.Time{}},
		"the year 1 is no date":                   {"?startDate=0001-01-01T00:00:00&endDate=0001-01-01T00:00:00", testNow.Add(-7 * 24 * time.Hour), time.Time{}},
		"without a start it is 7 days to the end": {"?endDate=2026-11-20T00:00:00", day(13), day(20)},
		"without an end it is up to now":          {"?startDate=2026-11-01T00:00:00", day(1), time.Time{}},
		"in both forms":                           {"?startDate=2026-11-01T02:00:00%2B02:00&endDate=2026-11-02", day(1), day(2)},
	} {
		t.Run(rule, func(t *testing.T) {
			a := newAPI(t)
			a.call("GET", "events"+c.query, "").want(200)
			q := a.store.asked.(millrace.EventQuery)
			equal(t, "since", q.Since, c.since)
			equal(t, "until", q.Until, c.until)
		})
	}
}

func TestEventFilters(t *testing.T) {
	a := newAPI(t)
	x, y := millrace.NewID(testNow), millrace.NewID(testNow)
	a.call("GET", "events?eventType=a&eventType=b&sourceId="+x.String()+"&endpointId="+x.String()+"&endpointId=&endpointId="+y.String()+
		"&ownerId=o&idempotencyKey=k&brokerMessageId=m&query=&body=", "").want(200)
	q := a.store.asked.(millrace.EventQuery)
	if len(q.Types) != 2 || len(q.SourceIDs) != 1 || len(q.EndpointIDs) != 2 || q.EndpointIDs[1] != y {
		t.Errorf("asked %+v", q)
	}
	equal(t, "the rest", [4]string{q.ProjectID.String(), q.OwnerID, q.IdempotencyKey, q.BrokerMessageID}, [4]string{a.project.String(), "o", "k", "m"})
}
