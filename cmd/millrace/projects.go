package main

import (
	"context"
	"fmt"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/app"
)

type project struct {
	Create createProject `cmd:"" help:"Create a project with an API key, straight in PostgreSQL."`
	List   listProjects  `cmd:"" help:"List the projects (needs an instance key)."`
}

type createProject struct {
	Name string `arg:"" help:"What it is called."`
}

// Help shows the command in use.
func (createProject) Help() string {
	return `It works without a running server: by postgres.url and secrets.keys of the configuration. The API key is shown once.

    millrace project create shop --config millrace.yml`
}

// Run creates a project.
func (p createProject) Run(ctx context.Context, s *screen, g *globals) error {
	c, err := g.load()
	if err != nil {
		return err
	}
	made, err := app.CreateProject(ctx, c, p.Name)
	if err != nil {
		return err
	}
	return s.data(made, func() { s.pairs("project", made.ProjectID, "API key", made.APIKey+"   (shown this once)") })
}

type listProjects struct {
	access
}

// Help shows the command in use.
func (listProjects) Help() string {
	return `    millrace project list --url http://127.0.0.1:5005 --api-key "$INSTANCE_KEY"`
}

// Run lists the projects.
func (p listProjects) Run(ctx context.Context, s *screen) error {
	c, err := p.client()
	if err != nil {
		return err
	}
	defer c.Close()
	found, err := c.Projects(ctx)
	if millrace.CodeOf(err) == millrace.CodeForbidden {
		return fmt.Errorf("%w; millrace key create --instance makes one", err)
	}
	if err != nil {
		return err
	}
	return s.data(found, func() {
		var rows [][]string
		for _, p := range found {
			rows = append(rows, []string{p.Is.ID, p.Is.Name, p.Is.Type, when(p.Is.CreatedAt)})
		}
		s.table("There is no project; millrace project create makes one.", "ID\tNAME\tTYPE\tCREATED", rows)
	})
}
