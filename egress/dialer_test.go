package egress

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// newTestDialer is a dialer whose names are the zone's, and whose connects are the wire's.
func newTestDialer(t *testing.T, cfg Config, z *zone, d *wire) *Dialer {
	t.Helper()
	dialer, err := NewDialer(cfg, quietLog())
	if err != nil {
		t.Fatal(err)
	}
	dialer.connector.resolver, dialer.connector.dial = z, d.dial
	return dialer
}

func TestADialerConnectsToWhatThePolicyAllows(t *testing.T) {
	allowing := func(change func(*Config)) Config {
		cfg := DefaultConfig()
		change(&cfg)
		return cfg
	}
	network := func(c *Config) { c.AllowCIDRs, c.AllowHosts = []string{"10.1.0.0/16"}, []string{"*.internal"} }
	z := &zone{answers: map[string][][]string{
		"kafka.example.com": {{"93.184.216.34"}}, "inside.example.com": {{"10.1.2.3"}}, "kafka.internal": {{"10.1.2.3"}},
		"meta.example.com": {{"169.254.169.254"}}, "both.example.com": {{"93.184.216.34", "10.1.2.3"}}, "self.example.com": {{"127.0.0.1"}},
	}}
	for _, c := range []struct {
		rule    string
		cfg     Config
		address string
		dialled string
		reason  Reason
	}{
		{"a public name, at a broker's port", DefaultConfig(), "kafka.example.com:9092", "93.184.216.34", ""},
		{"a name that leads to a private address", DefaultConfig(), "inside.example.com:9092", "", AddressNotPublic},
		{"and one that leads to one among others", DefaultConfig(), "both.example.com:9092", "", AddressNotPublic},
		{"a name that leads to this machine", DefaultConfig(), "self.example.com:9092", "", AddressNotPublic},
		{"a name that leads to what serves the platform", DefaultConfig(), "meta.example.com:9092", "", AddressNotPublic},
		{"this machine", DefaultConfig(), "127.0.0.1:9092", "", AddressNotPublic},
		{"its name", DefaultConfig(), "localhost:9092", "", NameNotPublic},
		{"a private address", DefaultConfig(), "10.1.2.3:9092", "", AddressNotPublic},
		{"what serves the platform", DefaultConfig(), "169.254.169.254:80", "", AddressNotPublic},
		{"a private name", DefaultConfig(), "kafka.internal:9092", "", NameNotPublic},
		{"a port of another service", DefaultConfig(), "kafka.example.com:6379", "", PortNotAllowed},
		{"no port", DefaultConfig(), "kafka.example.com", "", BadTarget},
		{"an address in other words", DefaultConfig(), "0x7f000001:9092", "", BadTarget},
		{"a private address that the operator opened", allowing(network), "10.1.2.3:9092", "10.1.2.3", ""},
		{"a private name and address that the operator opened", allowing(network), "kafka.internal:9092", "10.1.2.3", ""},
		{"what serves the platform, whatever is opened", allowing(func(c *Config) { c.AllowCIDRs = []string{"0.0.0.0/0"} }), "169.254.169.254:80", "", AddressNotPublic},
		{"what the operator closed", allowing(func(c *Config) { c.DenyHosts = []string{"*.example.com"} }), "kafka.example.com:9092", "", DeniedByOperator},
		{"this machine, where that is opened", allowing(func(c *Config) { c.AllowLoopback = true }), "127.0.0.1:6379", "127.0.0.1", ""},
	} {
		t.Run(c.rule, func(t *testing.T) {
			d := &wire{to: destination(t, func(conn net.Conn) {})}
			conn, err := newTestDialer(t, c.cfg, z, d).DialContext(t.Context(), "tcp", c.address)
			if err == nil {
				defer conn.Close()
			}
			var refusal *Refusal
			if (err != nil) != (c.reason != "") || errors.As(err, &refusal) && refusal.Reason != c.reason || err != nil && refusal == nil {
				t.Errorf("%s: %v, want reason %q", c.address, err, c.reason)
			}
			if got := strings.Join(d.addresses(), " "); got != c.dialled {
				t.Errorf("dialled were %q, want %q", got, c.dialled)
			}
		})
	}
}

func TestADialersNameThatChangesItsMindIsJudgedAgain(t *testing.T) {
	d := &wire{to: destination(t, func(net.Conn) {})}
	dialer := newTestDialer(t, DefaultConfig(), &zone{answers: map[string][][]string{"kafka.example.com": {{"93.184.216.34"}, {"10.1.2.3"}}}}, d)
	conn, err := dialer.DialContext(t.Context(), "tcp", "kafka.example.com:9092")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if _, err := dialer.DialContext(t.Context(), "tcp", "kafka.example.com:9092"); err == nil {
		t.Error("its second answer was dialled")
	}
}

func TestWhatADialerSaysOfARefusalTellsNoAddress(t *testing.T) {
	var log strings.Builder
	dialer := newTestDialer(t, DefaultConfig(), &zone{answers: map[string][][]string{"inside.example.com": {{"10.1.2.3"}}}}, &wire{})
	dialer.log = slog.New(slog.NewTextHandler(&log, nil))
	_, err := dialer.DialContext(t.Context(), "tcp", "inside.example.com:9092")
	if err == nil || strings.Contains(err.Error(), "10.1.2.3") || !strings.Contains(err.Error(), "inside.example.com") {
		t.Errorf("the tenant reads %v", err)
	}
	for _, want := range []string{"inside.example.com", "10.1.2.3", "10.0.0.0/8"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %s: %s", want, log.String())
		}
	}
}

func TestADialerSaysWhyThereIsNoConnection(t *testing.T) {
	z := &zone{answers: map[string][][]string{"kafka.example.com": {{"93.184.216.34"}}}}
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	dialer := newTestDialer(t, DefaultConfig(), z, &wire{errs: map[string]error{"93.184.216.34": refused}})
	if _, err := dialer.DialContext(t.Context(), "tcp", "kafka.example.com:9092"); err != error(refused) {
		t.Errorf("it says %v", err)
	}
	var lookup *net.DNSError
	if _, err := dialer.DialContext(t.Context(), "tcp", "nowhere.example.com:9092"); !errors.As(err, &lookup) {
		t.Errorf("it says %v of a name that is not there", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	hanging := newTestDialer(t, DefaultConfig(), z, &wire{hangs: map[string]bool{"93.184.216.34": true}})
	if _, err := hanging.DialContext(ended, "tcp", "kafka.example.com:9092"); !errors.Is(err, context.Canceled) {
		t.Errorf("it says %v of a dial that was ended", err)
	}
}

func TestADialerLearnsOfThisMachinesNewAddresses(t *testing.T) {
	d := &wire{to: destination(t, func(net.Conn) {})}
	dialer := newTestDialer(t, DefaultConfig(), &zone{}, d)
	own := netip.MustParseAddr("93.184.216.34")
	dialer.connector.policy.local = func() ([]netip.Addr, error) { return []netip.Addr{own}, nil }
	dial := func() error {
		conn, err := dialer.DialContext(t.Context(), "tcp", own.String()+":9092")
		if err == nil {
			conn.Close()
		}
		return err
	}
	if err := dial(); err != nil {
		t.Errorf("before: %v", err)
	}
	dialer.refreshed.Add(-int64(2 * refreshOwnEvery / time.Nanosecond))
	if err := dial(); err == nil {
		t.Error("this machine's new address was dialled")
	}
}
