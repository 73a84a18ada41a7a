// Package httpapi is the HTTP API: events in, everything else to be read and
// changed. Its shapes are Convoy's where Convoy has the resource.
package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/gorilla/mux"

	millrace "github.com/millrace-dev/millrace"
)

// Deps is what the API works with. All but Observe and Now must be set.
type Deps struct {
	// Authenticate knows API keys; it is called for each request.
	Authenticate func(ctx context.Context, key string) (millrace.APIKey, error)
	Submitter    Submitter

	Projects      Projects
	Keys          Keys
	Endpoints     Endpoints
	Subscriptions Subscriptions
	Events        Events
	Deliveries    Deliveries
	DeadLetters   DeadLetters
	Facts         Facts
	Sources       Sources

	Replayer Replayer
	Redriver Redriver
	Inbound  Inbound
	// CheckURL is the egress policy's verdict on an endpoint's URL.
	CheckURL func(raw string) (*url.URL, error)
	// CheckAddress is the same on the host:port of a broker; it returns the
	// form that was judged.
	CheckAddress func(raw string) (string, error)
	// Ready tells whether the stores answer.
	Ready func(ctx context.Context) error
	// Metrics answers GET /metrics.
	Metrics http.Handler
	// Observe hears of each answered request; the route is its template, or
	// "unmatched".
	Observe func(route string, status int, took time.Duration)
	Log     *slog.Logger
	// Now is the clock that lists and expiries go by; nil: this machine's.
	Now func() time.Time
}

// Server is the API. It holds no state of its own.
type Server struct {
	config    Config
	deps      Deps
	router    *mux.Router
	strangers strangers
}

// New makes a server.
func New(c Config, d Deps) (*Server, error) {
	if err := errors.Join(c.Validate(), d.validate()); err != nil {
		return nil, err
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	s := &Server{config: c, deps: d, strangers: strangers{most: max(strangerBytes, 4*c.MaxEventBytes), held: map[millrace.ID]int{}}}
	s.router = mux.NewRouter().SkipClean(true)
	for _, r := range s.routes() {
		methods := []string{r.method}
		if r.method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
		s.router.Handle(r.path, s.serve(r.path, r.handle)).Methods(methods...)
	}
	s.router.NotFoundHandler = s.serve(unmatched, notFound)
	s.router.MethodNotAllowedHandler = s.serve(unmatched, s.methodNotAllowed)
	return s, nil
}

// Handler answers the API's requests.
func (s *Server) Handler() http.Handler { return s.router }

// route is one line of the API: auth is where its handler is mounted.
type route struct {
	method, path string
	handle       handler
}

// ofProjects is what the paths of a project's resources begin with.
const ofProjects = "/api/v1/projects/{projectID}"

// routes is the whole API. The first ones are the busiest: the router tries
// them in this order.
func (s *Server) routes() []route { return slices.Concat(s.eventRoutes(), s.resourceRoutes()) }

// eventRoutes are those of what happens.
func (s *Server) eventRoutes() []route {
	const p = ofProjects
	return []route{
		{"POST", p + "/events", s.ofIngest(s.createEvent)},
		{"POST", p + "/events/fanout", s.ofIngest(s.fanoutEvent)},
		{"POST", p + "/events/broadcast", s.ofIngest(s.broadcastEvent)},
		{"POST", p + "/events/batch", s.ofIngest(s.createEvents)},
		{"POST", "/ingest/{maskID}", open(s.receiveWebhook)},
		{"GET", "/ingest/{maskID}", open(s.challengeWebhook)},
		{"GET", p + "/events", s.ofProject(s.listEvents)},
		{"GET", p + "/events/{eventID}", s.ofProject(s.showEvent)},
		{"PUT", p + "/events/{eventID}/replay", s.ofProject(s.replayEvent)},

		{"GET", p + "/eventdeliveries", s.ofProject(s.listDeliveries)},
		{"POST", p + "/eventdeliveries/forceresend", s.ofProject(s.resendDeliveries)},
		{"GET", p + "/eventdeliveries/{deliveryID}", s.ofProject(s.showDelivery)},
		{"PUT", p + "/eventdeliveries/{deliveryID}/resend", s.ofProject(s.resendDelivery)},
		{"POST", p + "/eventdeliveries/{deliveryID}/cancel", s.ofProject(s.cancelDelivery)},
		{"GET", p + "/eventdeliveries/{deliveryID}/deliveryattempts", s.ofProject(s.listAttempts)},
		{"GET", p + "/eventdeliveries/{deliveryID}/deliveryattempts/{attemptID}", s.ofProject(s.showAttempt)},
		{"GET", p + "/facts", s.ofProject(s.followFacts)},
	}
}

// resourceRoutes are those of what is configured and kept.
func (s *Server) resourceRoutes() []route {
	const p = ofProjects
	return []route{
		{"POST", p + "/endpoints", s.ofProject(s.createEndpoint)},
		{"GET", p + "/endpoints", s.ofProject(s.listEndpoints)},
		{"GET", p + "/endpoints/{endpointID}", s.ofProject(s.showEndpoint)},
		{"PUT", p + "/endpoints/{endpointID}", s.ofProject(s.updateEndpoint)},
		{"DELETE", p + "/endpoints/{endpointID}", s.ofProject(s.deleteEndpoint)},
		{"PUT", p + "/endpoints/{endpointID}/expire_secret", s.ofProject(s.expireSecret)},
		{"PUT", p + "/endpoints/{endpointID}/pause", s.ofProject(s.pauseEndpoint)},
		{"POST", p + "/endpoints/{endpointID}/activate", s.ofProject(s.activateEndpoint)},
		{"POST", p + "/endpoints/{endpointID}/test", s.ofProject(s.testEndpoint)},

		{"POST", p + "/subscriptions", s.ofProject(s.createSubscription)},
		{"GET", p + "/subscriptions", s.ofProject(s.listSubscriptions)},
		{"POST", p + "/subscriptions/test_filter", s.ofProject(s.testFilter)},
		{"GET", p + "/subscriptions/{subscriptionID}", s.ofProject(s.showSubscription)},
		{"PUT", p + "/subscriptions/{subscriptionID}", s.ofProject(s.updateSubscription)},
		{"DELETE", p + "/subscriptions/{subscriptionID}", s.ofProject(s.deleteSubscription)},

		{"POST", p + "/sources", s.ofProject(s.createSource)},
		{"GET", p + "/sources", s.ofProject(s.listSources)},
		{"GET", p + "/sources/{sourceID}", s.ofProject(s.showSource)},
		{"PUT", p + "/sources/{sourceID}", s.ofProject(s.updateSource)},
		{"POST", p + "/sources/{sourceID}", s.ofProject(s.updateSource)}, // as Convoy's Go client does
		{"DELETE", p + "/sources/{sourceID}", s.ofProject(s.deleteSource)},

		{"GET", p + "/dead-letters", s.ofProject(s.listDeadLetters)},
		{"GET", p + "/dead-letters/{deadLetterID}", s.ofProject(s.showDeadLetter)},
		{"POST", p + "/dead-letters/{deadLetterID}/redrive", s.ofProject(s.redriveDeadLetter)},
		{"DELETE", p + "/dead-letters/{deadLetterID}", s.ofProject(s.discardDeadLetter)},
		{"GET", "/api/v1/dead-letters", s.ofInstance(s.listDeadLetters)},
		{"GET", "/api/v1/dead-letters/{deadLetterID}", s.ofInstance(s.showDeadLetter)},
		{"POST", "/api/v1/dead-letters/{deadLetterID}/redrive", s.ofInstance(s.redriveDeadLetter)},
		{"DELETE", "/api/v1/dead-letters/{deadLetterID}", s.ofInstance(s.discardDeadLetter)},

		{"GET", p + "/keys", s.ofProject(s.listKeys)},
		{"POST", p + "/keys", s.ofProject(s.createKey)},
		{"DELETE", p + "/keys/{keyID}", s.ofProject(s.revokeKey)},
		{"GET", "/api/v1/keys", s.ofInstance(s.listKeys)},
		{"POST", "/api/v1/keys", s.ofInstance(s.createKey)},
		{"DELETE", "/api/v1/keys/{keyID}", s.ofInstance(s.revokeKey)},

		{"GET", "/api/v1/projects", s.ofInstance(s.listProjects)},
		{"POST", "/api/v1/projects", s.ofInstance(s.createProject)},
		{"GET", p, s.ofProject(s.showProject)},
		{"PUT", p, s.ofProject(s.updateProject)},
		{"DELETE", p, s.ofInstance(s.deleteProject)},

		{"GET", "/healthz", open(s.health)},
		{"GET", "/readyz", open(s.ready)},
		{"GET", "/metrics", s.ofInstance(s.metrics)},
		{"GET", "/openapi.yml", open(s.openAPI)},
	}
}

func (d Deps) validate() error {
	var faults []error
	needed := func(name string, set bool) {
		if !set {
			faults = append(faults, errors.New("httpapi: Deps."+name+" is not set"))
		}
	}
	needed("Authenticate", d.Authenticate != nil)
	needed("Submitter", d.Submitter != nil)
	needed("Projects", d.Projects != nil)
	needed("Keys", d.Keys != nil)
	needed("Endpoints", d.Endpoints != nil)
	needed("Subscriptions", d.Subscriptions != nil)
	needed("Events", d.Events != nil)
	needed("Deliveries", d.Deliveries != nil)
	needed("DeadLetters", d.DeadLetters != nil)
	needed("Facts", d.Facts != nil)
	needed("Sources", d.Sources != nil)
	needed("Replayer", d.Replayer != nil)
	needed("Redriver", d.Redriver != nil)
	needed("Inbound", d.Inbound != nil)
	needed("CheckURL", d.CheckURL != nil)
	needed("CheckAddress", d.CheckAddress != nil)
	needed("Ready", d.Ready != nil)
	needed("Metrics", d.Metrics != nil)
	needed("Log", d.Log != nil)
	return errors.Join(faults...)
}
