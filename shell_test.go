package millrace_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// shellPatience is how long anything may take on a slow machine.
const shellPatience = time.Minute

// shell is a folder with bin/millrace in it, as `make build` leaves a clone.
type shell struct {
	dir string
	env []string
}

func newShell(t *testing.T) *shell {
	t.Helper()
	s := &shell{dir: t.TempDir()}
	build := exec.Command("go", "build", "-o", filepath.Join(s.dir, "bin", "millrace"), "./cmd/millrace")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	path := os.Getenv("PATH")
	if clients, err := filepath.Glob("/usr/lib/postgresql/*/bin"); err == nil { // psql, where it is not on PATH
		path += ":" + strings.Join(clients, ":")
	}
	s.env = []string{"PATH=" + path, "HOME=" + s.dir}
	return s
}

// script is one run of the shell, with all that it starts.
type script struct {
	t     *testing.T
	text  string
	cmd   *exec.Cmd
	ended chan struct{}

	mu   sync.Mutex
	out  bytes.Buffer
	more chan struct{} // closed and renewed at each write
}

// start runs a script; what still runs of it at the test's end is killed.
func (s *shell) start(t *testing.T, text string) *script {
	t.Helper()
	r := &script{t: t, text: text, cmd: exec.Command("sh", "-c", text), ended: make(chan struct{}), more: make(chan struct{})}
	r.cmd.Dir, r.cmd.Env, r.cmd.Stdout, r.cmd.Stderr = s.dir, s.env, r, r
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.ended)
		_ = r.cmd.Wait() // the state says how it ended
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
		<-r.ended
		if t.Failed() {
			t.Logf("%s\n---\n%s", r.text, r.said())
		}
	})
	return r
}

// Write takes what the script prints.
func (r *script) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.more)
	r.more = make(chan struct{})
	return r.out.Write(b)
}

func (r *script) said() string { text, _ := r.now(); return text }

func (r *script) now() (string, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.String(), r.more
}

// await waits until the script has printed a text.
func (r *script) await(text string) {
	r.t.Helper()
	late := time.NewTimer(shellPatience)
	defer late.Stop()
	for {
		said, more := r.now()
		if strings.Contains(said, text) {
			return
		}
		select {
		case <-more:
		case <-r.ended:
			if !strings.Contains(r.said(), text) {
				r.t.Fatalf("the script ended before it said %q", text)
			}
		case <-late.C:
			r.t.Fatalf("the script did not say %q", text)
		}
	}
}

// signal sends a signal to the script and all that it started.
func (r *script) signal(s syscall.Signal) {
	r.t.Helper()
	if err := syscall.Kill(-r.cmd.Process.Pid, s); err != nil {
		r.t.Fatal(err)
	}
}

// wait waits for the script's end, which must be a success.
func (r *script) wait() {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(shellPatience):
		r.t.Fatal("the script did not end")
	}
	if code := r.cmd.ProcessState.ExitCode(); code != 0 {
		r.t.Fatalf("the script ended with %d", code)
	}
}
