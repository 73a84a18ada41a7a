package egress

import (
	"net/netip"
	"strings"
	"testing"
)

func ownOnly(addrs ...string) func() ([]netip.Addr, error) {
	return func() ([]netip.Addr, error) { return parseAddrs(addrs), nil }
}

func parseAddrs(texts []string) []netip.Addr {
	var addrs []netip.Addr
	for _, text := range texts {
		addrs = append(addrs, netip.MustParseAddr(text))
	}
	return addrs
}

func TestDecide(t *testing.T) {
	plain := DefaultConfig()
	loopback := plain
	loopback.AllowLoopback = true
	operator := plain
	operator.AllowCIDRs = []string{"10.1.0.0/16", "169.254.0.0/16", "64:ff9b::/96", "203.0.113.9", "fd12::/16"}
	operator.DenyCIDRs = []string{"8.8.8.0/24", "10.1.66.0/24", "2606:4700::/32"}
	operator.AllowHosts = []string{"*.corp.internal", "redis"}
	operator.DenyHosts = []string{"evil.example.com", "*.evil.example.com", "no.corp.internal"}
	operator.Ports = []string{"443", "5432", "8000-9300"}

	const web = "93.184.216.34"
	label63, name252 := strings.Repeat("a", 63), strings.Repeat("aaaaaaa.", 31)+"aaaa"
	for _, c := range []struct {
		rule   string
		config Config
		host   string
		port   int
		addrs  []string
		want   Reason
	}{
		{"a public name with a public address", plain, "example.com", 443, []string{web}, Allowed},
		{"the form of the name does not matter", plain, "EXAMPLE.com.", 443, []string{web}, Allowed},
		{"a name in another script is its A-label", plain, "bücher.example", 443, []string{web}, Allowed},
		{"underscores and double hyphens exist", plain, "my_host.r3---a.example.com", 443, []string{web}, Allowed},
		{"a public IPv6 address", plain, "example.com", 443, []string{"2606:4700::1111"}, Allowed},
		{"a literal host needs no answer", plain, web, 443, nil, Allowed},
		{"a literal IPv6 host, with and without brackets", plain, "2606:4700::1111", 443, nil, Allowed},
		{"a literal IPv6 host in brackets", plain, "[2606:4700::1111]", 443, nil, Allowed},
		{"a literal host is judged whatever it came with", plain, "10.0.0.1", 443, []string{web}, AddressNotPublic},
		{"no address is not an allowed one", plain, "example.com", 443, nil, DNSNotFound},

		{"one forbidden address refuses all", plain, "example.com", 443, []string{web, "127.0.0.1"}, AddressNotPublic},
		{"the order of the addresses does not matter", plain, "example.com", 443, []string{"127.0.0.1", web}, AddressNotPublic},
		{"the zero address", plain, "example.com", 443, []string{"0.0.0.0"}, AddressNotPublic},
		{"10/8, lower edge", plain, "example.com", 443, []string{"10.0.0.0"}, AddressNotPublic},
		{"10/8, upper edge", plain, "example.com", 443, []string{"10.255.255.255"}, AddressNotPublic},
		{"next to 10/8", plain, "example.com", 443, []string{"11.0.0.0"}, Allowed},
		{"below 172.16/12", plain, "example.com", 443, []string{"172.15.255.255"}, Allowed},
		{"172.16/12, upper edge", plain, "example.com", 443, []string{"172.31.255.255"}, AddressNotPublic},
		{"above 172.16/12", plain, "example.com", 443, []string{"172.32.0.0"}, Allowed},
		{"CGNAT, upper edge", plain, "example.com", 443, []string{"100.127.255.255"}, AddressNotPublic},
		{"above CGNAT", plain, "example.com", 443, []string{"100.128.0.0"}, Allowed},
		{"multicast", plain, "example.com", 443, []string{"239.1.2.3"}, AddressNotPublic},
		{"broadcast", plain, "example.com", 443, []string{"255.255.255.255"}, AddressNotPublic},
		{"metadata", plain, "example.com", 80, []string{"169.254.169.254"}, AddressNotPublic},
		{"Azure WireServer looks public", plain, "example.com", 80, []string{"168.63.129.16"}, AddressNotPublic},
		{"next to Azure WireServer", plain, "example.com", 80, []string{"168.63.129.17"}, Allowed},
		{"IPv4-mapped, even a public one", plain, "example.com", 443, []string{"::ffff:93.184.216.34"}, AddressNotPublic},
		{"IPv4-compatible", plain, "example.com", 443, []string{"::93.184.216.34"}, AddressNotPublic},
		{"SIIT", plain, "example.com", 443, []string{"::ffff:0:5db8:d822"}, AddressNotPublic},
		{"NAT64", plain, "example.com", 443, []string{"64:ff9b::5db8:d822"}, AddressNotPublic},
		{"6to4", plain, "example.com", 443, []string{"2002:5db8:d822::1"}, AddressNotPublic},
		{"Teredo", plain, "example.com", 443, []string{"2001:0:1::1"}, AddressNotPublic},
		{"below 2000::/3", plain, "example.com", 443, []string{"1fff:ffff::1"}, AddressNotPublic},
		{"above 2000::/3", plain, "example.com", 443, []string{"4000::1"}, AddressNotPublic},
		{"unique local", plain, "example.com", 443, []string{"fdff::1"}, AddressNotPublic},
		{"a zone", plain, "example.com", 443, []string{"2606:4700::1111%eth0"}, AddressNotPublic},
		{"an address of this machine", plain, "example.com", 443, []string{"198.41.0.4"}, AddressNotPublic},
		{"next to this machine", plain, "example.com", 443, []string{"198.41.0.5"}, Allowed},

		{"localhost", plain, "localhost", 443, []string{web}, NameNotPublic},
		{"below localhost", plain, "a.b.LOCALHOST.", 443, []string{web}, NameNotPublic},
		{"a name that ends alike is another name", plain, "notlocal.example", 443, []string{web}, Allowed},
		{"home.arpa itself", plain, "home.arpa", 443, []string{web}, NameNotPublic},
		{"a single label", plain, "redis", 443, []string{web}, NameNotPublic},
		{"letters in circles", plain, "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", 443, []string{web}, NameNotPublic},
		{"soft hyphens do not hide a name", plain, "local\u00adhost", 443, []string{web}, NameNotPublic},
		{"an address in short form is no name", plain, "127.1", 443, []string{web}, BadTarget},
		{"nor is a name that ends in a hex number", plain, "example.0x7f", 443, []string{web}, BadTarget},
		{"nor is an empty one", plain, "", 443, []string{web}, BadTarget},
		{"nor is a dot", plain, ".", 443, []string{web}, BadTarget},
		{"nor one with an empty label", plain, "a..example.com", 443, []string{web}, BadTarget},
		{"nor one with two dots at the end", plain, "example.com..", 443, []string{web}, BadTarget},
		{"nor one that begins with a hyphen", plain, "-a.example.com", 443, []string{web}, BadTarget},
		{"a label of 63 characters", plain, label63 + ".example.com", 443, []string{web}, Allowed},
		{"a label of 64 characters", plain, "a" + label63 + ".example.com", 443, []string{web}, BadTarget},
		{"a name of 253 characters", plain, "a" + name252, 443, []string{web}, Allowed},
		{"a name of 254 characters", plain, "aa" + name252, 443, []string{web}, BadTarget},
		{"nor one with a null", plain, "example.com\x00.internal", 443, []string{web}, BadTarget},

		{"port 80", plain, "example.com", 80, []string{web}, Allowed},
		{"a low port", plain, "example.com", 22, []string{web}, PortNotAllowed},
		{"the last low port", plain, "example.com", 1023, []string{web}, PortNotAllowed},
		{"the first high port", plain, "example.com", 1024, []string{web}, Allowed},
		{"the last port", plain, "example.com", 65535, []string{web}, Allowed},
		{"a database's port", plain, "example.com", 5432, []string{web}, PortNotAllowed},
		{"port 0", plain, "example.com", 0, []string{web}, BadTarget},
		{"a port beyond the last", plain, "example.com", 65536, []string{web}, BadTarget},
		{"a negative port", plain, "example.com", -1, []string{web}, BadTarget},
		{"a database's port that the operator lists", operator, "example.com", 5432, []string{web}, Allowed},
		{"a database's port in a range of the operator's", operator, "example.com", 9200, []string{web}, PortNotAllowed},
		{"80 where the operator leaves it out", operator, "example.com", 80, []string{web}, PortNotAllowed},

		{"loopback by name", loopback, "localhost", 22, []string{"127.0.0.1", "::1"}, Allowed},
		{"loopback by address", loopback, "127.0.0.1", 9000, nil, Allowed},
		{"loopback by another address of it", loopback, "127.9.9.9", 9000, nil, Allowed},
		{"loopback by IPv6 address", loopback, "::1", 9000, nil, Allowed},
		{"loopback in another form", loopback, "::ffff:127.0.0.1", 443, nil, AddressNotPublic},
		{"localhost that is elsewhere on a low port", loopback, "localhost", 443, []string{"10.0.0.1"}, AddressNotPublic},
		{"a name that leads to loopback", loopback, "example.com", 443, []string{"127.0.0.1"}, AddressNotPublic},
		{"a name below localhost", loopback, "a.localhost", 443, []string{"127.0.0.1"}, NameNotPublic},
		{"the zero address, with loopback allowed", loopback, "0.0.0.0", 443, nil, AddressNotPublic},
		{"private addresses, with loopback allowed", loopback, "10.0.0.1", 443, nil, AddressNotPublic},
		{"other ports of other hosts, with loopback allowed", loopback, "example.com", 22, []string{web}, PortNotAllowed},

		{"a range that the operator opens", operator, "example.com", 443, []string{"10.1.2.3"}, Allowed},
		{"next to the range that the operator opens", operator, "example.com", 443, []string{"10.2.0.0"}, AddressNotPublic},
		{"an IPv6 range that the operator opens", operator, "example.com", 443, []string{"fd12::1"}, Allowed},
		{"an opened range does not open its mapped form", operator, "example.com", 443, []string{"::ffff:10.1.2.3"}, AddressNotPublic},
		{"a refused range within an opened one", operator, "example.com", 443, []string{"10.1.66.1"}, DeniedByOperator},
		{"a range that the operator refuses", operator, "example.com", 443, []string{"8.8.8.8"}, DeniedByOperator},
		{"a refused range in IPv6", operator, "example.com", 443, []string{"2606:4700::1111"}, DeniedByOperator},
		{"a refused range in mapped form", operator, "example.com", 443, []string{"::ffff:8.8.8.8"}, DeniedByOperator},
		{"a single address that the operator opens", operator, "example.com", 443, []string{"203.0.113.9"}, Allowed},
		{"metadata cannot be opened", operator, "example.com", 443, []string{"169.254.169.254"}, AddressNotPublic},
		{"opened NAT64 leads to a public address", operator, "example.com", 443, []string{"64:ff9b::5db8:d822"}, Allowed},
		{"opened NAT64 leads to loopback", operator, "example.com", 443, []string{"64:ff9b::7f00:1"}, AddressNotPublic},
		{"opened NAT64 leads to metadata", operator, "example.com", 443, []string{"64:ff9b::a9fe:a9fe"}, AddressNotPublic},
		{"opened NAT64 leads to a refused range", operator, "example.com", 443, []string{"64:ff9b::808:808"}, DeniedByOperator},
		{"opened NAT64 leads to an opened range", operator, "example.com", 443, []string{"64:ff9b::a01:203"}, Allowed},
		{"a name that the operator opens", operator, "redis", 443, []string{web}, Allowed},
		{"names that the operator opens", operator, "billing.CORP.internal", 443, []string{"10.1.2.3"}, Allowed},
		{"the name above those that the operator opens", operator, "corp.internal", 443, []string{web}, NameNotPublic},
		{"an opened name does not open its address", operator, "billing.corp.internal", 443, []string{"10.0.0.1"}, AddressNotPublic},
		{"a name that the operator refuses", operator, "evil.example.com", 443, []string{web}, DeniedByOperator},
		{"names below one that the operator refuses", operator, "a.evil.example.com", 443, []string{web}, DeniedByOperator},
		{"a refused name among opened ones", operator, "no.corp.internal", 443, []string{web}, DeniedByOperator},
	} {
		t.Run(c.rule, func(t *testing.T) {
			policy, err := newPolicy(c.config, ownOnly("198.41.0.4", "10.1.7.7", "127.0.0.1", "::1"))
			if err != nil {
				t.Fatal(err)
			}
			d := policy.Decide(c.host, c.port, parseAddrs(c.addrs))
			if d.Reason != c.want || d.Allow != (c.want == Allowed) {
				t.Errorf("Decide(%q, %d, %v) = %+v; want %s", c.host, c.port, c.addrs, d, c.want)
			}
			if !d.Allow && d.Rule == "" {
				t.Error("the operator is not told the rule")
			}
		})
	}
}

func TestAliasesAreJudgedAsNames(t *testing.T) {
	cfg := DefaultConfig()
	cfg.AllowLoopback = true
	cfg.AllowHosts = []string{"billing.corp.internal"}
	cfg.DenyHosts = []string{"evil.example.com"}
	policy, err := NewPolicy(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		rule, name, canonical string
		want                  Reason
	}{
		{"itself", "hooks.example.com", "hooks.example.com.", Allowed},
		{"unknown", "hooks.example.com", "", Allowed},
		{"another public name", "hooks.example.com", "LB.example.net.", Allowed},
		{"a private name, in any case", "hooks.example.com", "vault.INTERNAL.", NameNotPublic},
		{"a single label", "hooks.example.com", "redis.", NameNotPublic},
		{"a refused name", "hooks.example.com", "evil.example.com.", DeniedByOperator},
		{"a private name behind one that the operator opened", "billing.corp.internal", "lb7.corp.internal.", Allowed},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if d := policy.decideAlias(target{name: c.name, port: 443}, c.canonical); d.Reason != c.want {
				t.Errorf("got %+v; want %s", d, c.want)
			}
		})
	}
}

func TestOwnAddresses(t *testing.T) {
	opened := DefaultConfig()
	opened.AllowCIDRs = []string{"10.1.0.0/16"}
	single := DefaultConfig()
	single.AllowCIDRs = []string{"10.1.0.0/16", "10.1.7.7/32"}
	for _, c := range []struct {
		rule   string
		config Config
		want   Reason
	}{
		{"a range does not open this machine", opened, AddressNotPublic},
		{"its address alone does", single, Allowed},
	} {
		t.Run(c.rule, func(t *testing.T) {
			policy, err := newPolicy(c.config, ownOnly("10.1.7.7"))
			if err != nil {
				t.Fatal(err)
			}
			if d := policy.Decide("example.com", 443, parseAddrs([]string{"10.1.7.7"})); d.Reason != c.want {
				t.Errorf("got %+v; want %s", d, c.want)
			}
		})
	}
}

func TestOwnAddressesAreReadAgain(t *testing.T) {
	policy, err := newPolicy(DefaultConfig(), ownOnly())
	if err != nil {
		t.Fatal(err)
	}
	if d := policy.Decide("198.41.0.4", 443, nil); !d.Allow {
		t.Fatalf("before: %+v", d)
	}
	policy.local = ownOnly("198.41.0.4")
	if err := policy.refreshOwn(); err != nil {
		t.Fatal(err)
	}
	if d := policy.Decide("198.41.0.4", 443, nil); d.Reason != AddressNotPublic {
		t.Errorf("after: %+v", d)
	}
}

func TestThisMachinesAddressesAreItsOwn(t *testing.T) {
	addrs, err := interfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range addrs {
		if addr.IsLoopback() {
			return
		}
	}
	t.Errorf("no loopback address among %v", addrs)
}

// The registries as of RFC 9637; a library that forgets one of them fails here.
func TestRegisteredRangesAreRefusedAtBothEdges(t *testing.T) {
	for _, text := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
		"192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24",
		"203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"::/128", "::1/128", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "2001:db8::/32",
		"2002::/16", "2620:4f:8000::/48", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
	} {
		prefix := netip.MustParsePrefix(text)
		for _, addr := range []netip.Addr{prefix.Addr(), lastOf(prefix)} {
			if decideRegistered(addr).Allow {
				t.Errorf("%s of %s is allowed", addr, prefix)
			}
		}
	}
}

func lastOf(prefix netip.Prefix) netip.Addr {
	bytes := prefix.Addr().AsSlice()
	for bit := prefix.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 1 << (7 - bit%8)
	}
	addr, _ := netip.AddrFromSlice(bytes)
	return addr
}
