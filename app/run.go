package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"runtime/debug"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/egress"
	"github.com/millrace-dev/millrace/sinks"
)

// Options say what a process runs.
type Options struct {
	Server, Agent, Egress bool
	Version               string
	Logger                *slog.Logger
	// Ready is called once, when everything serves.
	Ready func(Addresses)
	// Reload brings a configuration whose stage tuning is to be applied; the
	// rest of it needs a restart.
	Reload <-chan Config
}

// Addresses are where the roles were found to listen.
type Addresses struct {
	// URL is the API's, empty without a server.
	URL string
	// Egress is the proxy's address, empty without one.
	Egress string
}

// Run runs the roles until ctx ends, then drains them: requests under way
// are answered, what is in flight finishes, acks are flushed.
func Run(ctx context.Context, c Config, o Options) error {
	if err := c.Validate(); err != nil {
		return err
	}
	tuneCollector()
	proxy, err := startEgress(&c, o)
	if err != nil {
		return err
	}
	p, err := newProcess(ctx, c, o)
	if err != nil {
		return errors.Join(err, proxy.stop())
	}
	if proxy.proxy != nil {
		p.registry.MustRegister(egressCollector{proxy.proxy})
	}
	roles, err := startRoles(p, o)
	if err == nil {
		if o.Ready != nil {
			o.Ready(Addresses{URL: roles.url(), Egress: proxy.address()})
		}
		err = roles.wait(ctx, o.Reload, proxy.failed)
	}
	err = errors.Join(err, roles.stop())
	p.close()
	return errors.Join(err, proxy.stop())
}

// tuneCollector lets the heap grow to four times what lives before it is
// collected, up to a bound: on the small heap of a gateway the collector
// would take a fifth of the time. GOGC and GOMEMLIMIT override it.
func tuneCollector() {
	const bound = 1 << 30
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(bound)
	}
}

// roles are the roles of one process that have stores.
type roles struct {
	process *process
	server  *server
	agent   *agent
	admin   func() error
}

func startRoles(p *process, o Options) (*roles, error) {
	r := &roles{process: p, admin: func() error { return nil }}
	var err error
	if o.Server {
		if r.server, err = startServer(p); err != nil {
			r.server = nil
			return r, err
		}
	}
	if o.Agent {
		if r.agent, err = startAgent(p); err != nil {
			r.agent = nil
			return r, err
		}
	}
	admin, err := startAdmin(p)
	if err != nil {
		return r, err
	}
	r.admin = admin
	return r, nil
}

func (r *roles) url() string {
	if r.server == nil {
		return ""
	}
	return r.server.url()
}

// wait blocks until the process shall end, and reloads meanwhile.
func (r *roles) wait(ctx context.Context, reload <-chan Config, proxyFailed <-chan error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-r.process.fail:
			return err
		case err := <-proxyFailed:
			return err
		case c := <-reload:
			if err := r.reload(c); err != nil {
				return fmt.Errorf("apply the new stage tuning: %w", err)
			}
			r.process.logger.Info("the stages run with the new configuration")
		}
	}
}

func (r *roles) reload(c Config) error {
	if !maps.Equal(c.Stages.Shards(), r.process.config.Stages.Shards()) {
		r.process.logger.Warn("another number of shards needs a restart; topics stay spread as they are")
	}
	var err error
	if r.server != nil {
		err = r.server.reload(c.Stages)
	}
	if r.agent != nil {
		err = errors.Join(err, r.agent.reload(c.Stages))
	}
	return err
}

// stop drains the server before the agent, so that what it took in goes on.
func (r *roles) stop() error {
	var err error
	if r.server != nil {
		err = r.server.stop()
	}
	if r.agent != nil {
		err = errors.Join(err, r.agent.stop())
	}
	return errors.Join(err, r.admin())
}

// proxy is the egress role; the zero proxy runs nothing.
type proxy struct {
	proxy    *egress.Proxy
	listener net.Listener
	failed   chan error
	timeout  func() (context.Context, context.CancelFunc)
}

func startEgress(c *Config, o Options) (*proxy, error) {
	p := &proxy{failed: make(chan error, 1)}
	if !o.Egress {
		return p, nil
	}
	listener, err := net.Listen("tcp", c.Egress.Listen)
	if err != nil {
		return nil, fmt.Errorf("egress.listen: %w", err)
	}
	if p.proxy, err = egress.New(c.Egress.Config, egress.WithLogger(o.Logger)); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	p.listener = listener
	p.timeout = func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.Background(), c.Egress.ShutdownTimeout)
	}
	go func() {
		if err := p.proxy.Serve(listener); err != nil && !errors.Is(err, net.ErrClosed) {
			p.failed <- fmt.Errorf("serve the egress: %w", err)
		}
	}()
	return p, nil
}

func (p *proxy) address() string {
	if p.listener == nil {
		return ""
	}
	return p.listener.Addr().String()
}

func (p *proxy) stop() error {
	if p.proxy == nil {
		return nil
	}
	ctx, cancel := p.timeout()
	defer cancel()
	return p.proxy.Shutdown(ctx)
}

// webhook is the sink's configuration: it uses the egress's proxies and token.
func (c Config) webhook(version string) sinks.Config {
	w := c.Webhook
	w.Proxies, w.Token, w.Version = c.Egress.Proxies, millrace.Sensitive(c.Egress.Token.Reveal()), version
	return w
}
