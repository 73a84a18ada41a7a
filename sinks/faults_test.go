package sinks

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

// overshoot is how far beyond its deadline an attempt may go: five times what
// is promised.
const overshoot = 5 * 200 * time.Millisecond

const shortDeadline = 250 * time.Millisecond

func TestReceiversThatMisbehave(t *testing.T) {
	bomb := gzipOf(bytes.Repeat([]byte{0}, 10<<20))
	cases := map[string]struct {
		say     func(net.Conn)
		outcome millrace.Outcome
		body    int // bytes kept
	}{
		"hangs":                          {hold, millrace.OutcomeTimeout, 0},
		"drips its headers":              {drip("HTTP/1.1 200 OK\r\n", "X-Drop: 1\r\n"), millrace.OutcomeTimeout, 0},
		"never ends a header line":       {drip("HTTP/1.1 200 OK\r\nX-Long: ", "a"), millrace.OutcomeTimeout, 0},
		"drips informational answers":    {drip("", "HTTP/1.1 103 Early Hints\r\n\r\n"), millrace.OutcomeTimeout, 0},
		"drips its body":                 {drip("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", "a"), millrace.OutcomeSuccess, -1},
		"answers 204 with a length":      {say("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"), millrace.OutcomeSuccess, 0},
		"promises a body and is silent":  {say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), millrace.OutcomeSuccess, 0},
		"has a body without end":         {flood("HTTP/1.1 200 OK\r\n\r\n"), millrace.OutcomeSuccess, 64 << 10},
		"has chunks without end":         {flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n"), millrace.OutcomeSuccess, 64 << 10},
		"has a body without end and 500": {flood("HTTP/1.1 500 No\r\n\r\n"), millrace.OutcomeServerError, 64 << 10},
		"sends a gzip bomb": {
			say(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(bomb), bomb)), millrace.OutcomeSuccess, len(bomb),
		},
		"has 10 MB of headers":              {say("HTTP/1.1 200 OK\r\nX-Big: " + strings.Repeat("a", 10<<20) + "\r\n\r\n"), millrace.OutcomeBadResponse, 0},
		"has a million small headers":       {flood("HTTP/1.1 200 OK\r\n"), millrace.OutcomeBadResponse, 0},
		"resets":                            {reset, millrace.OutcomeReset, 0},
		"closes":                            {closeIt, millrace.OutcomeReset, 0},
		"closes in the middle of headers":   {sayAndClose("HTTP/1.1 200 OK\r\nX-A: b\r\n"), millrace.OutcomeReset, 0},
		"closes in the middle of the body":  {sayAndClose("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), millrace.OutcomeSuccess, 3},
		"speaks another protocol":           {say("SSH-2.0-OpenSSH_9.2\r\n"), millrace.OutcomeBadResponse, 0},
		"has a broken header":               {say("HTTP/1.1 200 OK\r\nno colon\r\n\r\n"), millrace.OutcomeBadResponse, 0},
		"has a status that is none":         {say("HTTP/1.1 9000 Over\r\nContent-Length: 0\r\n\r\n"), millrace.OutcomeBadResponse, 0},
		"switches protocols":                {say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"), millrace.OutcomeBadResponse, 0},
		"answers 400":                       {say("HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno"), millrace.OutcomeClientError, 2},
		"answers 410":                       {say("HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"), millrace.OutcomeGone, 0},
		"answers 429":                       {say("HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n"), millrace.OutcomeTooMany, 0},
		"answers 503":                       {say("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"), millrace.OutcomeServerError, 0},
		"answers 299 in HTTP/1.0":           {sayAndClose("HTTP/1.0 299 Odd\r\n\r\nfine"), millrace.OutcomeSuccess, 4},
		"answers 304 which is no redirect":  {say("HTTP/1.1 304 Not Modified\r\n\r\n"), millrace.OutcomeRedirect, 0},
		"answers before it read everything": {say("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"), millrace.OutcomeClientError, 0},
	}
	w := webhook(t, nil, newProxy(t))
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := deliveryTo(raw(t, c.say))
			if c.outcome == millrace.OutcomeTimeout {
				r.Endpoint.Timeout = shortDeadline
			}
			began := time.Now()
			a := sendOK(t, w, r)
			took := time.Since(began)
			want(t, a, c.outcome)
			if c.body >= 0 && len(a.Body) != c.body || c.body < 0 && len(a.Body) == 0 {
				t.Errorf("%d bytes of the body were kept, want %d", len(a.Body), c.body)
			}
			if c.outcome == millrace.OutcomeTimeout && (took < shortDeadline || took > shortDeadline+overshoot) {
				t.Errorf("it took %s with a deadline of %s", took, shortDeadline)
			}
			if took > w.config.BodyTimeout+overshoot && c.outcome.Success() {
				t.Errorf("reading the body took %s, %s are allowed", took, w.config.BodyTimeout)
			}
			if a.IP != "127.0.0.1" || a.RequestHeader.Get("Webhook-Id") == "" {
				t.Errorf("the attempt does not say whom it called with what: %q %v", a.IP, a.RequestHeader)
			}
		})
	}
}

func say(s string) func(net.Conn) {
	return func(conn net.Conn) {
		io.WriteString(conn, s)
		hold(conn)
	}
}

func sayAndClose(s string) func(net.Conn) {
	return func(conn net.Conn) { io.WriteString(conn, s) }
}

func closeIt(net.Conn) {}

// drip says something, and then a bit more every few milliseconds.
func drip(first, more string) func(net.Conn) {
	return func(conn net.Conn) {
		io.WriteString(conn, first)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := io.WriteString(conn, more); err != nil {
				return
			}
		}
	}
}

// flood says something, and then more than anybody wants.
func flood(first string) func(net.Conn) {
	more := []byte(strings.Repeat("X-More: 1\r\n", 1000))
	return func(conn net.Conn) {
		io.WriteString(conn, first)
		for {
			if _, err := conn.Write(more); err != nil {
				return
			}
		}
	}
}

func gzipOf(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(b)
	z.Close()
	return out.Bytes()
}

func TestAConnectionWhoseBodyGoesOnIsDropped(t *testing.T) {
	dropped := make(chan struct{})
	url := raw(t, func(conn net.Conn) {
		flood("HTTP/1.1 200 OK\r\n\r\n")(conn)
		close(dropped)
	})
	w := webhook(t, nil, newProxy(t))
	want(t, sendOK(t, w, deliveryTo(url)), millrace.OutcomeSuccess)
	select {
	case <-dropped:
	case <-time.After(patience):
		t.Error("the receiver may go on writing")
	}
}

func TestABodyOfExactlyTheBoundKeepsTheConnection(t *testing.T) {
	for name, sized := range map[string]bool{"with a length": true, "in chunks": false} {
		t.Run(name, func(t *testing.T) {
			server, _ := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
				if sized {
					w.Header().Set("Content-Length", fmt.Sprint(64<<10))
				}
				w.Write(make([]byte, 64<<10))
			})
			proxy := newProxy(t)
			w := webhook(t, func(c *Config) { c.BodyTimeout = patience }, proxy)
			for range 3 {
				a := sendOK(t, w, deliveryTo(server.URL))
				want(t, a, millrace.OutcomeSuccess)
				if len(a.Body) != 64<<10 {
					t.Errorf("%d bytes were kept", len(a.Body))
				}
			}
			if n := proxy.tunnels.Load(); n != 1 {
				t.Errorf("%d tunnels for three requests one after the other", n)
			}
		})
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	elsewhere, followed := receiver(t, nil)
	for _, code := range []int{301, 302, 303, 307, 308} {
		server, _ := receiver(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, code) })
		w := webhook(t, nil, newProxy(t))
		a := sendOK(t, w, deliveryTo(server.URL))
		want(t, a, millrace.OutcomeRedirect)
		if a.StatusCode != code || a.ResponseHeader.Get("Location") != elsewhere.URL {
			t.Errorf("%d: the attempt says %d, Location %q", code, a.StatusCode, a.ResponseHeader.Get("Location"))
		}
	}
	if len(followed()) > 0 {
		t.Error("one was followed")
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	cases := map[string]struct {
		code  int
		value string
		want  time.Duration
	}{
		"seconds":                        {429, "120", 2 * time.Minute},
		"seconds with 503":               {503, " 30 ", 30 * time.Second},
		"a date":                         {429, "Tue, 24 Nov 2026 12:05:00 GMT", 5 * time.Minute},
		"a date in RFC 850 form":         {429, "Tuesday, 24-Nov-26 12:05:00 GMT", 5 * time.Minute},
		"zero is the least":              {429, "0", time.Second},
		"ten years are a day":            {503, "315360000", 24 * time.Hour},
		"a date in ten years is a day":   {503, "Tue, 24 Nov 2036 12:00:00 GMT", 24 * time.Hour},
		"a number beyond any is a day":   {503, strings.Repeat("9", 40), 24 * time.Hour},
		"a date that is past is ignored": {429, "Tue, 24 Nov 2026 11:59:00 GMT", 0},
		"negative is ignored":            {429, "-5", 0},
		"garbage is ignored":             {429, "soon", 0},
		"a fraction is ignored":          {429, "1.5", 0},
		"nothing is nothing":             {429, "", 0},
		"no other status may ask":        {500, "120", 0},
		"nor may a success":              {200, "120", 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			res := &http.Response{StatusCode: c.code, Header: http.Header{"Retry-After": {c.value}}}
			if got := retryAfter(res, now); got != c.want {
				t.Errorf("%q: %s, want %s", c.value, got, c.want)
			}
		})
	}
}

func TestRetryAfterReachesTheAttempt(t *testing.T) {
	w := webhook(t, nil, newProxy(t))
	a := sendOK(t, w, deliveryTo(raw(t, say("HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"))))
	want(t, a, millrace.OutcomeTooMany)
	if a.RetryAfter != 7*time.Second {
		t.Errorf("RetryAfter is %s", a.RetryAfter)
	}
}

func TestSentencesNameNoAddressOfOurs(t *testing.T) {
	proxy := newProxy(t)
	w := webhook(t, nil, proxy)
	for _, misbehave := range []func(net.Conn){reset, closeIt, say("SSH-2.0\r\n")} {
		a := sendOK(t, w, deliveryTo(raw(t, misbehave)))
		if strings.Contains(a.Error, "127.0.0.1") || strings.Contains(a.Error, "net/http") {
			t.Errorf("the tenant reads %q", a.Error)
		}
	}
}
