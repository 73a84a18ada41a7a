package egress

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
)

// authenticator knows the clients of the proxy, by their token or by a certificate of theirs. With neither configured it knows everybody.
type authenticator struct {
	token Secret
	certs bool
}

func (a authenticator) knows(r *http.Request) bool {
	if a.token == "" && !a.certs {
		return true
	}
	if a.certs && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return true
	}
	return a.token != "" && sameSecret(presented(r.Header.Get("Proxy-Authorization")), a.token.Reveal())
}

// presented returns the token in a Proxy-Authorization header: the credentials of Bearer, or the password of Basic.
func presented(header string) string {
	scheme, credentials, _ := strings.Cut(header, " ")
	credentials = strings.TrimSpace(credentials)
	if strings.EqualFold(scheme, "Bearer") {
		return credentials
	}
	if !strings.EqualFold(scheme, "Basic") {
		return ""
	}
	pair, err := base64.StdEncoding.DecodeString(credentials)
	if err != nil {
		return ""
	}
	_, password, _ := strings.Cut(string(pair), ":")
	return password
}

// sameSecret compares digests, so that neither content nor length shows in the time it takes.
func sameSecret(a, b string) bool {
	da, db := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(da[:], db[:]) == 1
}

// serverTLS returns nil where no certificate is configured. Clients without a certificate get through the handshake, because they may have
// a token; those with neither are answered with 407.
func serverTLS(cfg Config) (*tls.Config, error) {
	if cfg.TLSCert == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(cfg.TLSCert, cfg.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("load egress.tls_cert and egress.tls_key: %w", err)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}
	if cfg.ClientCA == "" {
		return conf, nil
	}
	pem, err := os.ReadFile(cfg.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("load egress.client_ca: %w", err)
	}
	conf.ClientCAs = x509.NewCertPool()
	if !conf.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, errors.New("load egress.client_ca: the file holds no certificate")
	}
	conf.ClientAuth = tls.VerifyClientCertIfGiven
	return conf, nil
}
