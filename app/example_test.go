package app_test

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/app"
)

const exampleFile = "../config.example.yml"

// undefaulted are the settings that have no default; the example shows them
// as comments.
var undefaulted = []string{"secrets.keys"}

func TestExampleConfigIsTheDefaults(t *testing.T) {
	want := app.DefaultConfig()
	want.Secrets.Keys = []millrace.Sensitive{millrace.Sensitive(app.NewRingKey())}
	got, err := app.Load(want, app.Origins{File: exampleFile})
	if err != nil {
		t.Fatal(err)
	}
	example := got.Settings()
	for i, s := range want.Settings() {
		if !reflect.DeepEqual(example[i], s) {
			t.Errorf("%s is %v in %s, and %v by default", s.Key, example[i].Value, exampleFile, s.Value)
		}
	}
	if got.Postgres.URL != want.Postgres.URL || got.Redis.URL != want.Redis.URL || got.Egress.Token != want.Egress.Token {
		t.Error("a URL or a token is not the default's; Settings hides which")
	}
}

func TestExampleConfigHasEveryKeyInOrderAndExplained(t *testing.T) {
	text, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	shown := walkExample(t, document.Content[0], "")
	known := slices.DeleteFunc(app.Keys(app.DefaultConfig()), func(key string) bool { return slices.Contains(undefaulted, key) })
	for _, key := range known {
		if !slices.Contains(shown, key) {
			t.Errorf("%s is missing", key)
		}
	}
	for _, key := range shown {
		if !slices.Contains(known, key) && key != "secrets" { // the block whose only key is a comment
			t.Errorf("%s is no setting", key)
		}
	}
	if shown = slices.DeleteFunc(shown, func(key string) bool { return key == "secrets" }); !t.Failed() && !slices.Equal(shown, known) {
		t.Errorf("the order is\n%s\nwant that of Config\n%s", strings.Join(shown, " "), strings.Join(known, " "))
	}
	for _, key := range undefaulted {
		name := key[strings.LastIndexByte(key, '.')+1:]
		if !strings.Contains(string(text), "  # "+name+": ") {
			t.Errorf("%s is not shown as a comment", key)
		}
	}
}

// walkExample lists the keys of a block in their order; each must have a
// comment.
func walkExample(t *testing.T, block *yaml.Node, path string) []string {
	t.Helper()
	var keys []string
	for i := 0; i+1 < len(block.Content); i += 2 {
		name, value := block.Content[i], block.Content[i+1]
		key := path + name.Value
		if name.HeadComment == "" && name.LineComment == "" && value.LineComment == "" {
			t.Errorf("%s has no comment", key)
		}
		if value.Kind == yaml.MappingNode {
			keys = append(keys, walkExample(t, value, key+".")...)
			continue
		}
		keys = append(keys, key)
	}
	return keys
}
