package httpapi

import (
	"context"
	"net/http"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// Projects keeps the projects.
type Projects interface {
	ProjectReader
	ProjectWriter
}

// ProjectReader reads projects.
type ProjectReader interface {
	Project(ctx context.Context, id millrace.ID) (millrace.Project, error)
	Projects(ctx context.Context, p millrace.Page) (millrace.List[millrace.Project], error)
}

// ProjectWriter changes projects.
type ProjectWriter interface {
	CreateProject(ctx context.Context, p millrace.Project) (millrace.Project, error)
	UpdateProject(ctx context.Context, id millrace.ID, change func(*millrace.Project) error) (millrace.Project, error)
	DeleteProject(ctx context.Context, id millrace.ID) error
}

// projectIn is a project as it is sent.
type projectIn struct {
	Name   member[string]   `json:"name"`
	Type   member[string]   `json:"type"`
	Config member[configIn] `json:"config"`
}

// projectOut is a project as it is shown.
type projectOut struct {
	UID       string    `json:"uid"`
	Name      string    `json:"name"`
	Type      string    `json:"type"`
	Config    configOut `json:"config"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// createdProjectOut is a project with its first key, shown once.
type createdProjectOut struct {
	APIKey  keyOut     `json:"api_key"`
	Project projectOut `json:"project"`
}

func (s *Server) createProject(c *call) error {
	var in projectIn
	if err := s.decode(c, &in); err != nil {
		return err
	}
	p := millrace.Project{Type: "outgoing", Config: millrace.DefaultProjectConfig()}
	if err := in.into(&p); err != nil {
		return err
	}
	p, err := s.deps.Projects.CreateProject(c.ctx, p)
	if err != nil {
		return err
	}
	clear, key, err := s.deps.Keys.CreateAPIKey(c.ctx, millrace.APIKey{ProjectID: p.ID, Name: p.Name + "'s default key"})
	if err != nil {
		s.takeBackProject(c, p.ID)
		return err
	}
	return c.respond(http.StatusCreated, "Project created successfully", createdProjectOut{APIKey: newKeyOut(key, clear), Project: newProject(p)})
}

// takeBackProject deletes a project that no one got a key for, as far as that
// can be done: whoever asked will ask again.
func (s *Server) takeBackProject(c *call, id millrace.ID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), s.config.Timeout)
	defer cancel()
	if err := s.deps.Projects.DeleteProject(ctx, id); err != nil {
		s.deps.Log.WarnContext(ctx, "a project without a key was left behind", "request", c.id, "project", id, "error", err)
	}
}

func (s *Server) listProjects(c *call) error {
	q := c.query()
	page := q.page()
	if err := q.err(); err != nil {
		return err
	}
	found, err := s.deps.Projects.Projects(c.ctx, page)
	if err != nil {
		return err
	}
	return c.respond(http.StatusOK, "Projects fetched successfully", newPage(page, found, projectID, newProject))
}

func (s *Server) showProject(c *call) error {
	p, err := s.deps.Projects.Project(c.ctx, c.project)
	if err != nil {
		return err
	}
	return c.respond(http.StatusOK, "Project fetched successfully", newProject(p))
}

func (s *Server) updateProject(c *call) error {
	var in projectIn
	if err := s.decode(c, &in); err != nil {
		return err
	}
	p, err := s.deps.Projects.UpdateProject(c.ctx, c.project, in.into)
	if err != nil {
		return err
	}
	return c.respond(http.StatusAccepted, "Project updated successfully", newProject(p))
}

func (s *Server) deleteProject(c *call) error {
	id, err := c.pathID("projectID", "project")
	if err != nil {
		return errNoProject()
	}
	if err := s.deps.Projects.DeleteProject(c.ctx, id); err != nil {
		return err
	}
	return c.respond(http.StatusOK, "Project deleted successfully", nil)
}

// into lays what is sent over a project and judges the whole.
func (in projectIn) into(p *millrace.Project) error {
	in.Name.into(&p.Name)
	in.Type.into(&p.Type)
	if in.Config.given {
		in.Config.value.into(&p.Config)
	}
	return p.Validate()
}

func projectID(p millrace.Project) millrace.ID { return p.ID }

func newProject(p millrace.Project) projectOut {
	return projectOut{
		UID: p.ID.String(), Name: p.Name, Type: p.Type, Config: newConfig(p.Config),
		CreatedAt: p.CreatedAt.UTC(), UpdatedAt: p.UpdatedAt.UTC(),
	}
}
