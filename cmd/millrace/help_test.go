package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

func parser(t *testing.T) *kong.Kong {
	t.Helper()
	p, err := newParser(&commands{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var example = regexp.MustCompile(`(?m)^    (?:[A-Z_]+=\S+ )?(?:MILLRACE_SECRETS_KEYS=\$\()?(millrace .*?)\)?$`)

func TestEveryCommandHasAnExampleThatParses(t *testing.T) {
	for _, command := range parser(t).Model.Leaves(true) {
		t.Run(command.Path(), func(t *testing.T) {
			found := example.FindAllStringSubmatch(command.Detail, -1)
			if len(found) == 0 {
				t.Fatalf("the help shows none:\n%s", command.Detail)
			}
			for _, line := range found {
				args, _, _ := strings.Cut(line[1], " > ")
				parsed, err := parser(t).Parse(words(args)[1:])
				if err != nil {
					t.Fatalf("%s: %v", line[1], err)
				}
				if got := parsed.Selected().Path(); got != command.Path() {
					t.Errorf("%s runs %s", line[1], got)
				}
			}
			if !strings.HasSuffix(command.Help, ".") {
				t.Errorf("%q is no sentence", command.Help)
			}
		})
	}
}

func TestTheCommandLineIsHeldToItsUsage(t *testing.T) {
	t.Parallel()
	s := shell{dir: t.TempDir()}
	s.refuse(t, exitUsage, "unexpected argument nonsense; see millrace --help", "nonsense")
	s.refuse(t, exitUsage, "unknown flag --nonsense; see millrace tail --help", "tail", "--nonsense")
	s.refuse(t, exitUsage, "see millrace replay --help", "replay")
	s.refuse(t, exitFailed, "so `millrace dev` has not run here", "tail")
	s.refuse(t, exitFailed, "nobody answers at http://127.0.0.1:1", "tail", "--url", "http://127.0.0.1:1", "--project", "p", "--api-key", "k")
	s.refuse(t, exitFailed, "the API key is missing", "tail", "--url", "http://127.0.0.1:1")
	wantIn(t, s.run(t), "Run it:", "dev", "completion")
	wantIn(t, s.run(t, "version"), "millrace v0.0.0-test (go")
	wantIn(t, s.run(t, "version", "--json"), `"version": "v0.0.0-test"`)
}

func TestFaultsOfTheConfigurationAreALineEach(t *testing.T) {
	t.Parallel()
	s := shell{dir: t.TempDir(), env: []string{"MILLRACE_LOG_LEVEL=loud"}}
	r := s.start(t, "config", "check", "--set", "streams.lease=60s").wait(exitFailed)
	if lines := strings.Split(strings.TrimSpace(r.err.String()), "\n"); len(lines) != 3 {
		t.Errorf("3 faults are told in %d lines:\n%s", len(lines), r.err)
	}
	wantIn(t, r.err.String(), "millrace: log.level must be", "millrace: streams.lease and claim_interval", "millrace: secrets.keys needs")
}

func TestCompletion(t *testing.T) {
	for _, c := range []struct {
		rule  string
		words []string
		want  []string
	}{
		{"commands", []string{"de"}, []string{"dev", "dead-letters"}},
		{"commands below a command", []string{"dead-letters", "re"}, []string{"redrive"}},
		{"flags of a command, its parents' too", []string{"send", "--f"}, []string{"--file"}},
		{"global flags", []string{"send", "--js"}, []string{"--json"}},
		{"what an argument is chosen from", []string{"completion", "z"}, []string{"zsh"}},
		{"all of them", []string{"migrate", ""}, []string{"up", "down", "status"}},
		{"nothing where there is nothing", []string{"version", ""}, nil},
	} {
		t.Run(c.rule, func(t *testing.T) {
			var out bytes.Buffer
			complete(&out, parser(t).Model.Node, c.words)
			var got []string
			for line := range strings.Lines(out.String()) {
				word, _, _ := strings.Cut(line, "\t")
				got = append(got, word)
			}
			if strings.Join(got, " ") != strings.Join(c.want, " ") {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestTheBashScriptCompletes(t *testing.T) {
	t.Parallel()
	s := shell{dir: t.TempDir()}
	script := s.run(t, "completion", "bash") + `
COMP_WORDS=(millrace dead-letters re) COMP_CWORD=2
_millrace
echo "${COMPREPLY[@]}"`
	cmd := exec.Command("bash", "-c", script)
	cmd.Env = []string{"PATH=" + filepath.Dir(binary) + ":" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "redrive" {
		t.Errorf("bash completes to %q, %v", out, err)
	}
	for _, name := range []string{"zsh", "fish"} {
		wantIn(t, s.run(t, "completion", name), completeWord, "millrace")
	}
}
