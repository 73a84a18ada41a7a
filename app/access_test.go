package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace-dev/millrace/app"
)

func TestFindAccess(t *testing.T) {
	data := t.TempDir()
	text := `{"url":"http://dev","project_id":"dev-project","api_key":"dev-key"}`
	if err := os.WriteFile(filepath.Join(data, app.DevFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		rule  string
		given app.DevAccess
		data  string
		want  app.DevAccess
		fault string
	}{
		{"nothing given is dev's", app.DevAccess{}, data, app.DevAccess{URL: "http://dev", ProjectID: "dev-project", APIKey: "dev-key"}, ""},
		{"another key of dev", app.DevAccess{APIKey: "k"}, data, app.DevAccess{URL: "http://dev", ProjectID: "dev-project", APIKey: "k"}, ""},
		{"another project of dev", app.DevAccess{ProjectID: "p"}, data, app.DevAccess{URL: "http://dev", ProjectID: "p", APIKey: "dev-key"}, ""},
		{"all given", app.DevAccess{URL: "http://u", ProjectID: "p", APIKey: "k"}, data, app.DevAccess{URL: "http://u", ProjectID: "p", APIKey: "k"}, ""},
		{"project and key are not sent to dev's URL", app.DevAccess{ProjectID: "p", APIKey: "k"}, data, app.DevAccess{URL: "http://127.0.0.1:5005", ProjectID: "p", APIKey: "k"}, ""},
		{"dev's key is not sent to another URL", app.DevAccess{URL: "http://u"}, data, app.DevAccess{}, "the API key is missing"},
		{"an instance key needs no project", app.DevAccess{URL: "http://u", APIKey: "k"}, data, app.DevAccess{URL: "http://u", APIKey: "k"}, ""},
		{"no dev has run here", app.DevAccess{}, t.TempDir(), app.DevAccess{}, "`millrace dev` has not run here"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			got, err := app.FindAccess(c.given, c.data)
			switch {
			case c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)):
				t.Errorf("it says %v, want %q", err, c.fault)
			case c.fault == "" && (err != nil || got != c.want):
				t.Errorf("it is %v, %v; want %v", got, err, c.want)
			}
		})
	}
}
