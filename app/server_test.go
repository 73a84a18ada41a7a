package app

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// serving runs a hardened server that answers every request with its body,
// and tells where.
func serving(t *testing.T, c ServerConfig) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(w, r.Body); err != nil {
			panic(http.ErrAbortHandler)
		}
	})
	s := &server{process: &process{config: Config{Server: c}}, http: hardened(c, answer, slog.New(slog.DiscardHandler))}
	done := make(chan error, 1)
	go func() { done <- s.serve(l) }()
	t.Cleanup(func() {
		_ = s.http.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// say sends bytes over a connection and answers with the first line that
// comes back, or that the server ended it.
func say(t *testing.T, address, request string) (line string, err error) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(soon)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return "", err
	}
	return bufio.NewReader(conn).ReadString('\n')
}

func TestAClientsConnectionIsBounded(t *testing.T) {
	const brief = 50 * time.Millisecond
	for _, c := range []struct {
		rule    string
		tune    func(c *ServerConfig)
		request string
		want    string // of the answer; empty: the connection is ended
	}{
		{
			rule: "a request is answered", tune: func(*ServerConfig) {},
			request: "GET / HTTP/1.1\r\nHost: x\r\n\r\n", want: "200",
		}, {
			rule: "a header that never ends is cut", tune: func(c *ServerConfig) { c.ReadHeaderTimeout = brief },
			request: "GET / HTTP/1.1\r\nHost: x\r\n",
		}, {
			rule: "a header that is too long is refused", tune: func(c *ServerConfig) { c.MaxHeaderBytes = 4096 },
			request: "GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("x", 16384) + "\r\n\r\n", want: "431",
		}, {
			rule: "a body that never ends is cut", tune: func(c *ServerConfig) { c.ReadTimeout = brief },
			request: "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
		}, {
			rule: "a connection that says nothing is ended", tune: func(c *ServerConfig) { c.ReadHeaderTimeout = brief },
		},
	} {
		t.Run(c.rule, func(t *testing.T) {
			config := DefaultConfig().Server
			config.ReadHeaderTimeout, config.ReadTimeout, config.IdleTimeout = time.Hour, time.Hour, time.Hour
			c.tune(&config)
			line, err := say(t, serving(t, config), c.request)
			var fault net.Error
			if errors.As(err, &fault) && fault.Timeout() {
				t.Fatalf("it waits: %v", err)
			}
			if c.want == "" && err == nil || c.want != "" && !strings.Contains(line, " "+c.want+" ") {
				t.Errorf("it says %q, %v", line, err)
			}
		})
	}
}

// certified writes a certificate for 127.0.0.1 with its key.
func certified(t *testing.T) (cert, key string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(parsed)
	return written(t, "CERTIFICATE", der), written(t, "PRIVATE KEY", secret), roots
}

// written is the path of a PEM file.
func written(t *testing.T, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheAPIIsServedByTLSWhereItIsConfigured(t *testing.T) {
	config := DefaultConfig().Server
	var roots *x509.CertPool
	config.TLSCert, config.TLSKey, roots = certified(t)
	address := serving(t, config)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	r, err := (&http.Client{Transport: transport}).Post("https://"+address, "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || string(body) != "x" || r.TLS == nil {
		t.Errorf("it says %q, %v", body, err)
	}
	_ = r.Body.Close()
	if _, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	if line, err := say(t, address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err == nil && !strings.Contains(line, "400") {
		t.Errorf("without TLS it says %q", line)
	}
}

func TestAServerSaysWhereItIsReached(t *testing.T) {
	for cert, want := range map[string]string{"": "http://127.0.0.1:1", "cert.pem": "https://127.0.0.1:1"} {
		s := &server{process: &process{config: Config{Server: ServerConfig{TLSCert: cert}}}, address: "127.0.0.1:1"}
		if got := s.url(); got != want {
			t.Errorf("with the certificate %q: %s, want %s", cert, got, want)
		}
	}
}
