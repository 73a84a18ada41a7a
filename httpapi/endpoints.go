package httpapi

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// Endpoints keeps the endpoints.
type Endpoints interface {
	EndpointReader
	EndpointWriter
	SecretRoller
}

// EndpointReader reads endpoints.
type EndpointReader interface {
	Endpoint(ctx context.Context, project, id millrace.ID) (millrace.Endpoint, error)
	Endpoints(ctx context.Context, q millrace.EndpointQuery) (millrace.List[millrace.Endpoint], error)
}

// EndpointWriter changes endpoints.
type EndpointWriter interface {
	CreateEndpoint(ctx context.Context, e millrace.Endpoint) (millrace.Endpoint, error)
	UpdateEndpoint(ctx context.Context, project, id millrace.ID, change func(*millrace.Endpoint) error) (millrace.Endpoint, error)
	DeleteEndpoint(ctx context.Context, project, id millrace.ID) error
}

// SecretRoller gives an endpoint a new secret, made up where none is given;
// the others sign until they expire.
type SecretRoller interface {
	ExpireSecret(ctx context.Context, project, id millrace.ID, secret millrace.Sensitive, expires time.Time) (millrace.Endpoint, error)
}

func (s *Server) createEndpoint(c *call) error {
	in, err := s.decodeEndpoint(c)
	if err != nil {
		return err
	}
	e := millrace.DefaultEndpoint()
	e.ProjectID = c.project
	if err := s.lay(in)(&e); err != nil {
		return err
	}
	e, err = s.deps.Endpoints.CreateEndpoint(c.ctx, e)
	if err != nil {
		return err
	}
	return c.respond(http.StatusCreated, "Endpoint created successfully", c.newEndpoint(e, showAll))
}

// decodeEndpoint reads an endpoint and asks the egress policy about its URLs,
// before anything is locked for it.
func (s *Server) decodeEndpoint(c *call) (endpointIn, error) {
	var in endpointIn
	if err := s.decode(c, &in); err != nil {
		return in, err
	}
	if c.legacy() {
		in.modernize()
	}
	if in.Type.given && in.Type.value != millrace.SinkWebhook {
		return in, nil // what a broker is given is judged when it is whole
	}
	return in, millrace.JoinFaults(
		s.checkURL("url", &in.URL),
		s.checkURL("authentication.oauth2.url", &in.Authentication.value.OAuth2.value.URL),
	)
}

// checkURL refuses a URL that may not be called; any other is kept in the form
// that was judged.
func (s *Server) checkURL(field string, raw *member[string]) error {
	if !raw.given {
		return nil
	}
	u, err := s.deps.CheckURL(raw.value)
	if err != nil {
		return refusedAddress(field, err)
	}
	raw.value = u.String()
	return nil
}

func refusedAddress(field string, why error) error {
	return &millrace.Error{
		Code: millrace.CodeInvalid, Message: field + " is refused: " + why.Error(),
		Fields: []millrace.FieldError{{Field: field, Message: why.Error()}},
	}
}

// lay is the change that lays what was sent over an endpoint. A broker's
// addresses are judged when it is whole: they are made of several members.
func (s *Server) lay(in endpointIn) func(*millrace.Endpoint) error {
	return func(e *millrace.Endpoint) error {
		if err := in.into(e); err != nil {
			return err
		}
		if err := s.checkSink(&e.Sink); err != nil {
			return err
		}
		*e = e.WithDefaults()
		return nil
	}
}

func (s *Server) listEndpoints(c *call) error {
	q := c.query()
	find := millrace.EndpointQuery{ProjectID: c.project, OwnerID: q.text("ownerId"), Text: q.text("q"), Page: q.page()}
	if find.Text == "" {
		find.Text = q.text("query")
	}
	show, err := c.reveal(q)
	if err != nil {
		return err
	}
	found, err := s.deps.Endpoints.Endpoints(c.ctx, find)
	if err != nil {
		return err
	}
	return c.respond(http.StatusOK, "Endpoints fetched successfully", newPage(find.Page, found, endpointID, func(e millrace.Endpoint) any {
		return c.newEndpoint(e, show)
	}))
}

func (s *Server) showEndpoint(c *call) error {
	id, err := c.pathID("endpointID", "endpoint")
	if err != nil {
		return err
	}
	show, err := c.reveal(c.query())
	if err != nil {
		return err
	}
	e, err := s.deps.Endpoints.Endpoint(c.ctx, c.project, id)
	if err != nil {
		return err
	}
	return c.respond(http.StatusOK, "Endpoint fetched successfully", c.newEndpoint(e, show))
}

// endpointsByID reads the endpoints that rows belong to, each once, all at
// once. One that is gone is missing.
func (s *Server) endpointsByID(c *call, ids []millrace.ID) (map[millrace.ID]millrace.Endpoint, error) {
	ids = slices.SortedFunc(slices.Values(ids), func(a, b millrace.ID) int { return bytes.Compare(a[:], b[:]) })
	if ids = slices.Compact(ids); len(ids) == 0 {
		return nil, nil
	}
	found, err := s.deps.Endpoints.Endpoints(c.ctx, millrace.EndpointQuery{ProjectID: c.project, IDs: ids, Page: millrace.Page{Size: maxPerPage}})
	if err != nil {
		return nil, err
	}
	byID := make(map[millrace.ID]millrace.Endpoint, len(found.Items))
	for _, e := range found.Items {
		byID[e.ID] = e
	}
	return byID, nil
}

// reveal tells how much of the secrets is shown: all of it to an instance key
// that asks for it.
func (c *call) reveal(q *query) (shown, error) {
	switch what := q.text("reveal"); {
	case what == "":
		return showMasked, q.err()
	case what != "secrets":
		q.fault("reveal", "must be secrets, not %q", what)
		return showMasked, q.err()
	case !c.key.Instance():
		return showMasked, millrace.Errorf(millrace.CodeForbidden, "only an instance key may read secrets in full")
	}
	return showAll, q.err()
}

func (s *Server) updateEndpoint(c *call) error {
	id, err := c.pathID("endpointID", "endpoint")
	if err != nil {
		return err
	}
	in, err := s.decodeEndpoint(c)
	if err != nil {
		return err
	}
	e, err := s.deps.Endpoints.UpdateEndpoint(c.ctx, c.project, id, s.lay(in))
	if err != nil {
		return err
	}
	return c.respond(http.StatusAccepted, "Endpoint updated successfully", c.newEndpoint(e, showMasked))
}

func (s *Server) deleteEndpoint(c *call) error {
	id, err := c.pathID("endpointID", "endpoint")
	if err != nil {
		return err
	}
	if err := s.deps.Endpoints.DeleteEndpoint(c.ctx, c.project, id); err != nil {
		return err
	}
	return c.respond(http.StatusOK, "Endpoint deleted successfully", nil)
}

// pauseEndpoint is a toggle, as in Convoy.
func (s *Server) pauseEndpoint(c *call) error {
	return s.changeStatus(c, func(e *millrace.Endpoint) error {
		switch e.Status {
		case millrace.EndpointActive:
			e.Status = millrace.EndpointPaused
		case millrace.EndpointPaused:
			e.Status = millrace.EndpointActive
		default:
			return millrace.Errorf(millrace.CodeConflict, "the endpoint is %s: it can be activated, not paused", e.Status)
		}
		return nil
	})
}

func (s *Server) activateEndpoint(c *call) error {
	return s.changeStatus(c, func(e *millrace.Endpoint) error {
		e.Status = millrace.EndpointActive
		return nil
	})
}

func (s *Server) changeStatus(c *call, change func(*millrace.Endpoint) error) error {
	id, err := c.pathID("endpointID", "endpoint")
	if err != nil {
		return err
	}
	e, err := s.deps.Endpoints.UpdateEndpoint(c.ctx, c.project, id, change)
	if err != nil {
		return err
	}
	return c.respond(http.StatusAccepted, "Endpoint status updated successfully", c.newEndpoint(e, showMasked))
}

// rollIn asks for a new secret; the old ones sign for so many hours more.
type rollIn struct {
	Secret     sensitive   `json:"secret"`
	Expiration member[int] `json:"expiration"`
}

// longestRoll is how long an old secret may live on.
const longestRoll = 365 * 24

func (s *Server) expireSecret(c *call) error {
	id, err := c.pathID("endpointID", "endpoint")
	if err != nil {
		return err
	}
	var in rollIn
	if err := s.decode(c, &in); err != nil {
		return err
	}
	hours := in.Expiration.value
	if hours < 0 || hours > longestRoll {
		return millrace.Invalid("expiration", "must be between 0 and %d hours, not %d", longestRoll, hours)
	}
	if in.Secret.given {
		if err := (millrace.Secret{Value: in.Secret.value}).Validate(); err != nil {
			return err
		}
	}
	e, err := s.deps.Endpoints.ExpireSecret(c.ctx, c.project, id, in.Secret.value, s.deps.Now().Add(time.Duration(hours)*time.Hour))
	if err != nil {
		return err
	}
	return c.respond(http.StatusOK, "Endpoint secret expired successfully", c.newEndpoint(e, showNewest))
}
