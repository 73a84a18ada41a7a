package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	watchEvery      = 100 * time.Millisecond // how often tunnels are looked over
	refreshOwnEvery = time.Minute
)

// Proxy is the CONNECT proxy. It serves any number of listeners until Shutdown.
type Proxy struct {
	config    Config
	connector *connector
	auth      authenticator
	tls       *tls.Config
	log       *slog.Logger

	server   *http.Server
	roster   *roster
	counters *counters
	buffers  *buffers

	ctx     context.Context // ends when what is left is cut
	cut     context.CancelFunc
	watched sync.Once
	watch   sync.WaitGroup
}

// Option changes what a proxy is made of.
type Option func(*Proxy)

// WithLogger sets where the proxy logs; slog.Default is the default.
func WithLogger(log *slog.Logger) Option { return func(p *Proxy) { p.log = log } }

// New returns a proxy, or every fault of its configuration.
func New(cfg Config, opts ...Option) (*Proxy, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	connector, err := newConnector(cfg)
	if err != nil {
		return nil, err
	}
	tlsConfig, err := serverTLS(cfg)
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		config:    cfg,
		connector: connector,
		auth:      authenticator{token: cfg.Token, certs: cfg.ClientCA != ""},
		tls:       tlsConfig,
		log:       slog.Default(),
		roster:    newRoster(cfg.MaxTunnels),
		counters:  newCounters(),
		buffers:   newBuffers(),
	}
	for _, opt := range opts {
		opt(p)
	}
	p.ctx, p.cut = context.WithCancel(context.Background())
	p.server = p.newServer()
	return p, nil
}

func (p *Proxy) newServer() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           p,
		Protocols:         protocols,
		MaxHeaderBytes:    p.config.MaxHeadBytes,
		ReadHeaderTimeout: p.config.HeadTimeout,
		WriteTimeout:      2*p.config.HeadTimeout + p.config.ResolveTimeout + p.config.DialTimeout,
		ConnState:         p.countPending,
		BaseContext:       func(net.Listener) context.Context { return p.ctx },
		ErrorLog:          slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),

		DisableGeneralOptionsHandler: true,
	}
}

// Policy returns the policy that the proxy judges by.
func (p *Proxy) Policy() *Policy { return p.connector.policy }

// Serve accepts clients until Shutdown, and then returns nil. It closes the listener.
func (p *Proxy) Serve(ln net.Listener) error {
	if p.tls != nil {
		ln = tls.NewListener(ln, p.tls)
	}
	p.watched.Do(func() { p.watch.Go(p.watchTunnels) })
	if err := p.server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve egress: %w", err)
	}
	return nil
}

// Shutdown stops listening, lets every tunnel come to rest and closes it, and returns when all are gone. What is left when the context or
// shutdown_timeout ends is cut; that is the error.
func (p *Proxy) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.config.ShutdownTimeout)
	defer cancel()
	p.roster.drain()
	var listeners sync.WaitGroup
	listeners.Go(func() { _ = p.server.Shutdown(ctx) }) // ends at the latest with the Close below

	err := p.roster.wait(ctx)
	if err != nil {
		err = fmt.Errorf("shut down egress: %d tunnels cut: %w", p.roster.held(), err)
	}
	p.cut()
	_ = p.server.Close()
	p.closeTunnels(func(*tunnel, bool) bool { return true })
	cancel()
	listeners.Wait()
	<-p.roster.empty
	p.watch.Wait()
	return err
}

// watchTunnels closes what is idle, too old, or at rest while the proxy stops.
func (p *Proxy) watchTunnels() {
	look, refresh := time.NewTicker(watchEvery), time.NewTicker(refreshOwnEvery)
	defer look.Stop()
	defer refresh.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-look.C:
			p.closeTunnels(func(t *tunnel, closing bool) bool { return t.retire(time.Now(), closing) })
		case <-refresh.C:
			if err := p.connector.policy.refreshOwn(); err != nil {
				p.log.Error("keep judging by the addresses this machine had", "error", err)
			}
		}
	}
}

func (p *Proxy) closeTunnels(choose func(t *tunnel, closing bool) bool) {
	for _, t := range p.roster.pick(choose) {
		t.close()
		p.counters.cut.Add(1)
	}
}

// countPending closes connections beyond max_pending as they come.
func (p *Proxy) countPending(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if p.counters.pending.Add(1) > int64(p.config.MaxPending) {
			p.counters.dropped.Add(1)
			conn.Close()
		}
	case http.StateHijacked, http.StateClosed:
		p.counters.pending.Add(-1)
	}
}
