package egress

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// issuer signs certificates for the tests.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	is := &issuer{key: newKey(t)}
	template := certTemplate("issuer")
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	is.cert = signCert(t, template, &issuer{cert: template, key: is.key}, is.key)
	return is
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func certTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
}

func signCert(t *testing.T, template *x509.Certificate, by *issuer, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func (is *issuer) pair(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key := newKey(t)
	cert := signCert(t, certTemplate(name), is, key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func (is *issuer) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(is.cert)
	return pool
}

func writePEM(t *testing.T, path, kind string, der []byte) string {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// tlsConfig is a configuration with a certificate by server and clients by clients.
func tlsConfig(t *testing.T, server, clients *issuer) Config {
	t.Helper()
	dir, pair := t.TempDir(), server.pair(t, "egress")
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cfg := testConfig()
	cfg.TLSCert = writePEM(t, filepath.Join(dir, "cert.pem"), "CERTIFICATE", pair.Certificate[0])
	cfg.TLSKey = writePEM(t, filepath.Join(dir, "key.pem"), "PRIVATE KEY", key)
	cfg.ClientCA = writePEM(t, filepath.Join(dir, "ca.pem"), "CERTIFICATE", clients.cert.Raw)
	return cfg
}

func (r *running) openTLS(t *testing.T, conf *tls.Config) *client {
	t.Helper()
	raw := r.open(t)
	conf.ServerName = "127.0.0.1"
	conn := tls.Client(raw.Conn, conf)
	return &client{conn, bufio.NewReader(conn)}
}

func TestClientsAreKnownByTheirCertificate(t *testing.T) {
	server, clients, strangers := newIssuer(t), newIssuer(t), newIssuer(t)
	withToken := tlsConfig(t, server, clients)
	withoutToken := withToken
	withoutToken.Token = ""
	token := "Proxy-Authorization: Bearer s3cret"
	for _, c := range []struct {
		rule   string
		config Config
		certs  []tls.Certificate
		header string
		status int // 0: no TLS connection
	}{
		{"a certificate of the client CA", withoutToken, []tls.Certificate{clients.pair(t, "agent")}, "X-Nothing: 1", 200},
		{"no certificate", withoutToken, nil, "X-Nothing: 1", 407},
		{"no certificate, and a token where none is configured", withoutToken, nil, "Proxy-Authorization: Bearer ", 407},
		{"a certificate of another CA", withoutToken, []tls.Certificate{strangers.pair(t, "agent")}, "X-Nothing: 1", 0},
		{"a certificate instead of the token", withToken, []tls.Certificate{clients.pair(t, "agent")}, "X-Nothing: 1", 200},
		{"the token instead of a certificate", withToken, nil, token, 200},
		{"neither", withToken, nil, "X-Nothing: 1", 407},
	} {
		t.Run(c.rule, func(t *testing.T) {
			p := startProxy(t, c.config, public(t)...)
			conf := &tls.Config{RootCAs: server.pool()}
			if c.certs != nil { // sent even to a server that names other issuers
				conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c.certs[0], nil }
			}
			conn := p.openTLS(t, conf)
			conn.send(t, connectHead("public.example.com:443", c.header))
			if c.status == 0 {
				if _, err := conn.reader.ReadByte(); err == nil || isTimeout(err) {
					t.Errorf("answered, or %v", err)
				}
				return
			}
			res := conn.response(t)
			if res.StatusCode != c.status {
				t.Fatalf("got %s; want %d", res.Status, c.status)
			}
			if c.status == 200 {
				conn.wantEcho(t, "through TLS")
				conn.Close()
				eventually(t, "the tunnel is gone", func() bool { return p.Stats().Tunnels == 0 })
			}
		})
	}
}

func TestUnreadableCertificatesAreRefusedAtStart(t *testing.T) {
	good := tlsConfig(t, newIssuer(t), newIssuer(t))
	for rule, spoil := range map[string]func(*Config){
		"no certificate there": func(c *Config) { c.TLSCert += ".not" },
		"no key there":         func(c *Config) { c.TLSKey = c.TLSCert },
		"no client CA there":   func(c *Config) { c.ClientCA += ".not" },
		"no certificate in it": func(c *Config) { c.ClientCA = c.TLSKey },
	} {
		t.Run(rule, func(t *testing.T) {
			cfg := good
			spoil(&cfg)
			if _, err := New(cfg); err == nil {
				t.Error("taken")
			}
		})
	}
}
