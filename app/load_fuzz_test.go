package app_test

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/millrace-dev/millrace/app"
)

// FuzzSetting holds of each setting and of any value of it: by environment and
// by flag it means the same; it changes nothing but itself; a value that is
// refused is refused by the setting's name; and no refusal shows a secret.
func FuzzSetting(f *testing.F) {
	keys := app.Keys(app.DefaultConfig())
	for i, key := range keys {
		for _, value := range []string{"1", "5s", "redis://u:s3cretword@[::1", "a,b", "true", "k1:c2VjcmV0d29yZA=="} {
			if i%7 == len(value)%7 || strings.HasSuffix(key, "url") || key == "secrets.keys" {
				f.Add(uint16(i), value)
			}
		}
	}
	f.Fuzz(func(t *testing.T, which uint16, value string) {
		key := keys[int(which)%len(keys)]
		before := base()
		flagged, refused := app.Load(before, app.Origins{Flags: []string{key + "=" + value}})
		variable := "MILLRACE_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
		byEnviron, refusedToo := app.Load(before, app.Origins{Environ: []string{variable + "=" + value}})
		if !reflect.DeepEqual(flagged, byEnviron) || said(refused) != said(refusedToo) {
			t.Fatalf("%s=%q: by flag it is %v (%v), by environment %v (%v)", key, value, flagged, refused, byEnviron, refusedToo)
		}
		was, is := before.Settings(), flagged.Settings()
		for i := range was {
			if was[i].Key != key && !reflect.DeepEqual(was[i], is[i]) {
				t.Errorf("%s=%q changes %s to %v", key, value, is[i].Key, is[i].Value)
			}
		}
		wantNamed(t, key, value, refused)
	})
}

func said(err error) string {
	if err == nil {
		return ""
	}
	lines := strings.Split(err.Error(), "\n")
	slices.Sort(lines) // some are of a map
	return strings.Join(lines, "\n")
}

// secret tells whether a setting's value is one that nobody may be shown.
func secret(key string) bool {
	return key == "secrets.keys" || key == "postgres.url" || key == "redis.url" || strings.HasSuffix(key, "password") || strings.HasSuffix(key, "token") ||
		strings.HasPrefix(key, "postgres.") && strings.HasSuffix(key, "replicas")
}

// wantNamed holds that a refusal names the setting, and hides what is secret.
func wantNamed(t *testing.T, key, value string, refused error) {
	t.Helper()
	if refused == nil {
		return
	}
	if block, last, _ := strings.Cut(key, "."); !strings.Contains(refused.Error(), block) || !strings.Contains(refused.Error(), last[strings.LastIndexByte(last, '.')+1:]) {
		t.Errorf("%s=%q is refused by another name: %v", key, value, refused)
	}
	if key == "secrets.keys" {
		value = regexp.MustCompile(`(^|,)[^:,]*:`).ReplaceAllString(value, ",") // the id of a key is no secret
	}
	for _, word := range strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(":/@, ", r) }) {
		if secret(key) && len(word) > 8 && strings.Contains(refused.Error(), word) && !strings.Contains(key, word) {
			t.Errorf("the refusal of %s shows %q: %v", key, word, refused)
		}
	}
}

// FuzzConfigFile holds of any file: it is taken whole or refused; a file that
// is taken has no key that is not a setting, wherever it stands; what it says
// is what is set; and a refusal says where it comes from.
func FuzzConfigFile(f *testing.F) {
	example, err := os.ReadFile("../config.example.yml")
	if err != nil {
		f.Fatal(err)
	}
	for part := range strings.SplitSeq(string(example), "\n\n") {
		if len(part) < 500 {
			f.Add([]byte(part))
		}
	}
	for _, text := range []string{
		"stages:\n  deliver:\n    concurrency: 10\n", "stages.deliver.concurrency: 10\n", "stages:\n  deliver.concurrency: 10\n", "\"\": 1\nlog:\n  level: debug\n",
		"log: &a\n  level: debug\nserver: *a\n", "1: 2\n", "log:\n  1: 2\n", "log: ~\n", "- a\n", "&a [*a]", "log:\n  level: [a]\n", "log:\n  <<: {level: debug}\n",
		"server:\n  listen: 1\n", "egress:\n  proxies: http://a:1,http://b:2\n", "log:\n  level: debug\nlog:\n  level: info\n", "---\n---\n", "a: !!binary x\n",
		"tracing:\n  sample: .inf\n", "tracing:\n  sample: 0x1\n", "server:\n  max_header_bytes: 1e5\n", "webhook:\n  http2: yes\n", "server:\n  listen: 2001-01-01\n",
	} {
		f.Add([]byte(text))
	}
	path := filepath.Join(f.TempDir(), "millrace.yml")
	known := app.Keys(app.DefaultConfig())
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := app.Read(base(), app.Origins{File: path})
		if err != nil {
			wantPlaced(t, err, path, known)
			return
		}
		var doc map[string]any
		if err := yaml.Unmarshal(text, &doc); err != nil {
			t.Fatalf("taken is what is no YAML: %v", err)
		}
		var flags []string
		for key, value := range leaves(doc, "") {
			if slices.Contains(known, key) {
				if one, ok := value.(string); ok {
					flags = append(flags, key+"="+one)
				}
			} else if value != nil || !slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(k, key+".") }) {
				t.Errorf("taken is %q, which is no setting: %v", key, value)
			}
		}
		for _, flag := range flags { // which changes nothing, as the file said so
			again, err := app.Read(c, app.Origins{Flags: []string{flag}})
			if err != nil || !reflect.DeepEqual(again, c) {
				t.Errorf("the file says %s, and that was not set: %v", flag, err)
			}
		}
	})
}

// wantPlaced holds that each line of a refusal names the file or a setting.
func wantPlaced(t *testing.T, refused error, path string, known []string) {
	t.Helper()
	text := refused.Error()
	if strings.Contains(text, path) {
		return
	}
	if !slices.ContainsFunc(known, func(key string) bool { block, _, _ := strings.Cut(key, "."); return strings.Contains(text, block) }) {
		t.Errorf("nobody can tell what is wrong where: %v", refused)
	}
}

// leaves are the values of a document by their place; a name with a dot in it
// is no place.
func leaves(doc map[string]any, at string) map[string]any {
	all := map[string]any{}
	for name, value := range doc {
		place := at + name
		if strings.Contains(name, ".") {
			place = at + "the name " + name
		}
		if inner, ok := value.(map[string]any); ok && len(inner) > 0 {
			for key, v := range leaves(inner, place+".") {
				all[key] = v
			}
			continue
		}
		all[place] = value
	}
	return all
}
