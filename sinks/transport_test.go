package sinks

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

// authority is a CA of the test's own.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert: cert, key: key}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a authority) pem() string { return pemOf("CERTIFICATE", a.cert.Raw) }

// issue makes a certificate and its key, in PEM.
func (a authority) issue(t testing.TB, change func(*x509.Certificate)) (cert, key string) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "leaf"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	private := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf("CERTIFICATE", der), pemOf("PRIVATE KEY", raw)
}

// secure serves with a certificate of the authority.
func (a authority) secure(t testing.TB, conf *tls.Config, change func(*x509.Certificate)) (*httptest.Server, func() []heard) {
	t.Helper()
	pair, err := tls.X509KeyPair(pair(a.issue(t, change)))
	if err != nil {
		t.Fatal(err)
	}
	s, all := unstarted(nil)
	s.TLS = conf
	s.TLS.Certificates = []tls.Certificate{pair}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, all
}

func pair(cert, key string) ([]byte, []byte) { return []byte(cert), []byte(key) }

func TestTLSFaults(t *testing.T) {
	ca := newAuthority(t)
	cases := map[string]struct {
		conf   *tls.Config
		change func(*x509.Certificate)
		trust  bool
		says   string
	}{
		"expired":    {&tls.Config{}, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, true, "expired"},
		"not yet":    {&tls.Config{}, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, true, "not yet valid"},
		"wrong name": {&tls.Config{}, func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"example.com"} }, true, "127.0.0.1"},
		"unknown CA": {&tls.Config{}, nil, false, "unknown authority"},
		"TLS 1.1":    {&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, nil, true, "version"},
		"wants our certificate (1.2)": {
			&tls.Config{ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12}, nil, true, "handshake",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			server, all := ca.secure(t, c.conf, c.change)
			w := webhook(t, nil, newProxy(t))
			r := deliveryTo(server.URL)
			if c.trust {
				r.Endpoint.CACert = ca.pem()
			}
			a := sendOK(t, w, r)
			want(t, a, millrace.OutcomeTLS)
			if !strings.Contains(a.Error, c.says) || a.IP != "127.0.0.1" {
				t.Errorf("the attempt says %q about %q, want %q", a.Error, a.IP, c.says)
			}
			if len(all()) > 0 {
				t.Error("the request was sent all the same")
			}
		})
	}
}

func TestTLSThatDoesNotComeAbout(t *testing.T) {
	for name, c := range map[string]struct {
		serve   func(net.Conn)
		outcome millrace.Outcome
	}{
		"the port speaks plain HTTP":      {say("HTTP/1.1 400 Bad Request\r\n\r\n"), millrace.OutcomeTLS},
		"the handshake hangs":             {hold, millrace.OutcomeTimeout},
		"the handshake is cut by a reset": {reset, millrace.OutcomeReset},
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t, func(conn net.Conn) {
				conn.Read(make([]byte, 1<<10))
				c.serve(conn)
			})
			proxy := newProxy(t)
			w := webhook(t, nil, proxy)
			r := deliveryTo("https://" + l.addr())
			if c.outcome == millrace.OutcomeTimeout {
				r.Endpoint.Timeout = shortDeadline
			}
			began := time.Now()
			a := sendOK(t, w, r)
			want(t, a, c.outcome)
			if took := time.Since(began); c.outcome == millrace.OutcomeTimeout && took > shortDeadline+overshoot {
				t.Errorf("it took %s", took)
			}
			if a.IP != "127.0.0.1" {
				t.Errorf("the attempt does not say whom it called: %q", a.IP)
			}
			proxy.idle(t)
		})
	}
}

func TestSelfSigned(t *testing.T) {
	server, all := tlsReceiver(t, nil)
	w := webhook(t, nil, newProxy(t))
	want(t, sendOK(t, w, deliveryTo(server.URL)), millrace.OutcomeTLS)
	r := deliveryTo(server.URL)
	r.Endpoint.CACert = caOf(server)
	want(t, sendOK(t, w, r), millrace.OutcomeSuccess)
	if len(all()) != 1 {
		t.Errorf("%d requests arrived", len(all()))
	}
}

func TestMutualTLSOfTheEndpoint(t *testing.T) {
	ca := newAuthority(t)
	clients := x509.NewCertPool()
	clients.AddCert(ca.cert)
	server, all := ca.secure(t, &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}, nil)
	w := webhook(t, nil, newProxy(t))
	r := deliveryTo(server.URL)
	r.Endpoint.CACert = ca.pem()
	if a := sendOK(t, w, r); a.Outcome.Success() {
		t.Error("without a certificate it got through")
	}
	cert, key := ca.issue(t, func(c *x509.Certificate) { c.Subject.CommonName = "our client" })
	r.Endpoint.ClientCert = &millrace.ClientCert{Cert: cert, Key: millrace.Sensitive(key)}
	want(t, sendOK(t, w, r), millrace.OutcomeSuccess)
	if got := all()[0].TLS.PeerCertificates[0].Subject.CommonName; got != "our client" {
		t.Errorf("the receiver saw %q", got)
	}
}

func TestEndpointsShareATransportOnlyWithTheSameCredentials(t *testing.T) {
	ca := newAuthority(t)
	w := webhook(t, func(c *Config) { c.MaxTransports = 2 }, newProxy(t))
	of := func(change func(*millrace.Endpoint)) *http.Transport {
		e := deliveryTo("https://example.com").Endpoint
		change(&e)
		got, err := w.transportFor(&e)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	certA, keyA := ca.issue(t, nil)
	certB, keyB := ca.issue(t, nil)
	plain := func(*millrace.Endpoint) {}
	own := func(cert, key string) func(*millrace.Endpoint) {
		return func(e *millrace.Endpoint) {
			e.ClientCert = &millrace.ClientCert{Cert: cert, Key: millrace.Sensitive(key)}
		}
	}
	once, again := of(plain), of(plain)
	ownOnce, ownAgain := of(own(certA, keyA)), of(own(certA, keyA))
	if once != again || ownOnce != ownAgain {
		t.Error("the same credentials do not share")
	}
	if of(plain) == of(own(certA, keyA)) || of(own(certA, keyA)) == of(own(certB, keyB)) {
		t.Error("different credentials share")
	}
	for range 3 {
		cert, key := ca.issue(t, nil)
		of(own(cert, key))
	}
	if n := w.special.order.Len(); n != 2 || len(w.special.entries) != 2 {
		t.Errorf("%d transports are kept, want 2", n)
	}
}

func TestTheProxyItselfBehindMutualTLS(t *testing.T) {
	ca := newAuthority(t)
	clients := x509.NewCertPool()
	clients.AddCert(ca.cert)
	serving, err := tls.X509KeyPair(pair(ca.issue(t, nil)))
	if err != nil {
		t.Fatal(err)
	}
	conf := &tls.Config{Certificates: []tls.Certificate{serving}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	inner := newProxy(t)
	outer := listen(t, func(conn net.Conn) {
		secure := tls.Server(conn, conf)
		if secure.Handshake() != nil {
			return
		}
		to, err := net.Dial("tcp", inner.addr())
		if err != nil {
			return
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			io.Copy(to, secure)
			to.Close()
		}()
		io.Copy(secure, to)
		conn.Close()
		<-done
	})
	server, _ := tlsReceiver(t, nil)
	folder := t.TempDir()
	cert, key := ca.issue(t, nil)
	file := func(name, content string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	r := deliveryTo(server.URL)
	r.Endpoint.CACert = caOf(server)

	known := webhook(t, func(c *Config) {
		c.Proxies, c.CA = []string{"https://" + outer.addr()}, file("ca.pem", ca.pem())
		c.Cert, c.Key = file("cert.pem", cert), file("key.pem", key)
	})
	want(t, sendOK(t, known, r), millrace.OutcomeSuccess)

	unknown := webhook(t, func(c *Config) {
		c.Proxies, c.CA = []string{"https://" + outer.addr()}, filepath.Join(folder, "ca.pem")
	})
	if a, err := unknown.Send(t.Context(), r); !millrace.IsUnavailable(err) {
		t.Errorf("without our certificate: %v (%s), want it unavailable", err, a.Outcome)
	}
}
