package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// rules is the configured part of a policy, parsed.
type rules struct {
	allowLoopback bool
	allowed       []netip.Prefix
	denied        []netip.Prefix
	platform      []netip.Prefix
	allowedHosts  []string
	deniedHosts   []string
	privateNames  []string
	ports         portSet
	// brokerPorts are those that only a broker may be called at.
	brokerPorts portSet
}

func newRules(cfg Config) (rules, error) {
	r := rules{allowLoopback: cfg.AllowLoopback, platform: platformPrefixes(), privateNames: privateNames()}
	var faults [5]error
	r.allowed, faults[0] = parsePrefixes("egress.allow_cidrs", cfg.AllowCIDRs)
	r.denied, faults[1] = parsePrefixes("egress.deny_cidrs", cfg.DenyCIDRs)
	r.allowedHosts, faults[2] = parseHostPatterns("egress.allow_hosts", cfg.AllowHosts)
	r.deniedHosts, faults[3] = parseHostPatterns("egress.deny_hosts", cfg.DenyHosts)
	r.ports, r.brokerPorts, faults[4] = parsePorts(cfg.Ports)
	return r, errors.Join(faults[:]...)
}

// platformPrefixes lists what a cloud or container platform serves to its own machines: metadata, credentials, internal DNS. Most of it
// lies in reserved ranges; it is listed so that no allow_cidrs opens it.
func platformPrefixes() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("169.254.0.0/16"),     // metadata of AWS, Google Cloud, Azure, DigitalOcean …; credentials of ECS and EKS
		netip.MustParsePrefix("168.63.129.16/32"),   // Azure WireServer
		netip.MustParsePrefix("100.100.100.200/32"), // Alibaba Cloud metadata
		netip.MustParsePrefix("192.0.0.192/32"),     // Oracle Cloud metadata, legacy
		netip.MustParsePrefix("fd00:ec2::/32"),      // AWS metadata, DNS, time
		netip.MustParsePrefix("fd20:ce::254/128"),   // Google Cloud metadata
		netip.MustParsePrefix("fd00:c1::/32"),       // Oracle Cloud metadata
		netip.MustParsePrefix("fe80::/10"),          // link-local
	}
}

// privateNames lists the domains that no public resolver answers for: RFC 6761, RFC 6762 appendix G, RFC 8375, and ICANN's .internal.
func privateNames() []string {
	return []string{"localhost", "local", "localdomain", "internal", "lan", "home.arpa", "intranet", "private", "corp", "home"}
}

// wellKnownServices lists ports from 1024 up on which something listens that is not a receiver of webhooks.
func wellKnownServices() []uint16 {
	return []uint16{
		1080, 1099, 1433, 1434, 1521, 1723, 1883, // SOCKS, RMI, SQL Server, Oracle, PPTP, MQTT
		2049, 2181, 2375, 2376, 2379, 2380, 2483, 2484, // NFS, ZooKeeper, Docker, etcd, Oracle
		3128, 3260, 3268, 3269, 3306, 3389, // Squid, iSCSI, global catalog, MySQL, RDP
		4369, 4750, 5060, 5061, 5432, 5433, 5671, 5672, // epmd, this proxy, SIP, PostgreSQL, AMQP
		5900, 5901, 5902, 5903, 5984, 5985, 5986, // VNC, CouchDB, WinRM
		6000, 6001, 6379, 6380, 6432, 6443, 6660, 6667, 6697, // X11, Redis, PgBouncer, Kubernetes, IRC
		7000, 7001, 7199, 8086, 8300, 8301, 8302, 8500, 8600, // Cassandra, InfluxDB, Consul
		9042, 9092, 9093, 9160, 9200, 9300, 9418, // Cassandra, Kafka, Elasticsearch, git
		10250, 10255, 10257, 10259, 11211, 15672, 16379, // kubelet and friends, memcached, RabbitMQ, Redis Cluster bus
		26257, 26379, 27017, 27018, 27019, 28015, 50070, 61616, // CockroachDB, Sentinel, MongoDB, RethinkDB, HDFS, ActiveMQ
	}
}

// brokerServices lists those of the well-known services that an endpoint may be: Kafka and AMQP.
func brokerServices() []uint16 { return []uint16{5671, 5672, 9092, 9093} }

func parsePrefixes(key string, texts []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	var faults []error
	for _, text := range texts {
		prefix, err := parsePrefix(text)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %q is not a range such as 10.0.0.0/8, nor an address", key, text))
			continue
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes, errors.Join(faults...)
}

func parsePrefix(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, err
		}
		return addr.Unmap().WithZone("").Prefix(addr.Unmap().BitLen())
	}
	prefix, err := netip.ParsePrefix(text)
	if err == nil && prefix.Addr().Is4In6() {
		err = errors.New("an IPv4 range in IPv6 form matches nothing")
	}
	return prefix.Masked(), err
}

// parseHostPatterns turns "name" into itself and "*.name" into ".name".
func parseHostPatterns(key string, texts []string) ([]string, error) {
	var patterns []string
	var faults []error
	for _, text := range texts {
		name, below := strings.CutPrefix(text, "*.")
		host, addr, refusal := parseHost(name)
		if refusal != nil || addr.IsValid() {
			faults = append(faults, fmt.Errorf("%s: %q is neither a name nor of the form *.name", key, text))
			continue
		}
		if below {
			host = "." + host
		}
		patterns = append(patterns, host)
	}
	return patterns, errors.Join(faults...)
}

func matchesHost(patterns []string, host string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		return host == pattern || pattern[0] == '.' && strings.HasSuffix(host, pattern)
	})
}

// portSet has an entry for every port.
type portSet []bool

// parsePorts reads which ports may be called, and which of them by brokers alone: a range leaves those out like every well-known service.
func parsePorts(texts []string) (ports, brokers portSet, err error) {
	ports, brokers = make(portSet, 1<<16), make(portSet, 1<<16)
	var faults []error
	if len(texts) == 0 {
		faults = append(faults, errors.New("egress.ports: the list is empty, so nothing could be delivered"))
	}
	var single []uint16
	for _, text := range texts {
		low, high, err := parsePortRange(text)
		if err != nil {
			faults = append(faults, fmt.Errorf("egress.ports: %q is neither a port nor a range such as 1024-65535", text))
			continue
		}
		if low == high {
			single = append(single, low)
		}
		for port := int(low); port <= int(high); port++ {
			ports[port] = true
		}
	}
	for _, port := range brokerServices() {
		brokers[port] = ports[port]
	}
	for _, port := range wellKnownServices() {
		if !slices.Contains(single, port) {
			ports[port] = false
		}
	}
	return ports, brokers, errors.Join(faults...)
}

func parsePortRange(text string) (low, high uint16, err error) {
	first, last, ranged := strings.Cut(text, "-")
	if !ranged {
		last = first
	}
	if low, err = parsePort(first); err != nil {
		return 0, 0, err
	}
	if high, err = parsePort(last); err != nil {
		return 0, 0, err
	}
	if high < low {
		return 0, 0, strconv.ErrRange
	}
	return low, high, nil
}

// parsePort reads a port from 1 to 65535, digits only.
func parsePort(text string) (uint16, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err == nil && port == 0 {
		err = strconv.ErrRange
	}
	return uint16(port), err
}
