package httpapi

import (
	"context"
	"net/http"

	millrace "github.com/millrace-dev/millrace"
)

// Sources keeps the sources.
type Sources interface {
	SourceReader
	SourceWriter
	SourceFinder
}

// SourceReader reads sources, and how their connections stand.
type SourceReader interface {
	Source(ctx context.Context, project, id millrace.ID) (millrace.Source, error)
	Sources(ctx context.Context, q millrace.SourceQuery) (millrace.List[millrace.Source], error)
	SourceStates(ctx context.Context, ids []millrace.ID) (map[millrace.ID]millrace.SourceState, error)
}

// SourceWriter changes sources.
type SourceWriter interface {
	CreateSource(ctx context.Context, source millrace.Source) (millrace.Source, error)
	UpdateSource(ctx context.Context, project, id millrace.ID, change func(*millrace.Source) error) (millrace.Source, error)
	DeleteSource(ctx context.Context, project, id millrace.ID) error
}

func (s *Server) createSource(c *call) error {
	var in sourceIn
	if err := s.decode(c, &in); err != nil {
		return err
	}
	source := millrace.Source{ProjectID: c.project}
	if err := in.into(&source); err != nil {
		return err
	}
	source, err := s.deps.Sources.CreateSource(c.ctx, source)
	if err != nil {
		return err
	}
	out, err := s.describeSource(c, source, showAll)
	if err != nil {
		return err
	}
	return c.respond(http.StatusCreated, "Source created successfully", out)
}

func (s *Server) listSources(c *call) error {
	q := c.query()
	find := millrace.SourceQuery{
		ProjectID: c.project, Type: millrace.SourceType(q.text("type")), Provider: millrace.Provider(q.text("provider")), Name: q.text("q"), Page: q.page(),
	}
	show, err := c.reveal(q)
	if err != nil {
		return err
	}
	found, err := s.deps.Sources.Sources(c.ctx, find)
	if err != nil {
		return err
	}
	states, err := s.statesOf(c, found.Items...)
	if err != nil {
		return err
	}
	return c.respond(http.StatusOK, "Sources fetched successfully", newPage(find.Page, found, sourceID, func(source millrace.Source) sourceOut {
		return c.newSource(source, states[source.ID], show)
	}))
}

func (s *Server) showSource(c *call) error {
	id, err := c.pathID("sourceID", "source")
	if err != nil {
		return err
	}
	show, err := c.reveal(c.query())
	if err != nil {
		return err
	}
	source, err := s.deps.Sources.Source(c.ctx, c.project, id)
	if err != nil {
		return err
	}
	out, err := s.describeSource(c, source, show)
	if err != nil {
		return err
	}
	return c.respond(http.StatusOK, "Source fetched successfully", out)
}

func (s *Server) updateSource(c *call) error {
	id, err := c.pathID("sourceID", "source")
	if err != nil {
		return err
	}
	var in sourceIn
	if err := s.decode(c, &in); err != nil {
		return err
	}
	source, err := s.deps.Sources.UpdateSource(c.ctx, c.project, id, in.into)
	if err != nil {
		return err
	}
	out, err := s.describeSource(c, source, showMasked)
	if err != nil {
		return err
	}
	return c.respond(http.StatusAccepted, "Source updated successfully", out)
}

func (s *Server) deleteSource(c *call) error {
	id, err := c.pathID("sourceID", "source")
	if err != nil {
		return err
	}
	if err := s.deps.Sources.DeleteSource(c.ctx, c.project, id); err != nil {
		return err
	}
	return c.respond(http.StatusOK, "Source deleted successfully", nil)
}

// describeSource shows a source, with how its connection stands.
func (s *Server) describeSource(c *call, source millrace.Source, show shown) (sourceOut, error) {
	states, err := s.statesOf(c, source)
	return c.newSource(source, states[source.ID], show), err
}

// statesOf asks how the connections stand, where there are any.
func (s *Server) statesOf(c *call, sources ...millrace.Source) (map[millrace.ID]millrace.SourceState, error) {
	var ids []millrace.ID
	for _, source := range sources {
		if !source.Inbound() && !source.Disabled {
			ids = append(ids, source.ID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	return s.deps.Sources.SourceStates(c.ctx, ids)
}

// sourcesByID reads the sources that rows belong to, each once; they are few.
// One that is gone is missing.
func (s *Server) sourcesByID(c *call, ids []millrace.ID) (map[millrace.ID]millrace.Source, error) {
	byID := map[millrace.ID]millrace.Source{}
	for _, id := range ids {
		if _, known := byID[id]; known || id == (millrace.ID{}) {
			continue
		}
		source, err := s.deps.Sources.Source(c.ctx, c.project, id)
		if millrace.CodeOf(err) == millrace.CodeNotFound {
			continue
		}
		if err != nil {
			return nil, err
		}
		byID[id] = source
	}
	return byID, nil
}
