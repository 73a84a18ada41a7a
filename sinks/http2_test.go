package sinks

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

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

func TestAnHTTP2ReceiverThatClosesIsCalledAnew(t *testing.T) {
	server, all := tlsReceiver(t, nil)
	proxy := newProxy(t)
	w := webhook(t, nil, proxy)
	r := deliveryTo(server.URL)
	r.Endpoint.CACert = caOf(server)
	for i := range 5 {
		a := sendOK(t, w, r)
		if a.Outcome == millrace.OutcomeReset { // it was written before the end of the connection was read
			a = sendOK(t, w, r)
		}
		want(t, a, millrace.OutcomeSuccess)
		server.CloseClientConnections()
		proxy.idle(t)
		if len(all()) != i+1 || proxy.tunnels.Load() != int32(i+1) {
			t.Fatalf("%d successes were %d requests over %d tunnels", i+1, len(all()), proxy.tunnels.Load())
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

// A stream that is refused may be sent again by the letter of RFC 9113; but
// then one attempt would be two requests.
func TestARefusedStreamIsAnAttempt(t *testing.T) {
	ca := newAuthority(t)
	serving, err := tls.X509KeyPair(pair(ca.issue(t, nil)))
	if err != nil {
		t.Fatal(err)
	}
	conf := &tls.Config{Certificates: []tls.Certificate{serving}, NextProtos: []string{"h2"}}
	var requests atomic.Int32
	l := listen(t, func(conn net.Conn) { refuseStreams(tls.Server(conn, conf), &requests) })
	w := webhook(t, nil, newProxy(t))
	r := deliveryTo("https://" + l.addr())
	r.Endpoint.CACert = ca.pem()
	for i := range int32(3) {
		want(t, sendOK(t, w, r), millrace.OutcomeReset)
		if n := requests.Load(); n != i+1 {
			t.Fatalf("%d attempts were %d requests", i+1, n)
		}
	}
}

// refuseStreams reads every request whole and refuses it.
func refuseStreams(conn net.Conn, requests *atomic.Int32) {
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	framer := http2.NewFramer(conn, conn)
	if framer.WriteSettings() != nil {
		return
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		head := frame.Header()
		if s, ok := frame.(*http2.SettingsFrame); ok && !s.IsAck() {
			framer.WriteSettingsAck()
		}
		if head.Type == http2.FrameData && head.Flags.Has(http2.FlagDataEndStream) {
			requests.Add(1)
			framer.WriteRSTStream(head.StreamID, http2.ErrCodeRefusedStream)
		}
	}
}

func TestAnHTTP2RequestIsUnsentUntilItsHeadersAre(t *testing.T) {
	x := &exchange{taken: &tunnel{h2: true}, used: true}
	if !x.unsent() {
		t.Error("before its headers were written it counts as sent")
	}
	x.headersWritten()
	if x.unsent() {
		t.Error("after its headers were written it counts as unsent")
	}
}
