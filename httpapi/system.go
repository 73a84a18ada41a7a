package httpapi

import (
	_ "embed" // openapi.yml
	"net/http"

	millrace "github.com/millrace-dev/millrace"
)

//go:embed openapi.yml
var openAPI []byte

// health says that the process answers; it asks nobody else.
func (s *Server) health(c *call) error { return c.respond(http.StatusOK, "alive", nil) }

// ready says whether the stores answer. What is wrong stands in the log.
func (s *Server) ready(c *call) error {
	if err := s.deps.Ready(c.ctx); err != nil {
		return millrace.Unavailable(err)
	}
	return c.respond(http.StatusOK, "ready", nil)
}

func (s *Server) metrics(c *call) error {
	s.deps.Metrics.ServeHTTP(&c.w, c.r)
	return nil
}

func (s *Server) openAPI(c *call) error {
	c.w.Header().Set("Content-Type", "application/yaml")
	_, err := c.w.Write(openAPI)
	return err
}
