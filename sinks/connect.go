package sinks

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/millrace-dev/millrace"
)

// What the egress says about a CONNECT beside its status.
const (
	reasonHeader     = "X-Millrace-Egress"
	peerHeader       = "X-Millrace-Egress-Peer"
	smokescreenError = "X-Smokescreen-Error"
	forHeader        = "X-Millrace-Egress-For"
	maxConnectAnswer = 16 << 10
)

// connectCall is one request for a tunnel; asked is called when a proxy has it
// and what happens next is up to the destination.
type connectCall struct {
	target string
	// broker says that the tunnel is for a broker, which has ports of its own.
	broker bool
	reach  time.Duration
	asked  func()
}

// connect asks for a tunnel. A *dialError is the destination's fault, any
// other error the proxy's.
func (p *proxy) connect(ctx context.Context, call connectCall) (*tunnel, error) {
	conn, err := p.open(ctx, call.reach)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	t, err := p.ask(conn, call)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		return t, nil
	}
	conn.Close()
	if ctx.Err() != nil {
		return nil, &dialError{outcome: millrace.OutcomeTimeout, text: "The endpoint could not be connected to within the deadline."}
	}
	return nil, err
}

func (p *proxy) open(ctx context.Context, within time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", p.addr)
	if err != nil || p.tls == nil {
		return conn, err
	}
	secure := tls.Client(conn, p.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

func (p *proxy) ask(conn net.Conn, call connectCall) (*tunnel, error) {
	if _, err := conn.Write(p.request(call)); err != nil {
		return nil, fmt.Errorf("ask for a tunnel: %w", err)
	}
	call.asked()
	buffered := bufio.NewReaderSize(io.LimitReader(conn, maxConnectAnswer), 1024)
	answer, err := http.ReadResponse(buffered, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, fmt.Errorf("read the answer to CONNECT: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, p.refused(answer)
	}
	if n := buffered.Buffered(); n > 0 {
		if !call.broker {
			return nil, errors.New("the proxy sent data before it was sent any")
		}
		early, _ := buffered.Peek(n) // they are there
		conn = &spokenFirst{Conn: conn, early: early}
	}
	p.answered()
	return newTunnel(conn, p, cleanPeer(answer.Header.Get(peerHeader))), nil
}

// spokenFirst is a connection on which the other side spoke first, as servers of
// HTTP/2 do: what came with the answer to CONNECT is read before the rest.
type spokenFirst struct {
	net.Conn
	early []byte
}

// Read implements net.Conn.
func (c *spokenFirst) Read(b []byte) (int, error) {
	if len(c.early) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.early)
	c.early = c.early[n:]
	return n, nil
}

func (p *proxy) refused(answer *http.Response) error {
	err := refusal(answer)
	var verdict *dialError
	if errors.As(err, &verdict) {
		p.answered()
	}
	return err
}

func (p *proxy) request(call connectCall) []byte {
	b := make([]byte, 0, 256)
	b = append(append(append(b, "CONNECT "...), call.target...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, call.target...), "\r\n"...)
	if call.broker {
		b = append(b, forHeader+": broker\r\n"...)
	}
	if p.authorization != "" {
		b = append(append(append(b, "Proxy-Authorization: "...), p.authorization...), "\r\n"...)
	}
	return append(b, "\r\n"...)
}

// refusal says whose fault a refused CONNECT is: a *dialError is about the
// destination, any other error about the proxy.
func refusal(answer *http.Response) error {
	reason, smoke := cleanReason(answer.Header.Get(reasonHeader)), answer.Header.Get(smokescreenError)
	verdict := &dialError{peer: cleanPeer(answer.Header.Get(peerHeader))}
	switch code := answer.StatusCode; {
	case code == http.StatusForbidden, code == http.StatusProxyAuthRequired && smoke != "":
		verdict.outcome, verdict.text = millrace.OutcomeBlocked, "The egress policy forbids this destination"+because(reason)+"."
	case strings.HasPrefix(reason, "dns_"), smoke != "" && strings.Contains(smoke, "resolve"):
		verdict.outcome, verdict.text = millrace.OutcomeDNS, "The endpoint's name does not resolve"+because(reason)+"."
	case code == http.StatusGatewayTimeout:
		verdict.outcome, verdict.text = millrace.OutcomeTimeout, "The endpoint did not accept a connection in time"+because(reason)+"."
	case strings.HasPrefix(reason, "connect_"), code == http.StatusBadGateway, smoke != "":
		verdict.outcome, verdict.text = millrace.OutcomeConnect, "The endpoint refused the connection or cannot be reached"+because(reason)+"."
	case code == http.StatusBadRequest:
		verdict.outcome, verdict.text = millrace.OutcomeUnsendable, "The egress does not understand this destination."
	default:
		return fmt.Errorf("CONNECT was answered with %d%s", code, because(reason))
	}
	return verdict
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}

// cleanReason lets a word of the egress's closed list through, and nothing
// that a stranger could have written.
func cleanReason(s string) string {
	for _, r := range s {
		if r != '_' && (r < 'a' || r > 'z') {
			return ""
		}
	}
	return s[:min(len(s), 40)]
}

func cleanPeer(s string) string {
	if net.ParseIP(s) == nil {
		return ""
	}
	return s
}
