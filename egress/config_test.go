package egress

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestDefaultConfigIsValid(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidateNamesEveryFault(t *testing.T) {
	for _, c := range []struct {
		rule  string
		spoil func(*Config)
		says  string
	}{
		{"an address to listen on", func(c *Config) { c.Listen = "4750" }, `egress.listen: "4750" is not an address`},
		{"beyond loopback, clients are known", func(c *Config) { c.Listen = ":4750" }, "set egress.token or egress.client_ca"},
		{"a certificate has a key", func(c *Config) { c.TLSCert = "cert.pem" }, "set both, or neither"},
		{"a client CA needs TLS", func(c *Config) { c.ClientCA = "ca.pem" }, "egress.client_ca: needs"},
		{"some tunnels", func(c *Config) { c.MaxTunnels = 0 }, "egress.max_tunnels: 0 is too small"},
		{"some connections", func(c *Config) { c.MaxPending = -1 }, "egress.max_pending: -1 is too small"},
		{"a head of some size", func(c *Config) { c.MaxHeadBytes = 10 }, "egress.max_head_bytes: 10 is too small; the least is 1024"},
		{"every wait ends: head", func(c *Config) { c.HeadTimeout = 0 }, "egress.head_timeout: 0s must be more"},
		{"every wait ends: resolve", func(c *Config) { c.ResolveTimeout = 0 }, "egress.resolve_timeout"},
		{"every wait ends: dial", func(c *Config) { c.DialTimeout = -time.Second }, "egress.dial_timeout: -1s"},
		{"every wait ends: idle", func(c *Config) { c.IdleTimeout = 0 }, "egress.idle_timeout"},
		{"every wait ends: half closed", func(c *Config) { c.HalfClosedTimeout = 0 }, "egress.half_closed_timeout"},
		{"every wait ends: lifetime", func(c *Config) { c.Lifetime = 0 }, "egress.lifetime"},
		{"every wait ends: shutdown", func(c *Config) { c.ShutdownTimeout = 0 }, "egress.shutdown_timeout"},
		{"ranges to allow", func(c *Config) { c.AllowCIDRs = []string{"10.0.0.0/33"} }, `egress.allow_cidrs: "10.0.0.0/33" is not a range`},
		{"ranges in their own form", func(c *Config) { c.DenyCIDRs = []string{"::ffff:10.0.0.0/104"} }, `egress.deny_cidrs: "::ffff:10.0.0.0/104"`},
		{"ranges to deny", func(c *Config) { c.DenyCIDRs = []string{"ten"} }, `egress.deny_cidrs: "ten" is not a range`},
		{"names to allow", func(c *Config) { c.AllowHosts = []string{"a b"} }, `egress.allow_hosts: "a b" is neither a name`},
		{"addresses are no names", func(c *Config) { c.DenyHosts = []string{"10.0.0.1"} }, `egress.deny_hosts: "10.0.0.1" is neither a name`},
		{"some ports", func(c *Config) { c.Ports = nil }, "egress.ports: the list is empty"},
		{"ports that exist", func(c *Config) { c.Ports = []string{"0"} }, `egress.ports: "0" is neither`},
		{"ranges of ports in their order", func(c *Config) { c.Ports = []string{"90-80"} }, `egress.ports: "90-80" is neither`},
		{"ports are numbers", func(c *Config) { c.Ports = []string{"https"} }, `egress.ports: "https" is neither`},
	} {
		t.Run(c.rule, func(t *testing.T) {
			cfg := DefaultConfig()
			c.spoil(&cfg)
			if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v; want %q alone", err, c.says)
			}
			if _, err := New(cfg); err == nil {
				t.Error("New took it")
			}
		})
	}
}

func TestValidateJoinsAllFaults(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Listen, cfg.MaxTunnels, cfg.IdleTimeout, cfg.Ports, cfg.DenyCIDRs = ":4750", 0, 0, nil, []string{"x", "y"}
	if got := strings.Count(cfg.Validate().Error(), "egress."); got < 6 {
		t.Errorf("%d faults named in %v", got, cfg.Validate())
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	cfg := testConfig()
	marshalled, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "token", cfg.Token, "config", cfg)
	for _, text := range []string{fmt.Sprint(cfg), fmt.Sprintf("%+v %#v %q %s", cfg, cfg, cfg.Token, cfg.Token), string(marshalled), log.String()} {
		if strings.Contains(text, cfg.Token.Reveal()) || !strings.Contains(text, "secret") {
			t.Errorf("printed %s", text)
		}
	}
	if Secret("").String() != "" {
		t.Error("an empty secret looks set")
	}
}

func TestReasonsAreAClosedList(t *testing.T) {
	seen := make(map[Reason]bool)
	for _, reason := range Reasons() {
		if seen[reason] {
			t.Errorf("%s twice", reason)
		}
		seen[reason] = true
	}
	for reason, status := range map[Reason]int{
		Allowed: 200, BadTarget: 403, NameNotPublic: 403, PortNotAllowed: 403, AddressNotPublic: 403, DeniedByOperator: 403,
		MethodNotAllowed: 405, Unauthenticated: 407, DNSNotFound: 502, DNSError: 502, DNSTimeout: 504,
		ConnectRefused: 502, ConnectError: 502, ConnectTimeout: 504, Overloaded: 503, ShuttingDown: 503, ClientGone: 502,
	} {
		if !seen[reason] || reason.Status() != status {
			t.Errorf("%s: listed %t, status %d; want %d", reason, seen[reason], reason.Status(), status)
		}
	}
}
