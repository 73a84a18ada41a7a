package sinks

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/millrace-dev/millrace"
)

// Config is how deliveries leave.
type Config struct {
	// Proxies are the egress addresses, http://host:port or https://host:port.
	// A user and password in one are sent as Basic.
	Proxies []string `yaml:"-" koanf:"-"`
	// Token is sent to the proxies as "Proxy-Authorization: Bearer …".
	Token millrace.Sensitive `yaml:"-" koanf:"-"`
	// CA is a file of certificates to trust for https proxies instead of the
	// system's; Cert and Key are the files of our own certificate.
	CA   string `yaml:"egress_ca" koanf:"egress_ca"`
	Cert string `yaml:"egress_cert" koanf:"egress_cert"`
	Key  string `yaml:"egress_key" koanf:"egress_key"`
	// ReachTimeout is how long connecting to a proxy may take.
	ReachTimeout time.Duration `yaml:"reach_timeout" koanf:"reach_timeout"`
	// RestAfterFailure is how long a proxy that failed is passed over.
	RestAfterFailure time.Duration `yaml:"rest_after_failure" koanf:"rest_after_failure"`

	// MaxBodyBytes is how much of an answer's body is kept.
	MaxBodyBytes int `yaml:"max_body_bytes" koanf:"max_body_bytes"`
	// BodyTimeout is how long an answer's body is read after its headers.
	BodyTimeout time.Duration `yaml:"body_timeout" koanf:"body_timeout"`
	// MaxHeaderBytes bounds the headers of an answer.
	MaxHeaderBytes int `yaml:"max_header_bytes" koanf:"max_header_bytes"`

	// MaxIdle and MaxIdlePerHost bound the connections kept for reuse.
	MaxIdle        int `yaml:"max_idle" koanf:"max_idle"`
	MaxIdlePerHost int `yaml:"max_idle_per_host" koanf:"max_idle_per_host"`
	// IdleTimeout closes a connection unused for so long. Keep it below the
	// proxies'.
	IdleTimeout time.Duration `yaml:"idle_timeout" koanf:"idle_timeout"`
	// TunnelLifetime is the age at which a connection is not used again. Keep
	// it below the proxies'.
	TunnelLifetime time.Duration `yaml:"tunnel_lifetime" koanf:"tunnel_lifetime"`
	// HTTP2 speaks HTTP/2 with endpoints that offer it.
	HTTP2 bool `yaml:"http2" koanf:"http2"`
	// PingAfter is how long an HTTP/2 connection may be silent before it is
	// asked whether it lives, and how long it has to answer.
	PingAfter time.Duration `yaml:"ping_after" koanf:"ping_after"`
	// MaxTransports bounds the TLS clients kept for endpoints with a client
	// certificate or a CA of their own, and the clients of each kind of broker.
	MaxTransports int `yaml:"max_transports" koanf:"max_transports"`
	// LendCredentials lets an SQS or Pub/Sub endpoint without credentials of
	// its own use the gateway's: whoever may make endpoints may then send to
	// whatever the gateway may.
	LendCredentials bool `yaml:"lend_credentials" koanf:"lend_credentials"`
	// MaxTokens bounds the OAuth2 tokens kept.
	MaxTokens int `yaml:"max_tokens" koanf:"max_tokens"`

	// Version is that of the program, for User-Agent.
	Version string `yaml:"-" koanf:"-"`
}

// DefaultConfig is what holds where nothing is set: the egress on the same
// machine.
func DefaultConfig() Config {
	return Config{
		Proxies:          []string{"http://127.0.0.1:4750"},
		ReachTimeout:     time.Second,
		RestAfterFailure: 2 * time.Second,
		MaxBodyBytes:     64 << 10,
		BodyTimeout:      time.Second,
		MaxHeaderBytes:   64 << 10,
		MaxIdle:          2048,
		MaxIdlePerHost:   512,
		IdleTimeout:      30 * time.Second,
		TunnelLifetime:   45 * time.Minute,
		HTTP2:            true,
		PingAfter:        5 * time.Second,
		MaxTransports:    512,
		MaxTokens:        4096,
		Version:          "dev",
	}
}

// Validate returns every fault of the configuration, joined, or nil.
func (c Config) Validate() error {
	var faults []error
	if len(c.Proxies) == 0 {
		faults = append(faults, errors.New("egress.proxies: name at least one egress address, such as http://127.0.0.1:4750"))
	}
	for _, raw := range c.Proxies {
		if _, err := parseProxy(raw); err != nil {
			faults = append(faults, err)
		}
	}
	if (c.Cert == "") != (c.Key == "") {
		faults = append(faults, errors.New("webhook.egress_cert, webhook.egress_key: set both, or neither"))
	}
	return errors.Join(append(faults, c.validateLimits())...)
}

func (c Config) validateLimits() error {
	var faults []error
	for _, limit := range []struct {
		key          string
		value, least int
	}{
		{"max_body_bytes", c.MaxBodyBytes, 0},
		{"max_header_bytes", c.MaxHeaderBytes, 4 << 10},
		{"max_idle", c.MaxIdle, 1},
		{"max_idle_per_host", c.MaxIdlePerHost, 1},
		{"max_transports", c.MaxTransports, 1},
		{"max_tokens", c.MaxTokens, 1},
	} {
		if limit.value < limit.least {
			faults = append(faults, fmt.Errorf("webhook.%s: %d is too small; the least is %d", limit.key, limit.value, limit.least))
		}
	}
	for _, limit := range []struct {
		key   string
		value time.Duration
	}{
		{"reach_timeout", c.ReachTimeout}, {"rest_after_failure", c.RestAfterFailure}, {"body_timeout", c.BodyTimeout},
		{"idle_timeout", c.IdleTimeout}, {"tunnel_lifetime", c.TunnelLifetime}, {"ping_after", c.PingAfter},
	} {
		if limit.value <= 0 {
			faults = append(faults, fmt.Errorf("webhook.%s: %s must be more than 0s", limit.key, limit.value))
		}
	}
	return errors.Join(faults...)
}

func parseProxy(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Path != "" && u.Path != "/" {
		// The address is not quoted: it may hold a password.
		return nil, errors.New("egress.proxies: each must be an address such as http://127.0.0.1:4750")
	}
	return u, nil
}

func (c Config) proxies() (*proxies, error) {
	conf, err := c.proxyTLS()
	if err != nil {
		return nil, err
	}
	p := &proxies{reach: c.ReachTimeout, rest: c.RestAfterFailure}
	for _, raw := range c.Proxies {
		u, err := parseProxy(raw)
		if err != nil {
			return nil, err
		}
		p.list = append(p.list, c.proxy(u, conf))
	}
	return p, nil
}

func (c Config) proxy(u *url.URL, conf *tls.Config) *proxy {
	one := &proxy{}
	port := u.Port()
	if u.Scheme == "https" {
		one.tls = conf.Clone()
		one.tls.ServerName = u.Hostname()
		if port == "" {
			port = "443"
		}
	} else if port == "" {
		port = "80"
	}
	one.addr = net.JoinHostPort(u.Hostname(), port)
	switch {
	case u.User != nil:
		password, _ := u.User.Password()
		one.authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password))
	case c.Token != "":
		one.authorization = "Bearer " + c.Token.Reveal()
	}
	return one
}

func (c Config) proxyTLS() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("load the egress CA: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("load the egress CA: the file holds no certificate")
		}
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("load our certificate for the egress: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}
