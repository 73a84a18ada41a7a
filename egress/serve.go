package egress

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// ForHeader says in a CONNECT what the tunnel is for; "broker" opens the ports that brokers listen on. Only a client that authenticated
// itself is believed.
const ForHeader = "X-Millrace-Egress-For"

// The headers of the proxy's answers.
const (
	ReasonHeader = "X-Millrace-Egress"      // a Reason
	PeerHeader   = "X-Millrace-Egress-Peer" // the IP address that was connected to
)

// ServeHTTP answers one request of a client: a CONNECT that is allowed becomes a tunnel.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodConnect:
		w.Header().Set("Allow", http.MethodConnect)
		p.refuse(w, MethodNotAllowed)
		return
	case !p.auth.knows(r):
		w.Header().Add("Proxy-Authenticate", `Bearer realm="millrace egress"`)
		w.Header().Add("Proxy-Authenticate", `Basic realm="millrace egress"`)
		p.log.Warn("client refused", "client", r.RemoteAddr)
		p.refuse(w, Unauthenticated)
		return
	}
	if reason := p.roster.admit(); reason != Allowed {
		w.Header().Set("Retry-After", "1")
		p.refuse(w, reason)
		return
	}
	if !p.establish(w, r) {
		p.roster.leave()
	}
}

// establish returns true if a tunnel is open, which then gives the place back when it ends.
func (p *Proxy) establish(w http.ResponseWriter, r *http.Request) bool {
	t, refusal := connectTarget(r)
	if refusal != nil {
		p.log.Warn("destination refused", "destination", quote(r.RequestURI), "reason", refusal.Reason, "rule", refusal.Message)
		p.refuse(w, refusal.Reason)
		return false
	}
	dest, peer, fail := p.connector.connect(r.Context(), t)
	if fail != nil {
		reason := p.logFailure(r, t, fail)
		p.refuse(w, reason)
		return false
	}
	if err := p.startTunnel(w, dest, peer); err != nil {
		p.log.Debug("client gone", "client", r.RemoteAddr, "destination", t.host(), "error", err)
		p.counters.connects[ClientGone].Add(1)
		dest.Close()
		return false
	}
	return true
}

// connectTarget reads the authority that a CONNECT names (RFC 9110, 9.3.6): host and port, both.
func connectTarget(r *http.Request) (target, *Refusal) {
	colon := strings.LastIndexByte(r.RequestURI, ':')
	if colon < 0 || r.ContentLength != 0 {
		return target{}, refuse(BadTarget, "A CONNECT names a host and a port, and has no body.")
	}
	t, refusal := splitTarget(r.RequestURI[:colon], r.RequestURI[colon+1:])
	t.broker = r.Header.Get(ForHeader) == "broker"
	return t, refusal
}

func (p *Proxy) logFailure(r *http.Request, t target, fail *failure) Reason {
	reason, d := fail.decision.Reason, fail.decision
	if r.Context().Err() != nil && !reason.denies() {
		reason = ClientGone
	}
	if reason.denies() {
		p.log.Warn("destination denied", "destination", t.host(), "port", t.port, "reason", reason, "address", d.Addr, "rule", d.Rule)
	} else {
		p.log.Info("destination not reached", "destination", t.host(), "port", t.port, "reason", reason, "error", fail)
	}
	return reason
}

// refuse answers a request that gets no tunnel, and closes its connection: a client that opens another one is judged anew.
func (p *Proxy) refuse(w http.ResponseWriter, reason Reason) {
	p.counters.connects[reason].Add(1)
	w.Header().Set(ReasonHeader, string(reason))
	w.Header().Set("Connection", "close")
	http.Error(w, "egress: "+string(reason), reason.Status())
}

func (p *Proxy) startTunnel(w http.ResponseWriter, dest net.Conn, peer netip.Addr) error {
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return fmt.Errorf("take over connection: %w", err)
	}
	if err := p.sayEstablished(client, peer); err != nil {
		client.Close()
		return err
	}
	p.counters.connects[Allowed].Add(1)
	t := &tunnel{
		client:  client,
		dest:    dest,
		early:   takeBuffered(buffered.Reader),
		limits:  tunnelLimits{idle: p.config.IdleTimeout, halfClosed: p.config.HalfClosedTimeout, lifetime: p.config.Lifetime},
		epoch:   time.Now(),
		buffers: p.buffers,
		bytes:   &p.counters.bytes,
	}
	p.roster.open(t)
	if p.ctx.Err() != nil { // opened behind the back of a Shutdown that has closed all others
		t.close()
	}
	go p.runTunnel(t) // the roster waits for it
	return nil
}

// runTunnel is not the server's goroutine: that one ends, and with it all that it holds.
func (p *Proxy) runTunnel(t *tunnel) {
	defer p.roster.leave()
	defer p.roster.remove(t)
	t.run()
}

func (p *Proxy) sayEstablished(client net.Conn, peer netip.Addr) error {
	if err := client.SetWriteDeadline(time.Now().Add(p.config.HeadTimeout)); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	head := fmt.Sprintf("HTTP/1.1 200 Connection Established\r\n%s: %s\r\n%s: %s\r\n\r\n", ReasonHeader, Allowed, PeerHeader, peer)
	if _, err := client.Write([]byte(head)); err != nil {
		return fmt.Errorf("answer client: %w", err)
	}
	return client.SetWriteDeadline(time.Time{})
}

// takeBuffered returns a copy of what the client sent right behind its CONNECT.
func takeBuffered(r *bufio.Reader) []byte {
	early := make([]byte, r.Buffered())
	n, _ := r.Read(early) // buffered bytes are always there
	return early[:n]
}
