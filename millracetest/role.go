package millracetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/millrace-dev/millrace/app"
)

// Role is one role of the gateway: in this process, or, of a gateway that is
// Apart, in one of its own.
type Role struct {
	gateway *Gateway
	name    string
	// settings are its own, beyond the gateway's.
	settings []string
	// url is where a server beside the first takes calls.
	url string
	// admin is where a process of its own tells how it is.
	admin   string
	reload  chan app.Config
	running running
}

// running is a role at work.
type running interface {
	// ready is closed when it serves, and ended when it does not any more.
	ready() <-chan struct{}
	ended() <-chan struct{}
	// stop ends it as SIGTERM does: what is in flight finishes.
	stop() error
}

func (g *Gateway) newRole(name string, settings ...string) *Role {
	g.t.Helper()
	r := &Role{gateway: g, name: name, settings: settings, reload: make(chan app.Config)}
	if g.apart {
		r.admin = address(g.t)
		r.settings = append(r.settings, "metrics.listen="+r.admin, "log.level=warn")
	}
	g.roles = append(g.roles, r)
	r.Start()
	return r
}

// Start starts the role and waits until it serves.
func (r *Role) Start() {
	r.gateway.t.Helper()
	if r.gateway.apart {
		r.running = startProgram(r)
	} else {
		r.running = startHere(r)
	}
	select {
	case <-r.running.ready():
	case <-r.running.ended():
		err := r.running.stop()
		r.running = nil
		r.gateway.t.Fatalf("the %s did not start: %v", r.name, err)
	case <-time.After(patience):
		r.gateway.t.Fatalf("the %s did not serve within %s", r.name, patience)
	}
}

// Stop ends the role as SIGTERM does: what is in flight finishes.
func (r *Role) Stop() {
	r.gateway.t.Helper()
	if r.running == nil {
		return
	}
	if err := r.running.stop(); err != nil {
		r.gateway.t.Errorf("stop the %s: %v", r.name, err)
	}
	r.running = nil
}

// Kill ends the role's process at once, as kill -9 does.
func (r *Role) Kill() {
	r.gateway.t.Helper()
	r.process().kill()
	r.running = nil
}

// Freeze stops the role's process where it is, as SIGSTOP does.
func (r *Role) Freeze() {
	r.gateway.t.Helper()
	r.process().freeze()
}

// Thaw lets it go on, as if no time had passed.
func (r *Role) Thaw() {
	r.gateway.t.Helper()
	r.process().thaw()
}

func (r *Role) process() *program {
	r.gateway.t.Helper()
	p, apart := r.running.(*program)
	if !apart {
		r.gateway.t.Fatalf("the %s is no running process of its own: make the gateway with Apart", r.name)
	}
	return p
}

// Restart stops the role and starts it again.
func (r *Role) Restart() {
	r.gateway.t.Helper()
	r.Stop()
	r.Start()
}

// Revive kills the role and starts it again.
func (r *Role) Revive() {
	r.gateway.t.Helper()
	r.Kill()
	r.Start()
}

// Reload applies settings to the running role, as SIGHUP does.
func (r *Role) Reload(settings ...string) {
	t := r.gateway.t
	t.Helper()
	c, err := app.Load(r.gateway.Config, app.Origins{Flags: settings})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case r.reload <- c:
	case <-time.After(patience):
		t.Fatalf("the %s did not take its new configuration", r.name)
	}
}

// here is a role that runs in this process.
type here struct {
	serves chan struct{}
	over   chan struct{}
	cancel context.CancelFunc
	err    error // once over
}

func startHere(r *Role) *here {
	ctx, cancel := context.WithCancel(context.Background())
	h := &here{serves: make(chan struct{}), over: make(chan struct{}), cancel: cancel}
	o := app.Options{
		Server: r.name == "server", Agent: r.name == "agent", Egress: r.name == "egress", Version: "test",
		Logger: logger(), Reload: r.reload, Ready: func(app.Addresses) { close(h.serves) },
	}
	go func() {
		defer close(h.over)
		h.err = app.Run(ctx, r.gateway.Config, o)
	}()
	return h
}

func (h *here) ready() <-chan struct{} { return h.serves }
func (h *here) ended() <-chan struct{} { return h.over }

func (h *here) stop() error {
	h.cancel()
	select {
	case <-h.over:
		return h.err
	case <-time.After(patience):
		return fmt.Errorf("it did not drain within %s", patience)
	}
}

// logger is silent, unless MILLRACE_TEST_LOG names a level.
func logger() *slog.Logger {
	level := os.Getenv("MILLRACE_TEST_LOG")
	if level == "" {
		return slog.New(slog.DiscardHandler)
	}
	return app.NewLogger(app.LogConfig{Level: level, Format: "text"}, os.Stderr)
}

var errNotYet = errors.New("not yet")
