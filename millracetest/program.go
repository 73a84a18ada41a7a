package millracetest

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// built is the program under test, made once for all tests of a process.
var built struct {
	sync.Once
	dir, path string
	err       error
}

// binary builds cmd/millrace as `make build` does.
func binary(t testing.TB) string {
	t.Helper()
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "millrace-program-"); built.err != nil {
			return
		}
		built.path = filepath.Join(built.dir, "millrace")
		out, err := exec.Command("go", "build", "-o", built.path, "github.com/millrace-dev/millrace/cmd/millrace").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("build millrace: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// program is a role that runs as a process of its own.
type program struct {
	*child
	t      testing.TB
	said   *bytes.Buffer // once it ended
	serves chan struct{}
}

func startProgram(r *Role) *program {
	t := r.gateway.t
	t.Helper()
	said := &bytes.Buffer{}
	cmd := exec.Command(binary(t), r.name)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir()}, environ(r.gateway.settings, r.settings)...)
	cmd.Stdout, cmd.Stderr = said, said
	c, err := startChild(cmd)
	if err != nil {
		t.Fatal(err)
	}
	p := &program{child: c, t: t, said: said, serves: make(chan struct{})}
	go p.probe("http://" + r.admin + "/readyz")
	return p
}

// environ are settings in the environment's words; the last one of a name
// counts.
func environ(all ...[]string) []string {
	var env []string
	for _, settings := range all {
		for _, s := range settings {
			key, value, _ := strings.Cut(s, "=")
			env = append(env, "MILLRACE_"+strings.ToUpper(strings.ReplaceAll(key, ".", "_"))+"="+value)
		}
	}
	return env
}

// probe asks whether the process serves, until it does or has ended.
func (p *program) probe(url string) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 3 * time.Second}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.over:
			return
		case <-tick.C:
		}
		answer, err := client.Get(url)
		if err != nil {
			continue
		}
		_ = answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			close(p.serves)
			return
		}
	}
}

func (p *program) ready() <-chan struct{} { return p.serves }
func (p *program) ended() <-chan struct{} { return p.over }

func (p *program) stop() error {
	if err := p.end(syscall.SIGTERM); err != nil {
		return fmt.Errorf("%w; it said:\n%s", err, p.said)
	}
	p.tell()
	return nil
}

func (p *program) kill() {
	_ = p.end(syscall.SIGKILL) // that it was killed is no news
	p.tell()
}

// tell shows what the process said, if that may explain a failure.
func (p *program) tell() {
	if p.t.Failed() {
		p.t.Logf("%s said:\n%s", strings.Join(p.cmd.Args, " "), p.said)
	}
}
