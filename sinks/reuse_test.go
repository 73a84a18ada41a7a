package sinks

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

func TestConnectionsAreReused(t *testing.T) {
	for name, secure := range map[string]bool{"http": false, "https": true} {
		for version, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
			if !secure && h2 {
				continue
			}
			t.Run(name+" "+version, func(t *testing.T) {
				start := receiver
				if secure {
					start = tlsReceiver
				}
				server, all := start(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "thanks") })
				proxy := newProxy(t)
				w := webhook(t, func(c *Config) { c.HTTP2, c.BodyTimeout = h2, patience }, proxy)
				r := deliveryTo(server.URL)
				if secure {
					r.Endpoint.CACert = caOf(server)
				}
				const workers, each = 4, 50
				inParallel(workers, func() {
					for range each {
						a := sendOK(t, w, r)
						want(t, a, millrace.OutcomeSuccess)
						if a.IP != "127.0.0.1" || string(a.Body) != "thanks" {
							t.Errorf("the attempt says %q from %q", a.Body, a.IP)
						}
					}
				})
				got := all()
				if len(got) != workers*each || got[0].Proto != map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[h2] {
					t.Errorf("the receiver got %d requests by %s", len(got), got[0].Proto)
				}
				if n := proxy.tunnels.Load(); n > workers*each/3 { // net/http may dial while a connection is being put back
					t.Errorf("%d requests by %d workers took %d tunnels", workers*each, workers, n)
				}
			})
		}
	}
}

func inParallel(workers int, do func()) {
	var all sync.WaitGroup
	for range workers {
		all.Go(do)
	}
	all.Wait()
}

func TestAWornConnectionCostsNoAttempt(t *testing.T) {
	for name, secure := range map[string]bool{"http": false, "https": true} {
		t.Run(name, func(t *testing.T) {
			start := receiver
			if secure {
				start = tlsReceiver
			}
			server, all := start(t, nil)
			proxy := newProxy(t)
			w := webhook(t, func(c *Config) { c.TunnelLifetime, c.HTTP2 = time.Nanosecond, false }, proxy)
			r := deliveryTo(server.URL)
			if secure {
				r.Endpoint.CACert = caOf(server)
			}
			const times = 20
			for range times {
				want(t, sendOK(t, w, r), millrace.OutcomeSuccess)
			}
			if len(all()) != times || proxy.tunnels.Load() != times {
				t.Errorf("%d attempts were %d requests over %d tunnels", times, len(all()), proxy.tunnels.Load())
			}
		})
	}
}

func TestAReceiverThatClosesIdleConnectionsCostsNoAttempt(t *testing.T) {
	for name, secure := range map[string]bool{"http": false, "https": true} {
		t.Run(name, func(t *testing.T) {
			start := receiver
			if secure {
				start = tlsReceiver
			}
			server, all := start(t, nil)
			proxy := newProxy(t)
			w := webhook(t, func(c *Config) { c.HTTP2 = false }, proxy)
			r := deliveryTo(server.URL)
			if secure {
				r.Endpoint.CACert = caOf(server)
			}
			for i := range 5 {
				want(t, sendOK(t, w, r), millrace.OutcomeSuccess)
				server.CloseClientConnections()
				proxy.idle(t)
				if len(all()) != i+1 {
					t.Fatalf("%d attempts, %d requests", i+1, len(all()))
				}
			}
		})
	}
}

// idle waits until no tunnel is left in the proxy.
func (p *connectProxy) idle(t *testing.T) {
	t.Helper()
	deadline, tick := time.After(patience), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for p.open.Load() > 0 {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the tunnels stay open")
		}
	}
}

// What was written is never written again: one attempt for each request that
// a receiver got, whatever net/http would think of repeating.
func TestNothingIsSentTwice(t *testing.T) {
	cuts := map[string]func(net.Conn){"reset": reset, "closed": func(c net.Conn) { c.Close() }}
	for how, cut := range cuts {
		for name, spoil := range map[string]func(*millrace.Request){
			"a plain delivery":     func(*millrace.Request) {},
			"with Idempotency-Key": func(r *millrace.Request) { r.Delivery.Headers = map[string]string{"Idempotency-Key": "k"} },
			"without a body":       func(r *millrace.Request) { r.Endpoint.ContentType, r.Delivery.Payload = formType, []byte("{}") },
			"without a body, keyed": func(r *millrace.Request) {
				r.Endpoint.ContentType, r.Delivery.Payload = formType, []byte("{}")
				r.Delivery.Headers = map[string]string{"Idempotency-Key": "k", "X-Idempotency-Key": "k"}
			},
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				var requests atomic.Int32
				url := "http://" + listen(t, func(conn net.Conn) { answerOnce(conn, &requests, cut) }).addr()
				w := webhook(t, nil, newProxy(t))
				r := deliveryTo(url)
				spoil(&r)
				for i := range 6 {
					a := sendOK(t, w, r)
					if expected := []millrace.Outcome{millrace.OutcomeSuccess, millrace.OutcomeReset}[i%2]; a.Outcome != expected {
						t.Fatalf("attempt %d: %s (%s), want %s", i+1, a.Outcome, a.Error, expected)
					}
				}
				if n := requests.Load(); n != 6 {
					t.Errorf("6 attempts were %d requests", n)
				}
			})
		}
	}
}

// answerOnce answers the first request of a connection, reads the second, and
// cuts.
func answerOnce(conn net.Conn, requests *atomic.Int32, cut func(net.Conn)) {
	in := bufio.NewReader(conn)
	for i := range 2 {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		io.Copy(io.Discard, r.Body)
		requests.Add(1)
		if i == 0 {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	}
	cut(conn)
}

func TestWhatAReceiverSaysAboutItsPatienceIsHeeded(t *testing.T) {
	for value, wanted := range map[string]time.Duration{
		"timeout=5": 4500 * time.Millisecond, "timeout=2, max=100": 1500 * time.Millisecond, "max=3": 0, "timeout=x": 0, "timeout=0": 0, "": 0,
	} {
		tun := &tunnel{opened: time.Now()}
		tun.heed(http.Header{"Keep-Alive": {value}})
		if got := time.Duration(tun.patience.Load()); got != wanted {
			t.Errorf("%q: %s, want %s", value, got, wanted)
		}
		if wanted > 0 && (tun.worn(wanted, time.Hour) || !tun.worn(wanted+1, time.Hour)) {
			t.Errorf("%q: worn at another moment than %s", value, wanted)
		}
	}
	if old := (&tunnel{opened: time.Now().Add(-time.Minute)}); !old.worn(0, time.Minute) || old.worn(0, time.Hour) {
		t.Error("the lifetime is not heeded")
	}
}

func TestTheDeadlineHoldsWhileALargeBodyIsNotRead(t *testing.T) {
	for name, secure := range map[string]bool{"http": false, "https": true} {
		t.Run(name, func(t *testing.T) {
			stop := make(chan struct{})
			hang := func(w http.ResponseWriter, _ *http.Request) { <-stop }
			server := unread(t, secure, hang)
			defer close(stop)
			w := webhook(t, func(c *Config) { c.HTTP2 = false }, newProxy(t))
			r := deliveryTo(server.URL)
			r.Delivery.Payload = []byte(strconv.Quote(strings.Repeat("a", 32<<20)))
			if secure {
				r.Endpoint.CACert = caOf(server)
			}
			r.Endpoint.Timeout = time.Second
			began := time.Now()
			a := sendOK(t, w, r)
			want(t, a, millrace.OutcomeTimeout)
			if took := time.Since(began) - r.Endpoint.Timeout; took > overshoot {
				t.Errorf("%s beyond the deadline", took)
			}
		})
	}
}

// Closing ends what has no connection yet; nothing of it is charged.
func TestCloseEndsDials(t *testing.T) {
	asked := make(chan struct{})
	silent := listen(t, func(conn net.Conn) {
		if swallow(conn) {
			close(asked)
			hold(conn)
		}
	})
	w := webhook(t, func(c *Config) { c.Proxies = []string{"http://" + silent.addr()} })
	go func() {
		<-asked
		w.Close()
	}()
	if a, err := w.Send(t.Context(), deliveryTo("http://example.com")); !millrace.IsUnavailable(err) {
		t.Errorf("%v (%s), want it unavailable", err, a.Outcome)
	}
}

func TestManyDeadIdleConnectionsCostNoAttempt(t *testing.T) {
	server, all := receiver(t, func(http.ResponseWriter, *http.Request) {})
	one, two := newProxy(t), newProxy(t)
	w := webhook(t, nil, one, two)
	inParallel(32, func() { want(t, sendOK(t, w, deliveryTo(server.URL)), millrace.OutcomeSuccess) })
	one.kill()
	for range 32 {
		a, err := w.Send(t.Context(), deliveryTo(server.URL))
		for millrace.IsUnavailable(err) { // written to a tunnel that was not yet known to be dead
			a, err = w.Send(t.Context(), deliveryTo(server.URL))
		}
		want(t, a, millrace.OutcomeSuccess)
	}
	if len(all()) != 64 {
		t.Errorf("64 attempts were %d requests", len(all()))
	}
}

func TestATunnelKnowsWhetherARequestWasWritten(t *testing.T) {
	ours, theirs := net.Pipe()
	tun := &tunnel{Conn: ours}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		io.Copy(io.Discard, theirs)
	}()
	write := func(n int) error { _, err := tun.Write(make([]byte, n)); return err }

	if err := write(longestAlert); err != nil || tun.writes.Load() != 0 {
		t.Errorf("a TLS alert: %v, %d writes", err, tun.writes.Load())
	}
	if err := write(longestAlert + 1); err != nil || tun.writes.Load() != 1 {
		t.Errorf("part of a request: %v, %d writes", err, tun.writes.Load())
	}
	ours.SetReadDeadline(time.Unix(1, 0))
	tun.Read(make([]byte, 1))
	if err := write(100); err != nil || tun.writes.Load() != 2 {
		t.Errorf("after a read that took too long: %v, %d writes", err, tun.writes.Load())
	}
	ours.SetReadDeadline(time.Time{})
	theirs.Close()
	tun.Read(make([]byte, 1))
	if err := write(100); !errors.Is(err, errEnded) || tun.writes.Load() != 2 {
		t.Errorf("after the other side closed: %v, %d writes", err, tun.writes.Load())
	}
	<-drained
}
