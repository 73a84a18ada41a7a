package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// tunnelled is an HTTP client whose connections are tunnels of the proxy, as those of the deliver stage are.
func (r *running) tunnelled(t testing.TB, pool *x509.CertPool) *http.Client {
	transport := &http.Transport{
		DialContext: func(_ context.Context, _, addr string) (net.Conn, error) {
			conn, res := r.connect(t, addr)
			if res.StatusCode != http.StatusOK {
				return nil, errors.New(res.Status)
			}
			return conn.Conn, conn.SetDeadline(time.Time{})
		},
		TLSClientConfig:     &tls.Config{RootCAs: pool, ServerName: "example.com"},
		MaxIdleConnsPerHost: 8,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

func TestHTTPSKeepsItsTunnel(t *testing.T) {
	var conns atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // all of it first: the server drops what is unread when it answers
		_, _ = w.Write(body)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	server.StartTLS()
	defer server.Close()
	z := &zone{answers: map[string][][]string{"public.example.com": {{"93.184.216.34"}}}}
	d := &wire{to: server.Listener.Addr().String()}
	p := startProxy(t, testConfig(), withResolver(z), withDial(d.dial))
	client := p.tunnelled(t, server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs)
	for i := range 500 {
		body := strings.Repeat("x", i*20)
		res, err := client.Post("https://public.example.com/hooks", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || string(got) != body {
			t.Fatalf("request %d: %d bytes, %v", i, len(got), err)
		}
	}
	if tunnels := p.Stats().Connects[Allowed]; tunnels != 1 || conns.Load() != 1 {
		t.Errorf("%d tunnels, %d connections for 500 requests", tunnels, conns.Load())
	}
}
