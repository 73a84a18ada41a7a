package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/egress"
	"github.com/millrace-dev/millrace/httpapi"
	"github.com/millrace-dev/millrace/pipeline"
	"github.com/millrace-dev/millrace/sources"
)

// server is the role that takes events in and serves the API.
type server struct {
	process *process
	http    *http.Server
	address string
	// handler is the API, and intake the ingest stage, as configured now.
	handler atomic.Pointer[http.Handler]
	intake  atomic.Pointer[intake]
}

// intake is a running ingest stage and its source.
type intake struct {
	*flow
	source *sources.HTTP
}

// startServer listens first, so that a taken port is the first thing said.
func startServer(p *process) (*server, error) {
	listener, err := net.Listen("tcp", p.config.Server.Listen)
	if err != nil {
		return nil, fmt.Errorf("server.listen: %w", err)
	}
	s := &server{process: p, address: listener.Addr().String()}
	if err := s.build(); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	p.watchReplicas()
	go func() {
		if err := s.serve(listener); !errors.Is(err, http.ErrServerClosed) {
			p.fail <- fmt.Errorf("serve the API: %w", err)
		}
	}()
	return s, nil
}

func (s *server) build() error {
	api, err := s.api(s.process.config.Stages)
	if err != nil {
		return err
	}
	in, err := s.open(s.process.config.Stages)
	if err != nil {
		return err
	}
	s.handler.Store(&api)
	s.intake.Store(in)
	now := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*s.handler.Load()).ServeHTTP(w, r) })
	s.http = hardened(s.process.config.Server, now, s.process.logger)
	return nil
}

// open runs an ingest stage.
func (s *server) open(stages pipeline.Config) (*intake, error) {
	p, c := s.process, stages.Ingest
	source := sources.NewHTTP(sources.HTTPConfig{Concurrency: c.Concurrency, Patience: c.Patience})
	from := pipeline.Sources{Submissions: pipeline.Source[millrace.Submission]{Subscriber: source, Decode: sources.Submission, Answers: true}}
	router, err := pipeline.NewRouter(pick(pipeline.Stages(from, pipeline.Handlers{Ingest: p.ingest(c)}, stages), "ingest"), p.transport, p.around)
	if err != nil {
		return nil, err
	}
	running, err := startFlow(router)
	return &intake{flow: running, source: source}, err
}

// Submit passes a submission to the ingest stage. One that met the end of a
// stage which was configured anew goes to its successor.
func (s *server) Submit(ctx context.Context, sub millrace.Submission) (millrace.Receipt, error) {
	for {
		in := s.intake.Load()
		receipt, err := in.source.Submit(ctx, sub)
		if !errors.Is(err, sources.ErrClosed) || s.intake.Load() == in {
			return receipt, err
		}
	}
}

// reload runs the API and the ingest stage as configured now; what is in the
// old ones finishes there.
func (s *server) reload(stages pipeline.Config) error {
	api, err := s.api(stages)
	if err != nil {
		return err
	}
	in, err := s.open(stages)
	if err != nil {
		return err
	}
	s.process.transport.Pressure.PersistFrom(stages.Ingest.PersistAt)
	s.handler.Store(&api)
	return s.intake.Swap(in).drain()
}

func (s *server) api(stages pipeline.Config) (http.Handler, error) {
	p := s.process
	policy, err := egress.NewPolicy(p.config.Egress.Config)
	if err != nil {
		return nil, err
	}
	c := httpapi.DefaultConfig()
	c.MaxEventBytes = stages.Ingest.MaxBytes
	c.MaxBatchBytes = max(c.MaxBatchBytes, c.MaxEventBytes)
	api, err := httpapi.New(c, httpapi.Deps{
		Authenticate: p.store.Authenticate, Submitter: s,
		Projects: p.store, Keys: p.store, Endpoints: p.store, Subscriptions: p.store, Events: p.store, Deliveries: p.store,
		DeadLetters: p.store, Facts: p.store, Sources: judgedSources{p.store, policy},
		Replayer: replayer{p}, Redriver: redriver{p, s}, Inbound: sources.Inbound{Now: p.clock.Now},
		CheckURL: policy.CheckURL, CheckAddress: policy.CheckAddress, Ready: p.ready,
		Metrics: promhttp.HandlerFor(p.registry, promhttp.HandlerOpts{}), Observe: p.metrics.request, Log: p.logger, Now: p.clock.Now,
	})
	if err != nil {
		return nil, err
	}
	return api.Handler(), nil
}

// hardened bounds what a client may cost.
func hardened(c ServerConfig, h http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: c.ReadHeaderTimeout, ReadTimeout: c.ReadTimeout, WriteTimeout: c.WriteTimeout, IdleTimeout: c.IdleTimeout,
		MaxHeaderBytes: c.MaxHeaderBytes, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
}

func (s *server) serve(l net.Listener) error {
	if c := s.process.config.Server; c.TLSCert != "" {
		return s.http.ServeTLS(l, c.TLSCert, c.TLSKey)
	}
	return s.http.Serve(l)
}

// stop lets the requests under way finish, and then the ingest stage.
func (s *server) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.process.config.Server.ShutdownTimeout)
	defer cancel()
	err := s.http.Shutdown(ctx)
	return errors.Join(err, s.intake.Load().drain())
}

// url is where clients on this machine reach the API.
func (s *server) url() string {
	scheme := "http"
	if s.process.config.Server.TLSCert != "" {
		scheme = "https"
	}
	return scheme + "://" + s.address
}

// replayer fans a stored event out once more, in line, under a replay's id.
type replayer struct{ *process }

// Replay fans the event out under a new replay.
func (r replayer) Replay(ctx context.Context, project, event millrace.ID) (millrace.StoredEvent, error) {
	e, err := r.store.ReplayEvent(ctx, project, event)
	if err != nil {
		return e, err
	}
	return e, r.inline.FanOut(ctx, e)
}

// redriver does a dead letter's work again: a delivery is resent, a broker's
// message is submitted, an event passes its stages in line.
type redriver struct {
	*process
	server *server
}

// Redrive does it once more.
func (r redriver) Redrive(ctx context.Context, d millrace.DeadLetter) error {
	if d.DeliveryID != (millrace.ID{}) {
		_, err := r.store.Resend(ctx, d.ProjectID, d.DeliveryID)
		return err
	}
	if d.Stage == "ingest" {
		return r.resubmit(ctx, d)
	}
	return r.inline.Redrive(ctx, d)
}

// resubmit reads a broker's message as its source is configured now.
func (r redriver) resubmit(ctx context.Context, d millrace.DeadLetter) error {
	id, err := sources.SourceOf(d)
	if err != nil {
		return err
	}
	source, err := r.store.Source(ctx, d.ProjectID, id)
	if err != nil {
		return err
	}
	sub, err := sources.Messages{Source: source}.Redriven(d)
	if err != nil {
		return millrace.Errorf(millrace.CodeConflict, "dead letter %s still cannot be understood (%v); mend the source's mapping, or discard it", d.ID, err)
	}
	receipt, err := r.server.Submit(ctx, sub)
	if receipt.Refused != nil {
		return receipt.Refused
	}
	return err
}

// pick takes the stages of one role.
func pick(stages []pipeline.Stage, names ...string) []pipeline.Stage {
	var picked []pipeline.Stage
	for _, s := range stages {
		for _, name := range names {
			if s.Name == name {
				picked = append(picked, s)
			}
		}
	}
	return picked
}

// admin serves metrics and health on an address of its own.
func startAdmin(p *process) (func() error, error) {
	if p.config.Metrics.Listen == "" {
		return func() error { return nil }, nil
	}
	listener, err := net.Listen("tcp", p.config.Metrics.Listen)
	if err != nil {
		return nil, fmt.Errorf("metrics.listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := p.ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ready\n"))
	})
	admin := hardened(DefaultConfig().Server, mux, p.logger)
	go func() {
		if err := admin.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			p.fail <- fmt.Errorf("serve the metrics: %w", err)
		}
	}()
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return admin.Shutdown(ctx)
	}, nil
}
