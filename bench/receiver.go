package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/millrace-dev/millrace/sinks"
)

// receiver answers 200 to every delivery and notes it in the ledger of its
// line: http://<address>/<line>/<endpoint>. Each scenario has a line of its
// own, on which one run follows the other.
type receiver struct {
	url      string
	listener net.Listener
	lines    [maxLines]atomic.Pointer[ledger]
	strays   atomic.Pointer[string] // the first delivery that belongs to no run
	ctx      context.Context
	cancel   context.CancelFunc
	serving  sync.WaitGroup
}

const maxLines = 64

// newReceiver listens; reached is how the gateway reaches it, where that is
// not by the address.
func newReceiver(address, reached string) (*receiver, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for deliveries: %w", err)
	}
	r := &receiver{url: strings.TrimSuffix(reached, "/"), listener: listener}
	if r.url == "" {
		r.url = "http://" + listener.Addr().String()
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.serving.Go(r.accept)
	return r, nil
}

// endpoint is the URL of one.
func (r *receiver) endpoint(line, number int) string {
	return fmt.Sprintf("%s/%d/%d", r.url, line, number)
}

// expect makes a ledger that of a line. The error is what arrived for the one
// before it since that was reconciled.
func (r *receiver) expect(line int, l *ledger) error {
	if before := r.lines[line].Swap(l); before != nil {
		return before.broken()
	}
	return nil
}

// late is what arrived after its run was reconciled, or for no run at all.
func (r *receiver) late() error {
	for i := range r.lines {
		if l := r.lines[i].Load(); l != nil && l.broken() != nil {
			return l.broken()
		}
	}
	return r.stray()
}

func (r *receiver) accept() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.serving.Go(func() {
			defer context.AfterFunc(r.ctx, func() { _ = conn.Close() })()
			defer func() { _ = conn.Close() }()
			r.serve(conn)
		})
	}
}

var thanks = []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

// serve answers the requests of one connection until it ends.
func (r *receiver) serve(conn net.Conn) {
	in, m := bufio.NewReaderSize(conn, 4096), message{}
	for m.read(in) == nil {
		l, known := r.take(&m)
		if l != nil && l.delay > 0 {
			r.wait(l.delay)
		}
		if _, err := conn.Write(thanks); err != nil {
			if l != nil {
				l.fail(fmt.Errorf("answer a delivery: %w", err))
			}
			return
		}
		if known {
			l.done()
		}
		if m.last {
			return
		}
	}
}

// take notes a delivery in the ledger it belongs to.
func (r *receiver) take(m *message) (l *ledger, known bool) {
	line, endpoint, ok := address(string(m.path()))
	if ok {
		l = r.lines[line].Load()
	}
	if l == nil {
		stray := fmt.Sprintf("%s %.80q", m.start, m.body)
		r.strays.CompareAndSwap(nil, &stray)
		return nil, false
	}
	known, check := l.arrive(endpoint, m)
	if check && l.secret != "" {
		if err := verify(l.secret, m); err != nil {
			l.fail(fmt.Errorf("the signature of a delivery: %w", err))
		}
	}
	return l, known
}

// address reads /<line>/<endpoint>.
func address(path string) (line, endpoint int, ok bool) {
	first, second, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	line, err := strconv.Atoi(first)
	endpoint, err2 := strconv.Atoi(second)
	return line, endpoint, errors.Join(err, err2) == nil && line >= 0 && line < maxLines
}

// verify checks a delivery's signature by Standard Webhooks' own library, or
// Convoy's where it bears no other.
func verify(secret string, m *message) error {
	h := http.Header{}
	h.Set("webhook-id", string(m.fields.id))
	h.Set("webhook-timestamp", string(m.fields.timestamp))
	h.Set("webhook-signature", string(m.fields.signature))
	if len(m.fields.signature) == 0 {
		h.Set("X-Convoy-Signature", string(m.fields.convoy))
		return sinks.Verifier{Secrets: []string{secret}, Now: time.Now()}.Convoy(h, m.body)
	}
	w, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return err
	}
	return w.Verify(m.body, h)
}

func (r *receiver) wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.ctx.Done():
	}
}

// stray is the fault that a delivery belonged to no run.
func (r *receiver) stray() error {
	if s := r.strays.Load(); s != nil {
		return fmt.Errorf("a delivery belongs to no run: %s", *s)
	}
	return nil
}

func (r *receiver) close() {
	r.cancel()
	_ = r.listener.Close()
	r.serving.Wait()
}
