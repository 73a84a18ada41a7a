package sinks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/millrace-dev/millrace"
)

// credentials are what makes a TLS client of its own: endpoints that share
// them share connections, and no others do.
type credentials struct {
	cert, key, ca string
}

// transportFor returns the HTTP client side for an endpoint: one for all of
// them, but for those with a client certificate or a CA of their own.
func (w *Webhook) transportFor(e *millrace.Endpoint) (*http.Transport, error) {
	if e.ClientCert == nil && e.CACert == "" {
		return w.common, nil
	}
	c := credentials{ca: e.CACert}
	if e.ClientCert != nil {
		c.cert, c.key = e.ClientCert.Cert, e.ClientCert.Key.Reveal()
	}
	return w.special.of(c, func() (*http.Transport, error) {
		conf, err := c.tls()
		if err != nil {
			return nil, err
		}
		return w.newTransport(conf), nil
	})
}

func (c credentials) tls() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.cert != "" || c.key != "" {
		pair, err := tls.X509KeyPair([]byte(c.cert), []byte(c.key))
		if err != nil {
			// The parser's words might quote the key.
			return nil, errors.New("the endpoint's client certificate and key are not valid")
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	if c.ca != "" {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM([]byte(c.ca)) {
			return nil, errors.New("the endpoint's CA certificate is not valid")
		}
	}
	return conf, nil
}

// sessions bounds the TLS sessions kept to be resumed.
const sessions = 1024

// newTransport makes a transport that dials through the egress alone: it has
// no Proxy function, and so reads no proxy from the environment. It never
// sends a request twice, because requests have a body without GetBody.
func (w *Webhook) newTransport(conf *tls.Config) *http.Transport {
	conf.ClientSessionCache = tls.NewLRUClientSessionCache(sessions)
	conf.NextProtos = []string{"http/1.1"}
	t := &http.Transport{
		DialContext:            w.dial,
		DialTLSContext:         func(ctx context.Context, _, target string) (net.Conn, error) { return w.dialTLS(ctx, conf, target) },
		DisableCompression:     true,
		MaxResponseHeaderBytes: int64(w.config.MaxHeaderBytes),
		MaxIdleConns:           w.config.MaxIdle,
		MaxIdleConnsPerHost:    w.config.MaxIdlePerHost,
		IdleConnTimeout:        w.config.IdleTimeout,
	}
	if w.config.HTTP2 {
		conf.NextProtos = []string{"h2", "http/1.1"}
		t.ForceAttemptHTTP2 = true
		t.HTTP2 = &http.HTTP2Config{SendPingTimeout: w.config.PingAfter, PingTimeout: w.config.PingAfter}
	}
	return t
}

func (w *Webhook) dial(ctx context.Context, _, target string) (net.Conn, error) {
	x := exchangeOf(ctx)
	ctx, cancel := context.WithDeadline(w.base, x.deadline)
	defer cancel()
	t, err := w.proxies.dial(ctx, connectCall{target: target, asked: x.asked})
	if err != nil {
		return nil, err
	}
	x.dialed.Store(t)
	return t, nil
}

func (w *Webhook) dialTLS(ctx context.Context, base *tls.Config, target string) (net.Conn, error) {
	x := exchangeOf(ctx)
	conn, err := w.dial(ctx, "", target)
	if err != nil {
		return nil, err
	}
	t := conn.(*tunnel)
	conf := base.Clone()
	if conf.ServerName, _, err = net.SplitHostPort(target); err != nil {
		t.Close()
		return nil, fmt.Errorf("dial %s: %w", target, err)
	}
	secure := tls.Client(t, conf)
	ctx, cancel := context.WithDeadline(w.base, x.deadline)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		t.Close()
		return nil, handshakeError(err, t.peer)
	}
	t.h2 = secure.ConnectionState().NegotiatedProtocol == "h2"
	return secure, nil
}
