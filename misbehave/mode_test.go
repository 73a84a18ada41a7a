package misbehave

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestModesAreAClosedList(t *testing.T) {
	known, tabled := map[Mode]bool{}, wire()
	for mode := range handshakes() {
		tabled[mode] = seen{}
	}
	name, sentence := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`), map[string]bool{}
	for _, mode := range Modes() {
		if known[mode] || sentence[mode.Does()] {
			t.Errorf("%s (%s) is there twice", mode, mode.Does())
		}
		known[mode], sentence[mode.Does()] = true, true
		if _, tested := tabled[mode]; !tested {
			t.Errorf("no test looks at what %s does", mode)
		}
		if !name.MatchString(string(mode)) || mode.Does() == "" || mode.Validate() != nil {
			t.Errorf("%q does %q: %v", mode, mode.Does(), mode.Validate())
		}
	}
	for mode := range tabled {
		if !known[mode] {
			t.Errorf("%s is tested and is no mode", mode)
		}
	}
}

func TestAModeThatIsNoneIsRefusedWithThoseThatAre(t *testing.T) {
	for _, mode := range []Mode{"", "sulk", "HANG"} {
		_, err := New(mode, Watch{})
		if err == nil || mode.Does() != "" {
			t.Fatalf("%q is taken", mode)
		}
		for _, known := range Modes() {
			if !strings.Contains(err.Error(), string(known)) {
				t.Errorf("%q does not name %s", err, known)
			}
		}
	}
}

func TestModesOfTLSAreReachedByIt(t *testing.T) {
	for _, mode := range Modes() {
		_, secure := handshakes()[mode]
		if want := map[bool]string{false: "http://h:1", true: "https://h:1"}[secure]; mode.URL("h:1") != want {
			t.Errorf("%s is at %s", mode, mode.URL("h:1"))
		}
	}
}

// handshakes is what a client sees of each mode of TLS: what it says, where it
// trusts the certificate, and where it does not.
func handshakes() map[Mode]struct{ trusting, strange string } {
	return map[Mode]struct{ trusting, strange string }{
		TLSExpired:    {"expired", "expired"},
		TLSEarly:      {"not yet valid", "not yet valid"},
		TLSWrongName:  {"127.0.0.1", "127.0.0.1"},
		TLSSelfSigned: {"", "unknown authority"},
		TLSOld:        {"protocol version", "protocol version"},
		TLSPlain:      {"first record does not look like a TLS handshake", "first record does not look like a TLS handshake"},
		TLSHang:       {"deadline", "deadline"},
		TLSReset:      {"reset by peer", "reset by peer"},
	}
}

func TestWhatFailsInTheHandshake(t *testing.T) {
	t.Parallel()
	for mode, want := range handshakes() {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			over := make(chan Call, 2)
			s := start(t, mode, Watch{Ended: func(c Call) { over <- c }})
			trusted := x509.NewCertPool()
			trusted.AppendCertsFromPEM([]byte(s.CA()))
			for says, roots := range map[*string]*x509.CertPool{&want.trusting: trusted, &want.strange: x509.NewCertPool()} {
				if err := posts(t, mode, s.address, roots); *says == "" && err != nil || *says != "" && (err == nil || !strings.Contains(err.Error(), *says)) {
					t.Errorf("the client says %v, want %q", err, *says)
				}
				if c := <-over; (c.Request != nil) != (*says == "") || *says != "" && c.Fault == nil {
					t.Errorf("the server saw %+v", c)
				}
			}
		})
	}
}

// posts sends a request as a client that trusts these roots.
func posts(t *testing.T, m Mode, address string, roots *x509.CertPool) error {
	t.Helper()
	limit := slack
	if m == TLSHang {
		limit = 200 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, m.URL(address), strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	via := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer via.CloseIdleConnections()
	answer, err := via.RoundTrip(r)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

func TestTheDatesOfRetryAfter(t *testing.T) {
	for mode, want := range map[Mode]time.Duration{
		TooManyDate: AskedByDate, UnavailableDate: AskedByDate, TooManyPast: -time.Hour, UnavailablePast: -time.Hour,
		TooManyYearsDate: aDecade, UnavailableYearsDate: aDecade,
	} {
		answer := fetched(t, mode)
		at, err := http.ParseTime(answer.Header.Get("Retry-After"))
		if in := time.Until(at); err != nil || in < want-slack || in > want {
			t.Errorf("%s names %q, in %s, want %s", mode, answer.Header.Get("Retry-After"), in, want)
		}
	}
}

func TestTheGzipBombIsAHundredMegabytesInFewer(t *testing.T) {
	answer := fetched(t, GzipBomb)
	if answer.ContentLength > 200<<10 {
		t.Errorf("it is %d bytes on the wire", answer.ContentLength)
	}
	z, err := gzip.NewReader(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, z); n != gzipBombBytes || err != nil {
		t.Errorf("it is %d bytes when decompressed (%v), want %d", n, err, gzipBombBytes)
	}
}

func fetched(t *testing.T, m Mode) *http.Response {
	t.Helper()
	via := &http.Transport{DisableCompression: true}
	t.Cleanup(via.CloseIdleConnections)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, m.URL(start(t, m, Watch{}).address), strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := via.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	return answer
}

func TestWhatChangesFromRequestToRequest(t *testing.T) {
	t.Run("flap counts over all connections", func(t *testing.T) {
		s := start(t, Flap, Watch{})
		for range 2 {
			c := s.dial(t)
			c.ask()
			c.reads("HTTP/1.1 500 Internal Server Error\r\n" + empty)
			c = s.dial(t)
			c.ask()
			c.reads(ok200 + empty)
		}
	})
	t.Run("close-reused cuts the second of a connection", func(t *testing.T) {
		s := start(t, CloseReused, Watch{})
		for range 2 {
			c := s.dial(t)
			c.ask()
			c.reads(ok200 + empty)
			c.ask()
			c.ends(seen{then: cut})
		}
	})
}

func TestEverythingEndsWithTheContext(t *testing.T) {
	t.Parallel()
	for _, mode := range Modes() {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			s := start(t, mode, Watch{})
			asking, idle := s.dial(t), s.dial(t)
			asking.ask()
			s.end()
			select {
			case err := <-s.ended:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(slack):
				t.Fatal("it still serves")
			}
			for _, c := range []*client{asking, idle} {
				if _, err := io.Copy(io.Discard, c.conn); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("a connection is left")
				}
			}
		})
	}
}

func TestWatchHearsOfARequestTwice(t *testing.T) {
	began, ended := make(chan Call, 1), make(chan Call, 1)
	s := start(t, DripBody, Watch{Began: func(c Call) { began <- c }, Ended: func(c Call) { ended <- c }})
	c := s.dial(t)
	c.ask()
	if b := <-began; b.Request.URL.Path != "/hook" || string(b.Body) != "{}" || b.Sent != 0 {
		t.Errorf("began %+v", b)
	}
	head := ok200 + "Content-Length: 1000000\r\n\r\n"
	c.reads(head + "a")
	if err := c.conn.Close(); err != nil {
		t.Fatal(err)
	}
	e := <-ended
	if e.Request == nil || e.Sent <= int64(len(head)) || e.Took < dripInterval || !strings.HasPrefix(e.Fault.Error(), "the client left") {
		t.Errorf("ended %+v", e)
	}
}

func TestWatchIsToldThatTheServerEnded(t *testing.T) {
	began, ended := make(chan Call, 1), make(chan Call, 1)
	s := start(t, Hang, Watch{Began: func(c Call) { began <- c }, Ended: func(c Call) { ended <- c }})
	s.dial(t).ask()
	<-began
	s.end()
	if e := <-ended; !errors.Is(e.Fault, context.Canceled) {
		t.Errorf("it ended by %v", e.Fault)
	}
}
