package sinks

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

func TestReceiversThatMisbehaveByHTTP2(t *testing.T) {
	stop := make(chan struct{})
	cases := map[string]struct {
		handle  http.HandlerFunc
		outcome millrace.Outcome
		body    int
	}{
		"hangs":         {func(http.ResponseWriter, *http.Request) { <-stop }, millrace.OutcomeTimeout, 0},
		"resets":        {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, millrace.OutcomeReset, 0},
		"answers 500":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, millrace.OutcomeServerError, 0},
		"redirects":     {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", 302) }, millrace.OutcomeRedirect, 0},
		"body for ever": {func(w http.ResponseWriter, r *http.Request) { endless(w) }, millrace.OutcomeSuccess, 64 << 10},
		"100 KB of headers": {func(w http.ResponseWriter, r *http.Request) {
			for i := range 100 {
				w.Header().Set("X-Big-"+strconv.Itoa(i), strings.Repeat("a", 1<<10))
			}
		}, millrace.OutcomeBadResponse, 0},
		"cut in the middle of the body": {func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte("abc"))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, millrace.OutcomeSuccess, 3},
	}
	w := webhook(t, nil, newProxy(t))
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			server, all := tlsReceiver(t, c.handle)
			r := deliveryTo(server.URL)
			r.Endpoint.CACert = caOf(server)
			if c.outcome == millrace.OutcomeTimeout {
				r.Endpoint.Timeout = shortDeadline
				defer close(stop)
			}
			began := time.Now()
			a := sendOK(t, w, r)
			want(t, a, c.outcome)
			if took := time.Since(began); c.outcome == millrace.OutcomeTimeout && took > shortDeadline+overshoot {
				t.Errorf("it took %s", took)
			}
			if name != "redirects" && len(a.Body) != c.body {
				t.Errorf("%d bytes of the body were kept, want %d", len(a.Body), c.body)
			}
			if got := all(); len(got) != 1 || got[0].Proto != "HTTP/2.0" || a.IP != "127.0.0.1" {
				t.Errorf("%d requests at %q, want one by HTTP/2", len(got), a.IP)
			}
		})
	}
}

func endless(w http.ResponseWriter) {
	for {
		if _, err := w.Write(make([]byte, 4<<10)); err != nil {
			return
		}
	}
}

func TestAnHTTP2ReceiverThatClosesCostsNoAttempt(t *testing.T) {
	server, all := tlsReceiver(t, nil)
	proxy := newProxy(t)
	w := webhook(t, nil, proxy)
	r := deliveryTo(server.URL)
	r.Endpoint.CACert = caOf(server)
	for i := range 5 {
		want(t, sendOK(t, w, r), millrace.OutcomeSuccess)
		server.CloseClientConnections()
		proxy.idle(t)
		if len(all()) != i+1 {
			t.Fatalf("%d attempts, %d requests", i+1, len(all()))
		}
	}
}

func TestHTTP2IsOnlySpokenWhereItIsOn(t *testing.T) {
	server, all := tlsReceiver(t, nil)
	w := webhook(t, func(c *Config) { c.HTTP2 = false }, newProxy(t))
	r := deliveryTo(server.URL)
	r.Endpoint.CACert = caOf(server)
	want(t, sendOK(t, w, r), millrace.OutcomeSuccess)
	if got := all()[0].Proto; got != "HTTP/1.1" {
		t.Errorf("it was sent by %s", got)
	}
}
