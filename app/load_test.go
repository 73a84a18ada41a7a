package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/app"
)

// base is a configuration that lacks nothing.
func base() app.Config {
	c := app.DefaultConfig()
	c.Secrets.Keys = []millrace.Sensitive{millrace.Sensitive(app.NewRingKey())}
	return c
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "millrace.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadTakesTheLaterOrigin(t *testing.T) {
	inFile := file(t, "stages:\n  deliver:\n    concurrency: 10\n    max_backoff: 3s\nserver:\n  listen: 127.0.0.1:1\n")
	environ := []string{"MILLRACE_STAGES_DELIVER_CONCURRENCY=20", "MILLRACE_SERVER_LISTEN=127.0.0.1:2", "PATH=/bin", "MILLRACE_URL=http://x", "MILLRACE_PROJECT_ID=p", "MILLRACE_API_KEY=k"}
	c, err := app.Load(base(), app.Origins{File: inFile, Environ: environ, Flags: []string{"server.listen=127.0.0.1:3"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Stages.Deliver.MaxBackoff; got != 3*time.Second {
		t.Errorf("the file's max_backoff is %s", got)
	}
	if got := c.Stages.Deliver.Concurrency; got != 20 {
		t.Errorf("the environment gave 20, the file 10; it is %d", got)
	}
	if got := c.Server.Listen; got != "127.0.0.1:3" {
		t.Errorf("the flag gave port 3, environment and file others; it is %s", got)
	}
	if want := app.DefaultConfig().Stages.Deliver.MaxRedeliveries; c.Stages.Deliver.MaxRedeliveries != want {
		t.Error("what nobody set is not the default")
	}
}

func TestLoadReadsListsFromOneVariable(t *testing.T) {
	one, two := app.NewRingKey(), app.NewRingKey()
	c, err := app.Load(app.DefaultConfig(), app.Origins{
		Environ: []string{"MILLRACE_SECRETS_KEYS=" + one + "," + two, "MILLRACE_EGRESS_PROXIES=http://a:1,http://b:2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Secrets.Keys) != 2 || c.Secrets.Keys[1].Reveal() != two {
		t.Error("secrets.keys are not the two of the variable")
	}
	if len(c.Egress.Proxies) != 2 || c.Egress.Proxies[1] != "http://b:2" {
		t.Errorf("egress.proxies are %q", c.Egress.Proxies)
	}
}

func TestLoadRefusesInTheOperatorsWords(t *testing.T) {
	for _, c := range []struct {
		rule string
		from app.Origins
		want string
	}{
		{"an unknown key of the file names one like it", app.Origins{File: "stages:\n  delivery:\n    concurrency: 1\n"}, "stages.delivery.concurrency: there is no such setting"},
		{"an unknown variable", app.Origins{Environ: []string{"MILLRACE_STAGES_SEND=1"}}, "MILLRACE_STAGES_SEND is no setting"},
		{"an unknown key of a flag", app.Origins{Flags: []string{"listen=:80"}}, "listen: there is no such setting (in --set); there is server.listen"},
		{"a flag without a value", app.Origins{Flags: []string{"server.listen"}}, "write key=value"},
		{"a duration without its unit", app.Origins{File: "streams:\n  lease: 9\n"}, "streams.lease must be a duration with its unit, such as 500ms, 30s or 5m, not \"9\""},
		{"a duration that is none", app.Origins{Flags: []string{"streams.lease=soon"}}, "streams.lease must be a duration"},
		{"half a number", app.Origins{File: "postgres:\n  writers: 1.5\n"}, "postgres.writers must be a whole number, not \"1.5\""},
		{"a word for a number", app.Origins{Environ: []string{"MILLRACE_POSTGRES_WRITERS=many"}}, "postgres.writers must be a whole number, not \"many\""},
		{"a word for a share", app.Origins{Flags: []string{"tracing.sample=all"}}, "tracing.sample must be a number, not \"all\""},
		{"a word for yes", app.Origins{Flags: []string{"webhook.http2=maybe"}}, "webhook.http2 must be true or false, not \"maybe\""},
		{"a value for a block", app.Origins{File: "stages: fast\n"}, "stages: there is no such setting"},
		{"a setting of the file on one line", app.Origins{File: "stages:\n  deliver.concurrency: 1\n"}, "deliver.concurrency: in "},
		{"what is no YAML", app.Origins{File: "stages: [\n"}, "is not YAML"},
		{"a value out of its list", app.Origins{Flags: []string{"stages.ingest.ack=never"}}, "stages.ingest.ack must be queued or persisted"},
		{"no key ring", app.Origins{File: "secrets:\n  keys: []\n"}, "secrets.keys needs at least one key"},
		{"a key that is none", app.Origins{Flags: []string{"secrets.keys=k1:short"}}, "k1"},
		{"a renewal of more than a third of the lease", app.Origins{Flags: []string{"streams.renew_interval=4s"}}, "streams.renew_interval must be at most a third of the lease"},
		{"lease and claim over 15 s", app.Origins{Flags: []string{"streams.claim_interval=7s"}}, "streams.lease and claim_interval together must be at most 15s"},
		{"keys forgotten before the last retry", app.Origins{Flags: []string{"postgres.idempotency_window=24h"}}, "postgres.idempotency_window (24h0m0s) must not be shorter"},
		{"events gone before their keys", app.Origins{Flags: []string{"postgres.retention=100h"}}, "postgres.retention (100h0m0s) must not be shorter than postgres.idempotency_window (168h0m0s)"},
		{"events gone before the last retry", app.Origins{Flags: []string{"postgres.retention=25h", "postgres.idempotency_window=24h"}}, "postgres.retention (25h0m0s) must not be shorter than the default retry policy's span"},
		{"events kept for less than a day", app.Origins{Flags: []string{"postgres.retention=1h"}}, "postgres.retention must be at least 24h, or 0 to keep everything, not 1h0m0s"},
		{"a sweep that overtakes statements", app.Origins{Flags: []string{"stages.retry.sweep_grace=15s"}}, "stages.retry.sweep_grace (15s) must exceed"},
		{"an egress open to all without a token", app.Origins{Flags: []string{"egress.listen=:4750"}}, "set egress.token or egress.client_ca"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if c.from.File != "" {
				c.from.File = file(t, c.from.File)
			}
			_, err := app.Load(base(), c.from)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("it says %v, want %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "short") && strings.Contains(c.rule, "key that is none") {
				t.Error("the refusal shows the key")
			}
		})
	}
}

func TestLoadSaysAllFaultsAtOnce(t *testing.T) {
	_, err := app.Load(app.DefaultConfig(), app.Origins{
		File:    file(t, "stages:\n  deliver:\n    concurency: 1\n  fanout:\n    timeout: soon\nstreams:\n  lease: 90s\n"),
		Environ: []string{"MILLRACE_NONSENSE=1", "MILLRACE_LOG_LEVEL=loud"},
		Flags:   []string{"postgres.writers=0"},
	})
	if err == nil {
		t.Fatal("it was taken")
	}
	for _, want := range []string{
		"stages.deliver.concurency", "stages.fanout.timeout", "streams.lease and claim_interval", "MILLRACE_NONSENSE", "log.level must be",
		"postgres.writers must be", "secrets.keys needs",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing is said of %s in:\n%v", want, err)
		}
	}
}

func TestLoadOfAMissingFileSaysThatAlone(t *testing.T) {
	_, err := app.Load(app.DefaultConfig(), app.Origins{File: filepath.Join(t.TempDir(), "nowhere.yml")})
	if err == nil || !strings.Contains(err.Error(), "the configuration file cannot be read") || strings.Contains(err.Error(), "secrets.keys") {
		t.Errorf("it says %v", err)
	}
}

func TestLoadTakesABlockWithNothingInIt(t *testing.T) {
	c, err := app.Load(base(), app.Origins{File: file(t, "secrets:\n  # keys: []\nstages:\n  deliver:\n")})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Secrets.Keys) != 1 || c.Stages != app.DefaultConfig().Stages {
		t.Error("an empty block changed its settings")
	}
}

func TestPrintedConfigHidesSecretsAndReadsBack(t *testing.T) {
	c := base()
	c.Postgres.URL, c.Redis.URL, c.Egress.Token = "postgres://u:hush@h/d", "redis://:hush@h:1/0", "hush"
	text := c.YAML()
	if strings.Contains(text, "hush") || strings.Contains(text, c.Secrets.Keys[0].Reveal()) {
		t.Error("it shows a secret")
	}
	for _, line := range []string{"postgres:\n  url: <secret>\n", "\nstages:\n  ingest:\n    concurrency: 2048\n", "  proxies: ['http://127.0.0.1:4750']\n"} {
		if !strings.Contains(strings.ReplaceAll(text, `"`, "'"), line) {
			t.Errorf("%q is not in:\n%s", line, text)
		}
	}
	back, err := app.Read(base(), app.Origins{File: file(t, text)})
	if err != nil {
		t.Fatal(err)
	}
	if back.Stages != c.Stages || back.Streams != c.Streams || back.Server != c.Server {
		t.Error("read back, it is another configuration")
	}
}
