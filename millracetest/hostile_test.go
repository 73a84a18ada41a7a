package millracetest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/misbehave"
)

// What is promised of receivers that misbehave, times five where it is a time.
const (
	hostileDeadline = 2 * time.Second
	mostOvershoot   = 5 * 200 * time.Millisecond
	mostBody        = 64 << 10
	bodyTime        = time.Second
)

// hostile is an endpoint that misbehaves, subscribed to everything.
type hostile struct {
	gw       *Gateway
	mode     misbehave.Mode
	endpoint string
	// end ends the server, and waits until it has.
	end func()

	mu    sync.Mutex
	calls []misbehave.Call
}

// again is the schedule of a hostile endpoint: one try, and another when the
// test is over.
const again = 200 * time.Second

func (g *Gateway) hostile(m misbehave.Mode) *hostile {
	g.t.Helper()
	h := &hostile{gw: g, mode: m}
	server, err := misbehave.New(m, misbehave.Watch{Ended: h.keep})
	if err != nil {
		g.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		g.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, l) }()
	h.end = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			g.t.Error(err)
		}
	})
	g.t.Cleanup(h.end)
	var made struct{ UID string }
	g.Must(http.MethodPost, "/endpoints", map[string]any{
		"name": m, "url": m.URL(l.Addr().String()), "http_timeout": int(hostileDeadline.Seconds()),
		"strategy": map[string]any{"type": "list", "schedule": []int{0, int(again.Seconds())}},
	}, &made)
	h.endpoint = made.UID
	g.Must(http.MethodPost, "/subscriptions", map[string]any{"name": m, "endpoint_id": made.UID}, nil)
	return h
}

func (h *hostile) keep(c misbehave.Call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, c)
}

// requests are those that are over.
func (h *hostile) requests() (all []misbehave.Call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.calls {
		if c.Request != nil {
			all = append(all, c)
		}
	}
	return all
}

// tried is an attempt on record, with what was decided.
type tried struct {
	outcome             millrace.Outcome
	decided             string
	code, body          int
	says, location      string
	latency, retryAfter time.Duration
	next                time.Duration // from the fact to the next try
}

// tried waits until so many attempts are on record.
func (h *hostile) tried(n int) []tried {
	h.gw.t.Helper()
	var all []tried
	eventually(h.gw.t, fmt.Sprintf("%s: %d attempts are on record", h.mode, n), func() (err error) {
		if all, err = h.record(); err == nil && len(all) != n {
			err = fmt.Errorf("%d are: %+v", len(all), all)
		}
		return err
	})
	return all
}

func (h *hostile) record() (all []tried, err error) {
	rows, err := h.gw.db.Query(`SELECT f.outcome, f.decided, coalesce(f.status_code, 0), coalesce(octet_length(f.body), 0), coalesce(f.error, ''),
			coalesce(f.response_headers #>> '{Location,0}', ''), coalesce(f.latency, 0), coalesce(f.retry_after, 0),
			coalesce(extract(epoch FROM f.next_attempt_at - f.at), 0)::float8
		FROM facts f JOIN deliveries d ON d.id = f.delivery_id WHERE d.endpoint_id = $1 AND f.kind = 'attempted' ORDER BY f.id`, h.endpoint)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err says what there is to say
	for rows.Next() {
		var a tried
		var next float64
		if err := rows.Scan(&a.outcome, &a.decided, &a.code, &a.body, &a.says, &a.location, &a.latency, &a.retryAfter, &next); err != nil {
			return nil, err
		}
		a.next = time.Duration(next * float64(time.Second))
		all = append(all, a)
	}
	return all, rows.Err()
}

// on is what is to be on record of an attempt; some stands for a body that is
// not empty.
type on struct {
	outcome    millrace.Outcome
	code, body int
	says       string
}

const some = -1

// endure sends one event to an endpoint of each mode, and holds what is on
// record of it: one attempt, for no more than one request.
func endure(t *testing.T, wants map[misbehave.Mode]on) (map[misbehave.Mode]*hostile, map[misbehave.Mode]tried) {
	t.Helper()
	gw, all, got := New(t), map[misbehave.Mode]*hostile{}, map[misbehave.Mode]tried{}
	for mode := range wants {
		all[mode] = gw.hostile(mode)
	}
	gw.Send(Event("order.paid"))
	for mode, want := range wants {
		a := all[mode].tried(1)[0]
		got[mode] = a
		if a.outcome != want.outcome || a.code != want.code || !strings.Contains(a.says, want.says) {
			t.Errorf("%s: the attempt is %+v, want %+v", mode, a, want)
		}
		if a.body > mostBody || a.body != want.body && (want.body != some || a.body == 0) {
			t.Errorf("%s: %d bytes of the body were kept, want %d", mode, a.body, want.body)
		}
		if success := want.outcome.Success(); success != (a.says == "") || success != (a.decided == "delivered") {
			t.Errorf("%s: it is %s, and %q was decided", mode, want.outcome, a.decided)
		}
		if n := len(all[mode].requests()); n > 1 {
			t.Errorf("%s: %d requests came for one attempt", mode, n)
		}
	}
	return all, got
}

func TestReceiversThatTakeTooLong(t *testing.T) {
	t.Parallel()
	late := on{millrace.OutcomeTimeout, 0, 0, "did not answer within the deadline"}
	wants := map[misbehave.Mode]on{
		misbehave.Deaf: late, misbehave.Hang: late, misbehave.DripHeader: late, misbehave.DripLine: late, misbehave.DripHints: late,
		misbehave.DripBody:  {millrace.OutcomeSuccess, 200, some, ""},
		misbehave.StallBody: {millrace.OutcomeSuccess, 200, 0, ""},
	}
	all, got := endure(t, wants)
	for mode, want := range wants {
		least, most := hostileDeadline, hostileDeadline+mostOvershoot
		if want.outcome.Success() {
			least, most = 0, bodyTime+mostOvershoot
		}
		if took := got[mode].latency; took < least || took > most {
			t.Errorf("%s: it took %s, want %s to %s", mode, took, least, most)
		}
		if mode == misbehave.Deaf {
			continue // which does not hear the gateway leave
		}
		if took := all[mode].request().Took; took > most {
			t.Errorf("%s: the gateway was there for %s, want at most %s", mode, took, most)
		}
	}
}

// request waits until one is over.
func (h *hostile) request() misbehave.Call {
	h.gw.t.Helper()
	eventually(h.gw.t, fmt.Sprintf("%s: a request is over", h.mode), func() error {
		if len(h.requests()) == 0 {
			return errNotYet
		}
		return nil
	})
	return h.requests()[0]
}

func TestReceiversThatSendTooMuch(t *testing.T) {
	t.Parallel()
	bomb := on{millrace.OutcomeBadResponse, 0, 0, "not valid HTTP"}
	all, _ := endure(t, map[misbehave.Mode]on{
		misbehave.EndlessBody:   {millrace.OutcomeSuccess, 200, mostBody, ""},
		misbehave.EndlessChunks: {millrace.OutcomeSuccess, 200, mostBody, ""},
		misbehave.EndlessError:  {millrace.OutcomeServerError, 500, mostBody, "500"},
		misbehave.GzipBomb:      {millrace.OutcomeSuccess, 200, mostBody, ""},
		misbehave.EndlessHeader: bomb, misbehave.HeaderBomb: bomb,
	})
	for mode, h := range all { // none of it flows on into the gateway
		if sent := h.request().Sent; sent > 64<<20 {
			t.Errorf("%s: the gateway took %d bytes", mode, sent)
		}
	}
}

func TestReceiversThatEndTooEarly(t *testing.T) {
	t.Parallel()
	cut := on{millrace.OutcomeReset, 0, 0, "closed before the answer's headers were complete"}
	endure(t, map[misbehave.Mode]on{
		misbehave.Close: cut, misbehave.Reset: cut, misbehave.CutHeader: cut,
		misbehave.CutBody:     {millrace.OutcomeSuccess, 200, 3, ""},
		misbehave.CloseIdle:   {millrace.OutcomeSuccess, 200, 0, ""},
		misbehave.CloseReused: {millrace.OutcomeSuccess, 200, 0, ""},
	})
}

// TestNoRequestIsSentTwiceForOneAttempt holds where it is most tempting: on
// connections that had been good.
func TestNoRequestIsSentTwiceForOneAttempt(t *testing.T) {
	t.Parallel()
	gw := New(t)
	idle, reused := gw.hostile(misbehave.CloseIdle), gw.hostile(misbehave.CloseReused)
	const times = 6
	for n := 1; n <= times; n++ {
		gw.Send(Event("order.paid"))
		for _, h := range []*hostile{idle, reused} {
			h.tried(n)
			if came := len(h.requests()); came != n {
				t.Fatalf("%s: %d requests came for %d attempts", h.mode, came, n)
			}
		}
	}
	for i, a := range reused.tried(times) {
		want := millrace.OutcomeSuccess
		if i%2 == 1 {
			want = millrace.OutcomeReset
		}
		if a.outcome != want {
			t.Errorf("attempt %d is %+v, want %s", i+1, a, want)
		}
	}
}

func TestReceiversThatAskForTime(t *testing.T) {
	t.Parallel()
	const day, policy = 24 * time.Hour, 0
	wants, next := map[misbehave.Mode]on{}, map[misbehave.Mode]time.Duration{}
	for kind, asked := range map[string]time.Duration{
		"": policy, "-seconds": misbehave.AskedByNumber, "-date": misbehave.AskedByDate, "-zero": policy, "-past": policy, "-negative": policy,
		"-years": day, "-years-date": day, "-absurd": day, "-garbage": policy,
	} {
		many, unavailable := misbehave.Mode("429"+kind), misbehave.Mode("503"+kind)
		wants[many] = on{millrace.OutcomeTooMany, 429, 0, "429 Too Many Requests"}
		wants[unavailable] = on{millrace.OutcomeServerError, 503, 0, "503 Service Unavailable"}
		next[many], next[unavailable] = asked, asked
	}
	const exact = 5 * time.Second // a date has no fractions, and was on its way
	_, got := endure(t, wants)
	for mode, asked := range next {
		least, most := asked-exact, asked+exact
		if asked == policy {
			least, most = again*4/5, again*6/5
		}
		if in := got[mode].next; in < least || in > most {
			t.Errorf("%s: the next try is in %s, want %s to %s", mode, in, least, most)
		}
	}
}

func TestReceiversThatAnswerSomethingElse(t *testing.T) {
	t.Parallel()
	wants := map[misbehave.Mode]on{
		misbehave.Gone: {millrace.OutcomeGone, 410, 0, "wants no more"},
		misbehave.Flap: {millrace.OutcomeServerError, 500, 0, "500"},
		misbehave.Echo: {millrace.OutcomeSuccess, 200, some, ""},
	}
	redirects := map[misbehave.Mode]int{
		misbehave.Redirect301: 301, misbehave.Redirect302: 302, misbehave.Redirect303: 303, misbehave.Redirect307: 307, misbehave.Redirect308: 308,
	}
	for mode, code := range redirects {
		wants[mode] = on{millrace.OutcomeRedirect, code, 0, "redirects are not followed"}
	}
	all, got := endure(t, wants)
	for mode := range redirects {
		if got[mode].location != misbehave.Elsewhere {
			t.Errorf("%s: on record it leads to %q", mode, got[mode].location)
		}
	}
	gone := all[misbehave.Gone]
	eventually(t, "who wants no more is inactive", func() error {
		var e struct{ Status string }
		if err := gone.gw.Call(http.MethodGet, "/endpoints/"+gone.endpoint, nil, &e); err != nil || e.Status != "inactive" {
			return fmt.Errorf("it is %q, %w", e.Status, err)
		}
		return nil
	})
	if d := got[misbehave.Gone].decided; d != "given_up" {
		t.Errorf("of what was answered with 410, %q was decided", d)
	}
}

func TestReceiversThatSpeakNoHTTP(t *testing.T) {
	t.Parallel()
	bad := on{millrace.OutcomeBadResponse, 0, 0, "not valid HTTP"}
	endure(t, map[misbehave.Mode]on{
		misbehave.GarbledProtocol: bad, misbehave.GarbledHeader: bad, misbehave.GarbledStatus: bad,
		misbehave.GarbledUpgrade: {millrace.OutcomeBadResponse, 101, 0, "no final status"},
	})
}

func TestReceiversWhoseTLSFails(t *testing.T) {
	t.Parallel()
	failed := func(says string) on { return on{millrace.OutcomeTLS, 0, 0, says} }
	all, _ := endure(t, map[misbehave.Mode]on{
		misbehave.TLSExpired: failed("expired or is not yet valid"), misbehave.TLSEarly: failed("expired or is not yet valid"),
		misbehave.TLSWrongName: failed("127.0.0.1"), misbehave.TLSSelfSigned: failed("unknown authority"),
		misbehave.TLSOld: failed("handshake failed"), misbehave.TLSPlain: failed("does not speak TLS"),
		misbehave.TLSHang:  {millrace.OutcomeTimeout, 0, 0, "within the deadline"},
		misbehave.TLSReset: {millrace.OutcomeReset, 0, 0, "during the TLS handshake"},
	})
	for mode, h := range all {
		if n := len(h.requests()); n > 0 {
			t.Errorf("%s: %d requests were sent all the same", mode, n)
		}
	}
}
