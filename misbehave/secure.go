package misbehave

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// What fails before there is a request: these modes are met by https.
const (
	TLSExpired    Mode = "tls-expired"
	TLSEarly      Mode = "tls-early"
	TLSWrongName  Mode = "tls-wrong-name"
	TLSSelfSigned Mode = "tls-self-signed"
	TLSOld        Mode = "tls-old"
	TLSPlain      Mode = "tls-plain"
	TLSHang       Mode = "tls-hang"
	TLSReset      Mode = "tls-reset"
)

func insecure() []behaviour {
	ok := answered("200 OK", "")
	sound := func(*x509.Certificate) {}
	return []behaviour{
		{mode: TLSExpired, does: "shows a certificate that expired an hour ago", secure: true, act: ok, issue: func(c *x509.Certificate) {
			c.NotAfter = time.Now().Add(-time.Hour)
		}},
		{mode: TLSEarly, does: "shows a certificate that holds from tomorrow", secure: true, act: ok, issue: func(c *x509.Certificate) {
			c.NotBefore = time.Now().Add(24 * time.Hour)
		}},
		{mode: TLSWrongName, does: "shows a certificate for another name", secure: true, act: ok, issue: func(c *x509.Certificate) {
			c.IPAddresses, c.DNSNames = nil, []string{"elsewhere.example.com"}
		}},
		{mode: TLSSelfSigned, does: "shows a certificate that it signed itself", secure: true, act: ok, issue: sound},
		{mode: TLSOld, does: "speaks TLS 1.1 at best", secure: true, old: true, act: ok, issue: sound},
		{mode: TLSPlain, does: "speaks plain HTTP where TLS is wanted", secure: true, greet: speakPlain},
		{mode: TLSHang, does: "takes the connection and never answers the handshake", secure: true, greet: (*exchange).hold},
		{mode: TLSReset, does: "resets the connection in the handshake", secure: true, greet: resetHandshake},
	}
}

func speakPlain(x *exchange) error {
	if err := x.listen(); err != nil {
		return err
	}
	return held("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")(x)
}

func resetHandshake(x *exchange) error {
	if err := x.listen(); err != nil {
		return err
	}
	return x.reset()
}

// listen waits until the client has said something.
func (x *exchange) listen() error {
	if _, err := x.conn.Read(make([]byte, 1<<10)); err != nil {
		return left(err)
	}
	return nil
}

// identity is a certificate signed by itself, with its key.
type identity struct {
	pair tls.Certificate
	pem  string
}

// newIdentity makes a certificate that would hold for the loopback, were it
// not for what change does to it.
func newIdentity(change func(*x509.Certificate)) (identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return identity{}, fmt.Errorf("make a key: %w", err)
	}
	now := time.Now()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "a receiver that misbehaves"},
		NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(365 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, DNSNames: []string{"localhost"},
	}
	change(c)
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return identity{}, fmt.Errorf("make a certificate: %w", err)
	}
	return identity{
		pair: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem:  string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
	}, nil
}
