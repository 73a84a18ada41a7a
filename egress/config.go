package egress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Config is the block "egress" of the configuration.
type Config struct {
	// Listen is the address the proxy listens on. Beyond loopback it needs Token or ClientCA.
	Listen string `yaml:"listen" koanf:"listen"`
	// Token is what clients send as "Proxy-Authorization: Bearer …", or as the password of Basic.
	Token Secret `yaml:"token" koanf:"token"`
	// TLSCert and TLSKey are files; with them the proxy speaks TLS to its clients.
	TLSCert string `yaml:"tls_cert" koanf:"tls_cert"`
	TLSKey  string `yaml:"tls_key" koanf:"tls_key"`
	// ClientCA is a file of certificates; a client whose certificate one of them signed needs no token.
	ClientCA string `yaml:"client_ca" koanf:"client_ca"`

	// AllowLoopback opens localhost and loopback addresses, on any port. For development.
	AllowLoopback bool `yaml:"allow_loopback" koanf:"allow_loopback"`
	// AllowCIDRs opens ranges that are refused by default. It never opens the metadata and platform addresses, and this machine's
	// own addresses only where they are listed one by one (/32, /128).
	AllowCIDRs []string `yaml:"allow_cidrs" koanf:"allow_cidrs"`
	// DenyCIDRs closes further ranges; it wins over everything else.
	DenyCIDRs []string `yaml:"deny_cidrs" koanf:"deny_cidrs"`
	// AllowHosts opens names that are never public, such as those of an own network; "*.corp.internal" means all names below. Their
	// addresses are still judged.
	AllowHosts []string `yaml:"allow_hosts" koanf:"allow_hosts"`
	// DenyHosts closes further names; it wins over everything else.
	DenyHosts []string `yaml:"deny_hosts" koanf:"deny_hosts"`
	// Ports lists single ports and ranges. A range leaves out the ports of well-known services such as databases; a single port does not.
	Ports []string `yaml:"ports" koanf:"ports"`

	// MaxTunnels bounds the CONNECTs that are being set up or open; one more is answered with 503.
	MaxTunnels int `yaml:"max_tunnels" koanf:"max_tunnels"`
	// MaxPending bounds the connections that have no tunnel yet; one more is closed.
	MaxPending int `yaml:"max_pending" koanf:"max_pending"`
	// MaxHeadBytes bounds the head of a request.
	MaxHeadBytes int `yaml:"max_head_bytes" koanf:"max_head_bytes"`

	// HeadTimeout is how long a client may take to send its CONNECT, TLS handshake included.
	HeadTimeout time.Duration `yaml:"head_timeout" koanf:"head_timeout"`
	// ResolveTimeout is how long the destination's name may take to resolve.
	ResolveTimeout time.Duration `yaml:"resolve_timeout" koanf:"resolve_timeout"`
	// DialTimeout is how long connecting may take, over all addresses of the destination.
	DialTimeout time.Duration `yaml:"dial_timeout" koanf:"dial_timeout"`
	// IdleTimeout closes a tunnel through which nothing went in either direction. Keep it above that of the clients' pools.
	IdleTimeout time.Duration `yaml:"idle_timeout" koanf:"idle_timeout"`
	// HalfClosedTimeout closes a tunnel that one side has ended and through which nothing went since.
	HalfClosedTimeout time.Duration `yaml:"half_closed_timeout" koanf:"half_closed_timeout"`
	// Lifetime is the age at which a tunnel is closed at its next rest, that is when the destination spoke last and both are quiet; one
	// that does not rest is cut IdleTimeout later.
	Lifetime time.Duration `yaml:"lifetime" koanf:"lifetime"`
	// ShutdownTimeout is how long open tunnels may take to come to rest when the proxy stops.
	ShutdownTimeout time.Duration `yaml:"shutdown_timeout" koanf:"shutdown_timeout"`
}

// DefaultConfig returns the configuration of a proxy for the same machine.
func DefaultConfig() Config {
	return Config{
		Listen:            "127.0.0.1:4750",
		Ports:             []string{"80", "443", "1024-65535"},
		MaxTunnels:        4096,
		MaxPending:        4096,
		MaxHeadBytes:      8 << 10,
		HeadTimeout:       5 * time.Second,
		ResolveTimeout:    5 * time.Second,
		DialTimeout:       10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		HalfClosedTimeout: 10 * time.Second,
		Lifetime:          time.Hour,
		ShutdownTimeout:   30 * time.Second,
	}
}

// Validate returns every fault of the configuration, joined, or nil.
func (c Config) Validate() error {
	faults := []error{c.validateAccess(), c.validateLimits()}
	_, err := newRules(c)
	return errors.Join(append(faults, err)...)
}

func (c Config) validateAccess() error {
	var faults []error
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		faults = append(faults, fmt.Errorf("egress.listen: %q is not an address such as 127.0.0.1:4750", c.Listen))
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		faults = append(faults, errors.New("egress.tls_cert, egress.tls_key: set both, or neither"))
	}
	if c.ClientCA != "" && c.TLSCert == "" {
		faults = append(faults, errors.New("egress.client_ca: needs egress.tls_cert and egress.tls_key"))
	}
	if c.Token == "" && c.ClientCA == "" && err == nil && !isLoopbackHost(host) {
		faults = append(faults, fmt.Errorf("egress.listen: %q is open to other machines; set egress.token or egress.client_ca", c.Listen))
	}
	return errors.Join(faults...)
}

func (c Config) validateLimits() error {
	var faults []error
	for _, limit := range []struct {
		key   string
		value int
		least int
	}{
		{"max_tunnels", c.MaxTunnels, 1},
		{"max_pending", c.MaxPending, 1},
		{"max_head_bytes", c.MaxHeadBytes, 1 << 10},
	} {
		if limit.value < limit.least {
			faults = append(faults, fmt.Errorf("egress.%s: %d is too small; the least is %d", limit.key, limit.value, limit.least))
		}
	}
	for _, limit := range []struct {
		key   string
		value time.Duration
	}{
		{"head_timeout", c.HeadTimeout},
		{"resolve_timeout", c.ResolveTimeout},
		{"dial_timeout", c.DialTimeout},
		{"idle_timeout", c.IdleTimeout},
		{"half_closed_timeout", c.HalfClosedTimeout},
		{"lifetime", c.Lifetime},
		{"shutdown_timeout", c.ShutdownTimeout},
	} {
		if limit.value <= 0 {
			faults = append(faults, fmt.Errorf("egress.%s: %s must be more than 0s", limit.key, limit.value))
		}
	}
	return errors.Join(faults...)
}

func isLoopbackHost(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}
