package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
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

// TLS is a server that speaks TLS, too.
type TLS struct {
	*Server
	// CAFile has the authority that vouches for it.
	CAFile string

	port string
}

// StartTLS starts a server whose certificate is for 127.0.0.1, by an authority
// that nobody knows.
func StartTLS(t testing.TB) *TLS {
	t.Helper()
	dir := t.TempDir()
	s := &TLS{CAFile: filepath.Join(dir, "ca.pem"), port: freePort(t)}
	key := filepath.Join(dir, "key.pem")
	if err := certify(s.CAFile, key); err != nil {
		t.Fatal(err)
	}
	s.Server = Start(t, "--tls-port", s.port, "--tls-cert-file", s.CAFile, "--tls-key-file", key, "--tls-ca-cert-file", s.CAFile, "--tls-auth-clients", "no")
	return s
}

// URL is what a gateway is told to find the server by.
func (s *TLS) URL() string { return "rediss://" + net.JoinHostPort("127.0.0.1", s.port) }

// certify writes a certificate that is its own authority.
func certify(certFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redistest"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600)
}
