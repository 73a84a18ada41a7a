package egress

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// reach starts a proxy whose public.example.com is the given destination, and opens a tunnel to it.
func reach(t *testing.T, cfg Config, handle func(net.Conn)) (*running, *client) {
	t.Helper()
	z := &zone{answers: map[string][][]string{"public.example.com": {{"93.184.216.34"}}}}
	d := &wire{to: destination(t, handle)}
	p := startProxy(t, cfg, withResolver(z), withDial(d.dial))
	conn, res := p.connect(t, "public.example.com:443")
	wantAnswer(t, res, 200, Allowed)
	return p, conn
}

func TestHalfClosedTunnelsCarryTheOtherHalf(t *testing.T) {
	t.Run("the client ends first and still gets its answer", func(t *testing.T) {
		p, conn := reach(t, testConfig(), func(dest net.Conn) {
			request, _ := io.ReadAll(dest) // until the client's end arrives
			_, _ = io.WriteString(dest, strings.ToUpper(string(request)))
		})
		conn.send(t, "question")
		if err := conn.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		conn.wantText(t, "QUESTION")
		conn.wantEnd(t)
		eventually(t, "the tunnel is gone", func() bool { return p.Stats().Tunnels == 0 })
	})
	t.Run("the destination ends first and still hears the client", func(t *testing.T) {
		heard := make(chan string, 1)
		p, conn := reach(t, testConfig(), func(dest net.Conn) {
			_ = dest.(*net.TCPConn).CloseWrite()
			text, _ := io.ReadAll(dest)
			heard <- string(text)
		})
		conn.wantEnd(t)
		conn.send(t, "last words")
		conn.Close()
		if got := <-heard; got != "last words" {
			t.Errorf("heard %q", got)
		}
		eventually(t, "the tunnel is gone", func() bool { return p.Stats().Tunnels == 0 })
	})
	t.Run("a destination that never ends is not waited for", func(t *testing.T) {
		cfg := testConfig()
		cfg.HalfClosedTimeout = 100 * time.Millisecond
		hold := make(chan struct{})
		defer close(hold)
		p, conn := reach(t, cfg, func(net.Conn) { <-hold })
		conn.Close()
		eventually(t, "the tunnel is gone", func() bool { return p.Stats().Tunnels == 0 })
	})
}

func TestMuchIsCarriedUnchangedBothWays(t *testing.T) {
	p, conn := reach(t, testConfig(), echo)
	text := strings.Repeat("0123456789abcdef", 1<<17)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.WriteString(conn, text)
	}()
	conn.wantText(t, text)
	<-done
	conn.Close()
	eventually(t, "the tunnel is gone", func() bool { return p.Stats().Tunnels == 0 })
	if s := p.Stats(); s.BytesUp != uint64(len(text)) || s.BytesDown != uint64(len(text)) {
		t.Errorf("counted %d up, %d down; want %d", s.BytesUp, s.BytesDown, len(text))
	}
}

func TestIdleTunnelsAreClosed(t *testing.T) {
	cfg := testConfig()
	cfg.IdleTimeout = 300 * time.Millisecond
	p, conn := reach(t, cfg, echo)
	conn.wantEcho(t, "hello")
	begun := time.Now()
	conn.wantEnd(t)
	if quiet := time.Since(begun); quiet < cfg.IdleTimeout/2 {
		t.Errorf("closed after %s", quiet)
	}
	eventually(t, "it is counted", func() bool { return p.Stats().Cut == 1 && p.Stats().Tunnels == 0 })
}

func TestAStalledReaderIsIdle(t *testing.T) {
	cfg := testConfig()
	cfg.IdleTimeout = 300 * time.Millisecond
	p, conn := reach(t, cfg, func(dest net.Conn) {
		for { // until the tunnel is closed: nobody reads this
			if _, err := dest.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	eventually(t, "the tunnel is gone", func() bool { return p.Stats().Tunnels == 0 })
	conn.Close()
}

func TestOldTunnelsAreClosedAtTheirNextRest(t *testing.T) {
	cfg := testConfig()
	cfg.Lifetime = 100 * time.Millisecond
	p, conn := reach(t, cfg, echo)
	conn.wantEcho(t, "hello")
	conn.wantEnd(t)
	eventually(t, "the tunnel is gone", func() bool { return p.Stats().Tunnels == 0 })
}

func TestOverdue(t *testing.T) {
	limits := tunnelLimits{idle: time.Minute, halfClosed: 10 * time.Second, lifetime: time.Hour}
	const sec, min = time.Second, time.Minute
	for _, c := range []struct {
		rule                string
		age, sent, answered time.Duration
		half, draining      bool
		want                bool
	}{
		{"a new tunnel", 0, 0, 0, false, false, false},
		{"one that has never been used", 2 * min, 0, 0, false, false, true},
		{"one that spoke lately", 10 * min, 9*min + 30*sec, 0, false, false, false},
		{"one that was answered lately", 10 * min, 0, 9*min + 30*sec, false, false, false},
		{"one that has been silent for long", 10 * min, 8 * min, 9 * min, false, false, true},
		{"one half ended, lately", 10 * min, 10*min - 5*sec, 0, true, false, false},
		{"one half ended and silent since", 10 * min, 10*min - 10*sec, 0, true, false, true},
		{"an old one, at rest", time.Hour, time.Hour - 2*sec, time.Hour - sec, false, false, true},
		{"an old one, just answered", time.Hour, time.Hour - 2*sec, time.Hour - sec/10, false, false, false},
		{"an old one that waits for its answer", time.Hour, time.Hour - sec, time.Hour - 2*sec, false, false, false},
		{"one too old even for that", time.Hour + min, time.Hour + min - sec, 0, false, false, true},
		{"one at rest while the proxy stops", min, 2 * sec, 58 * sec, false, true, true},
		{"a new one while the proxy stops", sec / 10, 0, 0, false, true, false},
		{"an unused one while the proxy stops", sec, 0, 0, false, true, true},
		{"one that waits for its answer while the proxy stops", min, 58 * sec, 2 * sec, false, true, false},
	} {
		t.Run(c.rule, func(t *testing.T) {
			epoch := time.Now()
			tun := &tunnel{limits: limits, epoch: epoch}
			tun.heard[up].Store(int64(c.sent))
			tun.heard[down].Store(int64(c.answered))
			tun.halfEnded.Store(c.half)
			if got := tun.overdue(epoch.Add(c.age), c.draining); got != c.want {
				t.Errorf("overdue: %t", got)
			}
		})
	}
}

func TestShutdownWaitsForWhatIsOwedAnAnswer(t *testing.T) {
	answer := make(chan struct{})
	p, busy := reach(t, testConfig(), func(dest net.Conn) {
		_, _ = dest.Read(make([]byte, 100))
		<-answer
		_, _ = io.WriteString(dest, "answer")
		_, _ = io.Copy(io.Discard, dest)
	})
	resting, res := p.connect(t, "public.example.com:443")
	wantAnswer(t, res, 200, Allowed)
	busy.send(t, "question")
	eventually(t, "the question has arrived", func() bool { return p.Stats().BytesUp > 0 })

	stopped := make(chan error, 1)
	go func() { stopped <- p.Shutdown(context.Background()) }()
	resting.wantEnd(t)
	if _, err := net.Dial("tcp", p.addr); err == nil {
		t.Error("it still listens")
	}
	select {
	case err := <-stopped:
		t.Fatalf("stopped while an answer was owed: %v", err)
	default:
	}
	close(answer)
	busy.wantText(t, "answer")
	busy.wantEnd(t)
	if err := <-stopped; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if got := p.Stats().Tunnels; got != 0 {
		t.Errorf("%d tunnels", got)
	}
}

func TestShutdownCutsWhatIsLeft(t *testing.T) {
	for _, c := range []struct {
		rule    string
		timeout time.Duration
		ctx     func() (context.Context, context.CancelFunc)
	}{
		{"when its context ends", patience, func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), 100*time.Millisecond)
		}},
		{"when shutdown_timeout ends", 100 * time.Millisecond, func() (context.Context, context.CancelFunc) {
			return context.WithCancel(context.Background())
		}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			cfg := testConfig()
			cfg.ShutdownTimeout = c.timeout
			p, conn := reach(t, cfg, func(dest net.Conn) { _, _ = io.Copy(io.Discard, dest) })
			conn.send(t, "question")
			eventually(t, "the question has arrived", func() bool { return p.Stats().BytesUp > 0 })
			ctx, cancel := c.ctx()
			defer cancel()
			if err := p.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Shutdown: %v", err)
			}
			conn.wantEnd(t)
			if got := p.Stats().Tunnels; got != 0 {
				t.Errorf("%d tunnels", got)
			}
		})
	}
}

func TestShutdownEndsADialThatHangs(t *testing.T) {
	d := &wire{hangs: map[string]bool{"93.184.216.2": true}}
	cfg := testConfig()
	cfg.DialTimeout = 3 * patience
	p := startProxy(t, cfg, withResolver(&zone{answers: map[string][][]string{"silent.example.com": {{"93.184.216.2"}}}}), withDial(d.dial))
	conn := p.open(t)
	conn.send(t, connectHead("silent.example.com:443", "Proxy-Authorization: Bearer s3cret"))
	eventually(t, "it is dialled", func() bool { return len(d.addresses()) == 1 })
	conn.send(t, "early bytes") // a server that has read some of them no longer sees the client leave
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if err := p.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > patience {
		t.Errorf("Shutdown after %s: %v", time.Since(begun), err)
	}
	if got := p.Stats().Tunnels; got != 0 {
		t.Errorf("%d places held", got)
	}
}

// TestWhatComesAfterATunnelIsRetiredIsNotPassedOn: the client may then send it again by another tunnel, without its being there twice.
func TestWhatComesAfterATunnelIsRetiredIsNotPassedOn(t *testing.T) {
	client, dest := net.Pipe()
	defer client.Close()
	defer dest.Close()
	tun := &tunnel{epoch: time.Now().Add(-time.Second), limits: tunnelLimits{idle: time.Hour, halfClosed: time.Hour, lifetime: time.Hour}, bytes: &[2]atomic.Uint64{}}
	if tun.retire(time.Now(), false) {
		t.Fatal("a young tunnel of a proxy that goes on is retired")
	}
	if err := tun.admit(up); err != nil {
		t.Fatal(err)
	}
	if tun.retire(time.Now().Add(time.Minute), true) {
		t.Fatal("a tunnel that is owed an answer is retired")
	}
	if err := tun.admit(down); err != nil {
		t.Fatal(err)
	}
	if !tun.retire(time.Now().Add(time.Minute), true) {
		t.Fatal("a tunnel at rest is not retired when the proxy stops")
	}
	if err := tun.forward(up, dest, []byte("a request")); !errors.Is(err, errRetired) {
		t.Errorf("a request was passed on: %v", err)
	}
}
