package httpapi

import (
	"errors"
	"net/http"
	"strings"

	millrace "github.com/millrace-dev/millrace"
)

// open mounts a handler for everybody.
func open(h handler) handler { return h }

// ofInstance mounts a handler for instance keys.
func (s *Server) ofInstance(h handler) handler {
	return func(c *call) error {
		if err := s.authenticate(c); err != nil {
			return err
		}
		if !c.key.Instance() {
			return millrace.Errorf(millrace.CodeForbidden, "this needs an instance key")
		}
		c.ctx = millrace.WithActor(c.ctx, c.key.Prefix)
		return h(c)
	}
}

// ofProject mounts a handler for the keys of the project in the path, and for
// instance keys, if there is such a project.
func (s *Server) ofProject(h handler) handler {
	return s.ofIngest(func(c *call) error {
		if c.key.Instance() {
			if _, err := s.deps.Projects.Project(c.ctx, c.project); err != nil {
				return err
			}
		}
		c.ctx = millrace.WithActor(c.ctx, c.key.Prefix)
		return h(c)
	})
}

// ofIngest is ofProject for events coming in: the ingest stage knows the
// projects by heart, so nothing is read for it here.
func (s *Server) ofIngest(h handler) handler {
	return func(c *call) error {
		if err := s.authenticate(c); err != nil {
			return err
		}
		id, err := c.pathID("projectID", "project")
		if err != nil || (!c.key.Instance() && c.key.ProjectID != id) {
			return errNoProject()
		}
		c.project = id
		return h(c)
	}
}

func errNoProject() error {
	return millrace.Errorf(millrace.CodeNotFound, "there is no such project, or the API key is not for it")
}

// authenticate finds out who asks.
func (s *Server) authenticate(c *call) error {
	clear, ok := bearer(c.r.Header)
	if !ok {
		return errUnauthenticated("send an API key: Authorization: Bearer <api key>")
	}
	key, err := s.deps.Authenticate(c.ctx, clear)
	var refused *millrace.Error
	switch {
	case errors.As(err, &refused):
		return errUnauthenticated("the API key is not valid")
	case err != nil:
		return err
	case !key.RevokedAt.IsZero() || (!key.ExpiresAt.IsZero() && !s.deps.Now().Before(key.ExpiresAt)):
		return errUnauthenticated("the API key is not valid any more")
	}
	c.key = key
	return nil
}

func errUnauthenticated(message string) error {
	return &millrace.Error{Code: millrace.CodeUnauthenticated, Message: message}
}

// bearer reads the token of RFC 6750; the scheme's case does not matter.
func bearer(h http.Header) (string, bool) {
	const scheme = "bearer "
	v := h.Get("Authorization")
	if len(v) <= len(scheme) || !strings.EqualFold(v[:len(scheme)], scheme) {
		return "", false
	}
	token := strings.TrimSpace(v[len(scheme):])
	return token, token != ""
}
