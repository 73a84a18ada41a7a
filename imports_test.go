package millrace_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const module = "github.com/millrace-dev/millrace"

// ours says which of our own folders each folder may import, "" being the
// root. A folder may always import what lies below it, and a support folder
// below another (storetest) what that one may, and itself. The rules are for
// the program; its tests may put together what they like.
var ours = map[string][]string{
	"":                 {},
	"app":              {"*"},
	"bench":            {"*"},
	"brokertest":       {},
	"cmd":              {"", "app", "bench", "misbehave"},
	"egress":           {},
	"examples":         {},
	"handlers":         {""},
	"httpapi":          {""},
	"localstores":      {""},
	"migrations":       {},
	"millracetest":     {"*"},
	"misbehave":        {},
	"pipeline":         {"", "handlers"},
	"pipeline/streams": {},
	"sinks":            {""},
	"sources":          {""},
	"store":            {"", "migrations"},
	"web":              {},
}

// theirs says where a module of others may be imported, with all it brings.
var theirs = map[string][]string{
	"github.com/ThreeDotsLabs/watermill": {"app", "bench", "millracetest", "pipeline", "sinks", "sources"},
	"github.com/jmoiron/sqlx":            {"store"},
	"github.com/gorilla/mux":             {"httpapi"},
}

// nameless are folders that say nothing about what is in them.
var nameless = []string{"internal", "pkg", "util", "utils", "common", "helpers", "models", "types", "services"}

func TestImports(t *testing.T) {
	for _, fault := range importFaults(t, os.DirFS(".")) {
		t.Error(fault)
	}
}

func TestImportFaultsAreSeen(t *testing.T) {
	for _, c := range []struct{ rule, file, imports, fault string }{
		{"the root imports nothing of ours", "event.go", module + "/store", "event.go imports store"},
		{"the root imports nobody else's", "event.go", "github.com/lib/pq", "event.go imports github.com/lib/pq"},
		{"the root may import uuid", "event.go", "github.com/google/uuid", ""},
		{"the root may import the standard library", "event.go", "encoding/json", ""},
		{"the tests of the root may import what they like", "event_test.go", "pgregory.net/rapid", ""},
		{"egress imports not even the root", "egress/proxy.go", module, "egress/proxy.go imports the root"},
		{"siblings never meet", "sinks/webhook.go", module + "/store", "sinks/webhook.go imports store"},
		{"handlers import no siblings", "handlers/deliver.go", module + "/sinks", "handlers/deliver.go imports sinks"},
		{"handlers import the root", "handlers/deliver.go", module, ""},
		{"the pipeline imports handlers", "pipeline/pipeline.go", module + "/handlers", ""},
		{"the pipeline imports its streams", "pipeline/pipeline.go", module + "/pipeline/streams", ""},
		{"the pipeline does not import the store", "pipeline/pipeline.go", module + "/store", "pipeline/pipeline.go imports store"},
		{"streams import nothing of ours", "pipeline/streams/publisher.go", module + "/pipeline", "pipeline/streams/publisher.go imports pipeline"},
		{"the store imports migrations", "store/store.go", module + "/migrations", ""},
		{"storetest imports the store", "store/storetest/storetest.go", module + "/store", ""},
		{"commands go through app", "cmd/millrace/server.go", module + "/store", "cmd/millrace/server.go imports store"},
		{"app knows everybody", "app/app.go", module + "/pipeline/streams", ""},
		{"handlers know no Watermill", "handlers/deliver.go", "github.com/ThreeDotsLabs/watermill/message", "handlers/deliver.go imports github.com/ThreeDotsLabs/watermill/message"},
		{"nor what belongs to it", "store/log.go", "github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream", "store/log.go imports github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"},
		{"streams are Watermill's", "pipeline/streams/publisher.go", "github.com/ThreeDotsLabs/watermill", ""},
		{"SQL is the store's", "httpapi/events.go", "github.com/jmoiron/sqlx", "httpapi/events.go imports github.com/jmoiron/sqlx"},
		{"storetest is the store's", "store/storetest/storetest.go", "github.com/jmoiron/sqlx", ""},
		{"routes are the API's", "app/app.go", "github.com/gorilla/mux", "app/app.go imports github.com/gorilla/mux"},
		{"no folder without a meaning", "store/utils/x.go", "fmt", "store/utils: a folder is named after what is in it"},
		{"no folder that the rules do not know", "stuff/x.go", "fmt", "stuff: the import rules do not know this folder"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			source := fmt.Sprintf("package x\n\nimport _ %q\n", c.imports)
			got := importFaults(t, fstest.MapFS{c.file: {Data: []byte(source)}})
			var want []string
			if c.fault != "" {
				want = []string{c.fault}
			}
			if !slices.Equal(got, want) {
				t.Errorf("faults %q, want %q", got, want)
			}
		})
	}
}

// importFaults walks a tree and says who imports whom against the rules.
func importFaults(t *testing.T, tree fs.FS) []string {
	t.Helper()
	var faults []string
	err := fs.WalkDir(tree, ".", func(file string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && file != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules"):
			return fs.SkipDir
		case d.IsDir() && slices.Contains(nameless, name):
			faults = append(faults, file+": a folder is named after what is in it")
		case strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go"):
			found, err := fileFaults(tree, file)
			faults = append(faults, found...)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return faults
}

func fileFaults(tree fs.FS, file string) ([]string, error) {
	source, err := fs.ReadFile(tree, file)
	if err != nil {
		return nil, err
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, source, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	folder := strings.TrimPrefix(path.Dir(file), ".")
	ruled, known := ruledBy(folder)
	if !known {
		return []string{folder + ": the import rules do not know this folder"}, nil
	}
	var faults []string
	for _, spec := range parsed.Imports {
		target, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		if what, allowed := judgeImport(folder, ruled, target); !allowed {
			faults = append(faults, fmt.Sprintf("%s imports %s", file, what))
		}
	}
	return faults, nil
}

// ruledBy is the folder in ours whose rule a folder is under: itself or the
// nearest above.
func ruledBy(folder string) (string, bool) {
	for f := folder; ; f = strings.TrimPrefix(path.Dir(f), ".") {
		if _, known := ours[f]; known {
			return f, f != "" || folder == ""
		}
	}
}

// judgeImport tells whether a folder may import a target, and names it.
func judgeImport(folder, ruled, target string) (string, bool) {
	if own, is := strings.CutPrefix(target+"/", module+"/"); is {
		own = strings.TrimSuffix(own, "/")
		may := slices.Contains(ours[ruled], "*") || slices.Contains(ours[ruled], own) ||
			(ruled != "" && within(own, ruled) && within(folder, ruled))
		if own == "" {
			own = "the root"
		}
		return own, may
	}
	standard := !strings.Contains(strings.Split(target, "/")[0], ".")
	if ruled == "" {
		return target, standard || target == "github.com/google/uuid"
	}
	for module, folders := range theirs {
		if target == module || strings.HasPrefix(target, module+"/") || strings.HasPrefix(target, module+"-") {
			return target, slices.ContainsFunc(folders, func(f string) bool { return within(folder, f) })
		}
	}
	return target, true
}

func within(folder, above string) bool {
	return folder == above || strings.HasPrefix(folder, above+"/")
}
