package egress

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// Dialer connects to brokers without a proxy in between, for who keeps a connection for days. It judges as the proxy does: by name and port,
// by every address that the name resolves to, and once more at the connect itself.
type Dialer struct {
	connector *connector
	log       *slog.Logger
	// refreshed is when this machine's own addresses were read last, in Unix nanoseconds.
	refreshed atomic.Int64
}

// NewDialer returns a dialer by the policy that the configuration describes. The address and the rule behind a refusal go to the log only.
func NewDialer(cfg Config, log *slog.Logger) (*Dialer, error) {
	c, err := newConnector(cfg)
	if err != nil {
		return nil, err
	}
	d := &Dialer{connector: c, log: log}
	d.refreshed.Store(time.Now().UnixNano())
	return d, nil
}

// DialContext connects to the host:port of a broker, by TCP whatever network is asked for. What the policy forbids is a *Refusal, in a sentence
// for the tenant; any other error is that of the lookup or of the connect.
func (d *Dialer) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	colon := strings.LastIndexByte(address, ':')
	if colon < 0 {
		return nil, refuse(BadTarget, "The address %s names no host and port; write it like broker.example.com:9092.", quote(address))
	}
	t, refusal := splitTarget(address[:colon], address[colon+1:])
	if refusal != nil {
		return nil, refusal
	}
	t.broker = true
	d.refreshOwn()
	conn, _, fail := d.connector.connect(ctx, t)
	switch {
	case fail == nil:
		return conn, nil
	case fail.decision.Reason.denies():
		d.log.Warn("destination denied", "destination", t.host(), "port", t.port, "reason", fail.decision.Reason, "address", fail.decision.Addr, "rule", fail.Error())
		return nil, explain(fail.decision.Reason, t)
	}
	if inner := errors.Unwrap(fail.cause); inner != nil { // it names the host itself
		return nil, inner
	}
	return nil, fail.cause
}

// refreshOwn reads this machine's own addresses again, once a minute at most.
func (d *Dialer) refreshOwn() {
	last, now := d.refreshed.Load(), time.Now().UnixNano()
	if now-last < int64(refreshOwnEvery) || !d.refreshed.CompareAndSwap(last, now) {
		return
	}
	if err := d.connector.policy.refreshOwn(); err != nil {
		d.log.Error("keep judging by the addresses this machine had", "error", err)
	}
}
