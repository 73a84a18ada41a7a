package sinks

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

// lineBy is a line through these proxies.
func lineBy(t *testing.T, list ...*proxy) *line {
	t.Helper()
	l := newLine(&proxies{list: list, reach: patience, rest: time.Millisecond}, nil)
	t.Cleanup(l.cut)
	return l
}

func TestALineBlamesTheLastDialForWhatHadNoConnection(t *testing.T) {
	p := newProxy(t)
	l := lineBy(t, &proxy{addr: p.addr()})
	server := listen(t, hold)
	conn, err := l.dial(t.Context(), server.addr())
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	if why := l.trouble(before); why != nil {
		t.Errorf("with a connection: %v", why)
	}
	p.answers("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
	if _, err := l.dial(t.Context(), server.addr()); err == nil {
		t.Fatal("it was dialled through an egress that takes nothing")
	}
	if why := l.trouble(before); why == nil || !why.ours {
		t.Errorf("what waited during the dial is told %v", why)
	}
	if why := l.trouble(time.Now()); why != nil {
		t.Errorf("what came later and has a connection is told %v", why)
	}
	conn.Close()
	if why := l.trouble(time.Now()); why == nil {
		t.Error("what came later and has none is told nothing")
	}
	p.answer.Store(nil)
	if _, err = l.dial(t.Context(), server.addr()); err != nil {
		t.Fatal(err)
	}
	if why := l.trouble(before); why != nil {
		t.Errorf("after a dial that came about: %v", why)
	}
}

func TestALineKnowsAnEgressThatTakesNothing(t *testing.T) {
	silent := listen(t, hold) // no TLS is ever spoken
	l := lineBy(t, &proxy{addr: silent.addr(), tls: &tls.Config{ServerName: "egress.example"}})
	dialled := make(chan error, 1)
	go func() {
		_, err := l.dial(t.Context(), "broker.example:9092")
		dialled <- err
	}()
	eventually(t, "it is the egress's fault", func() bool {
		why := l.trouble(time.Now())
		return why != nil && why.ours
	})
	l.cut()
	if err := <-dialled; err == nil {
		t.Error("it was connected")
	}
}

func TestALineThatIsCutHasNoConnectionLeft(t *testing.T) {
	p := newProxy(t)
	l := lineBy(t, &proxy{addr: p.addr()})
	conn, err := l.dial(t.Context(), listen(t, hold).addr())
	if err != nil {
		t.Fatal(err)
	}
	l.cut()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("it is still read from")
	}
	if _, err := l.dial(t.Context(), "broker.example:9092"); err == nil {
		t.Error("it is dialled again")
	}
	why := l.why(t.Context(), posting{}, errEnded, func(error) *dialError { return nil })
	if !why.ours || why.outcome != millrace.Outcome("") {
		t.Errorf("a client that we closed is told %+v", why)
	}
}
