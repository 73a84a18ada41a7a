package millrace_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/millrace-dev/millrace/localstores"
	"github.com/millrace-dev/millrace/store/storetest"
)

// The sections of the README whose shell blocks are run here, as they stand
// but for addresses. There are no others.
const (
	tryIt      = "Try it"
	runForReal = "Run it for real"
)

func TestREADMEShellBlocksAreAllRun(t *testing.T) {
	for section, blocks := range readmeBlocks(t, "sh") {
		if section != tryIt && section != runForReal && len(blocks) > 0 {
			t.Errorf("section %q has shell blocks that no test runs", section)
		}
	}
}

func TestREADMENamesWhatIsThere(t *testing.T) {
	text := readme(t)
	var named []string
	for _, link := range regexp.MustCompile(`\]\(([^):#]+)(#[^)]*)?\)`).FindAllStringSubmatch(text, -1) {
		named = append(named, link[1])
	}
	_, tree, _ := strings.Cut(text, "## The tree\n\n```\n")
	tree, _, _ = strings.Cut(tree, "```")
	for line := range strings.Lines(tree) {
		named = append(named, strings.Fields(line)[0])
	}
	if len(named) < 20 {
		t.Errorf("only %d paths are named; is the tree still there?", len(named))
	}
	for _, path := range named {
		if found, err := filepath.Glob(path); err != nil || len(found) == 0 {
			t.Errorf("%s is named and is not there", path)
		}
	}
}

// TestREADMETryIt is the newcomer: make dev, listen, curl.
func TestREADMETryIt(t *testing.T) {
	blocks := readmeBlocks(t, "sh")[tryIt]
	if len(blocks) != 4 || blocks[0] != "make dev\n" {
		t.Fatalf("the section has %d shell blocks, the first %q; want make dev, listen, the event, and more to try", len(blocks), blocks[0])
	}
	if out, err := exec.Command("make", "-n", "dev").CombinedOutput(); err != nil || !strings.Contains(string(out), "exec bin/millrace dev") {
		t.Errorf("make dev does not run bin/millrace dev: %v\n%s", err, out)
	}
	s := newShell(t)
	t.Cleanup(func() { // as root, PostgreSQL's files are elsewhere
		if home, err := os.ReadFile(filepath.Join(s.dir, ".millrace", "postgres.path")); err == nil {
			_ = os.RemoveAll(strings.TrimSpace(string(home)))
		}
	})
	dev := s.start(t, "exec bin/millrace dev --listen 127.0.0.1:0")
	dev.await("Ctrl-C ends it")
	listen := s.start(t, "exec "+replaced(t, blocks[1], "9000\n", freePort(t)+" --count 1"))
	listen.await("Listening on")
	event := s.start(t, blocks[2])
	event.await(`"status":true`)
	event.wait()
	listen.await("signature verified (Standard Webhooks, Convoy)")
	listen.await(`"id": 42`)
	listen.wait()
	s.start(t, "set -e\n"+blocks[3]).wait()
	dev.signal(syscall.SIGTERM)
	dev.wait()
}

// TestREADMERunForReal is the operator: a database, a configuration, three
// roles, a project, an event.
func TestREADMERunForReal(t *testing.T) {
	s := newShell(t)
	stores := startStores(t)
	database, err := url.Parse(stores.PostgresURL.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	password, _ := database.User.Password()
	s.env = append(s.env, "PGHOST="+database.Hostname(), "PGPORT="+database.Port(), "PGPASSWORD="+password, "PGDATABASE=postgres")
	s.start(t, `set -e
psql -U millrace -c "CREATE ROLE administrator SUPERUSER LOGIN PASSWORD '$PGPASSWORD'"
psql -U administrator -c "ALTER ROLE millrace RENAME TO former"`).wait() // the names are the reader's
	server, egress := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
	s.env = append(s.env, "PGUSER=administrator",
		"MILLRACE_SERVER_LISTEN="+server, "MILLRACE_EGRESS_LISTEN="+egress, "MILLRACE_EGRESS_PROXIES=http://"+egress)
	script := "set -eu\n" + strings.Join(readmeBlocks(t, "sh")[runForReal], "")
	script = replaced(t, script, "127.0.0.1:5432", database.Host)
	script = replaced(t, script, "redis://127.0.0.1:6379/0", stores.RedisURL.Reveal())
	script = replaced(t, script, "127.0.0.1:5005", server)
	script = replaced(t, script, "9000", freePort(t))
	for _, role := range []string{"egress", "agent", "server"} {
		script = replaced(t, script, "bin/millrace "+role+" &\n", "bin/millrace "+role+" & roles=\"${roles-} $!\"\n")
	}
	operator := s.start(t, script+"for role in $roles; do kill $role; wait $role; done\necho all have drained\n")
	operator.await("signature verified (Standard Webhooks, Convoy)")
	operator.await("all have drained")
	operator.wait()
}

func TestREADMEVerifiesInGo(t *testing.T) {
	source, err := os.ReadFile("examples/receive/verify.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := readmeBlocks(t, "go")["What receivers must know"]
	if len(blocks) != 1 || !strings.HasSuffix(string(source), "\n"+blocks[0]) {
		t.Error("the Go block is not the function of examples/receive/verify.go, which is tested there")
	}
}

func TestREADMEVerifiesInPythonAndNode(t *testing.T) {
	for _, l := range []struct{ language, program, file, head, tail string }{
		{"python", "python3", "verify.py", "", "import json, sys\nfor c in json.load(sys.stdin):\n    print(str(verify(c['Secret'], c['Headers'], c['Body'].encode())).lower())\n"},
		{"js", "node", "verify.mjs", "", "import { readFileSync } from 'node:fs';\nfor (const c of JSON.parse(readFileSync(0))) console.log(verify(c.Secret, c.Headers, Buffer.from(c.Body)));\n"},
	} {
		t.Run(l.language, func(t *testing.T) {
			blocks := readmeBlocks(t, l.language)["What receivers must know"]
			if len(blocks) != 1 {
				t.Fatalf("there are %d blocks, want 1", len(blocks))
			}
			program, err := exec.LookPath(l.program)
			if err != nil {
				t.Logf("%s is not here; its block was read, not run", l.program)
				return
			}
			file := filepath.Join(t.TempDir(), l.file)
			if err := os.WriteFile(file, []byte(blocks[0]+l.tail), 0o600); err != nil {
				t.Fatal(err)
			}
			judge(t, exec.Command(program, file))
		})
	}
}

// received is a request that a receiver must judge.
type received struct {
	rule         string
	genuine      bool
	Secret, Body string
	Headers      map[string]string
}

// judge runs a program that reads requests as JSON and prints a verdict a line.
func judge(t *testing.T, program *exec.Cmd) {
	t.Helper()
	cases := receivedCases()
	in, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	program.Stdin = strings.NewReader(string(in))
	out, err := program.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	verdicts := strings.Fields(string(out))
	if len(verdicts) != len(cases) {
		t.Fatalf("%d verdicts on %d requests:\n%s", len(verdicts), len(cases), out)
	}
	for i, c := range cases {
		if verdicts[i] != strconv.FormatBool(c.genuine) {
			t.Errorf("%s: says %s", c.rule, verdicts[i])
		}
	}
}

func receivedCases() []received {
	const key, body = "a key of thirty-two bytes, or so", `{"id": 42, "név": "ő"}`
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte(key))
	signed := func(ago time.Duration, change func(r *received)) received {
		sent := strconv.FormatInt(time.Now().Add(-ago).Unix(), 10)
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte("e1." + sent + "." + body))
		r := received{Secret: secret, Body: body, Headers: map[string]string{
			"webhook-id": "e1", "webhook-timestamp": sent, "webhook-signature": "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)),
		}}
		change(&r)
		return r
	}
	return []received{
		signed(0, func(r *received) { r.rule, r.genuine = "a genuine request", true }),
		signed(0, func(r *received) {
			r.rule, r.genuine = "one good signature of several", true
			r.Headers["webhook-signature"] = "v1,AAAA v1a,ő " + r.Headers["webhook-signature"]
		}),
		signed(6*time.Minute, func(r *received) { r.rule = "an old request" }),
		signed(-6*time.Minute, func(r *received) { r.rule = "a request of the future" }),
		signed(0, func(r *received) { r.rule, r.Body = "another body", "{}" }),
		signed(0, func(r *received) { r.rule, r.Headers["webhook-id"] = "another id", "e2" }),
		signed(0, func(r *received) { r.rule, r.Secret = "another secret", "whsec_AAAA" }),
		signed(0, func(r *received) { r.rule = "no time"; delete(r.Headers, "webhook-timestamp") }),
		signed(0, func(r *received) { r.rule, r.Headers["webhook-timestamp"] = "no number for a time", "now" }),
		signed(0, func(r *received) { r.rule = "no signature"; delete(r.Headers, "webhook-signature") }),
	}
}

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// readmeBlocks are the code blocks of a language, by section.
func readmeBlocks(t *testing.T, language string) map[string][]string {
	t.Helper()
	blocks := map[string][]string{}
	section, open := "", false
	var block strings.Builder
	for line := range strings.Lines(readme(t)) {
		switch {
		case open && line == "```\n":
			blocks[section], open = append(blocks[section], block.String()), false
			block.Reset()
		case open:
			block.WriteString(line)
		case line == "```"+language+"\n":
			open = true
		case strings.HasPrefix(line, "## "):
			section = strings.TrimSpace(line[3:])
		}
	}
	return blocks
}

// replaced puts something else in the place of what must be there.
func replaced(t *testing.T, text, old, with string) string {
	t.Helper()
	if !strings.Contains(text, old) {
		t.Fatalf("%q is not in:\n%s", old, text)
	}
	return strings.ReplaceAll(text, old, with)
}

func freePort(t *testing.T) string {
	t.Helper()
	port, err := storetest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// startStores runs a PostgreSQL and a Redis for the test.
func startStores(t *testing.T) *localstores.Stores {
	t.Helper()
	state, err := os.MkdirTemp("", "millrace-readme-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(state) })
	if err := os.Chmod(state, 0o755); err != nil { // PostgreSQL's user must enter it
		t.Fatal(err)
	}
	c := localstores.DefaultConfig()
	c.Data, c.StateDir = filepath.Join(t.TempDir(), "data"), state
	stores, err := localstores.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stores.Stop(t.Context()) })
	return stores
}
