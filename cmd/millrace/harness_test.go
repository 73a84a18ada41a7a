package main

import (
	"bytes"
	"errors"
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

	"github.com/millrace-dev/millrace/store/storetest"
)

// patience is how long anything may take on a slow machine.
const patience = time.Minute

// binary is the program under test, as make build makes it.
var binary string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "millrace-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "millrace")
	build := exec.Command("go", "build", "-ldflags", "-X main.version=v0.0.0-test", "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// output collects what a process prints and wakes who waits for it.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed and renewed at each write
}

func newOutput() *output { return &output{more: make(chan struct{})} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.more)
	o.more = make(chan struct{})
	return o.text.Write(b)
}

func (o *output) now() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String(), o.more
}

func (o *output) String() string { text, _ := o.now(); return text }

// running is one run of the program.
type running struct {
	t        *testing.T
	args     string
	process  *os.Process
	out, err *output
	ended    chan struct{}
	code     int // once ended
}

// shell says where and with what the program runs.
type shell struct {
	dir string
	env []string
	in  string
}

// start runs the program; what still runs at the end of the test is killed.
func (s shell) start(t *testing.T, args ...string) *running {
	t.Helper()
	cmd := exec.Command(binary, args...)
	r := &running{t: t, args: strings.Join(args, " "), out: newOutput(), err: newOutput(), ended: make(chan struct{})}
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = s.dir, strings.NewReader(s.in), r.out, r.err
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir}, s.env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.process = cmd.Process
	go func() {
		defer close(r.ended)
		var exit *exec.ExitError
		if err := cmd.Wait(); errors.As(err, &exit) {
			r.code = exit.ExitCode()
		} else if err != nil {
			r.code = -1
		}
	}()
	t.Cleanup(func() {
		_ = r.process.Signal(syscall.SIGTERM)
		select {
		case <-r.ended:
		case <-time.After(patience):
			_ = r.process.Kill()
			<-r.ended
		}
		if t.Failed() {
			t.Logf("millrace %s (exit code %d)\n%s%s", r.args, r.code, r.out, r.err)
		}
	})
	return r
}

// await waits until an output has a text.
func (r *running) await(o *output, text string) {
	r.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		got, more := o.now()
		if strings.Contains(got, text) {
			return
		}
		select {
		case <-more:
		case <-r.ended:
			if !strings.Contains(o.String(), text) {
				r.t.Fatalf("millrace %s ended with %d before it said %q", r.args, r.code, text)
			}
		case <-late.C:
			r.t.Fatalf("millrace %s did not say %q", r.args, text)
		}
	}
}

// wait waits for the end and holds the exit code to what it should be.
func (r *running) wait(code int) *running {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(patience):
		r.t.Fatalf("millrace %s did not end", r.args)
	}
	if r.code != code {
		r.t.Fatalf("millrace %s ended with %d, want %d:\n%s%s", r.args, r.code, code, r.out, r.err)
	}
	return r
}

// run runs the program to its end, which must be a success.
func (s shell) run(t *testing.T, args ...string) string {
	t.Helper()
	return s.start(t, args...).wait(exitDone).out.String()
}

// refuse runs the program to its failure; what it says is one sentence on
// stderr with the given text in it.
func (s shell) refuse(t *testing.T, code int, text string, args ...string) {
	t.Helper()
	r := s.start(t, args...).wait(code)
	said := r.err.String()
	if !strings.Contains(said, text) || strings.Count(said, "\n") != 1 || r.out.String() != "" {
		t.Errorf("millrace %s says %q and prints %q; want one line with %q", r.args, said, r.out, text)
	}
}

// wantIn holds that a text has all parts.
func wantIn(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in:\n%s", part, text)
		}
	}
}

// freePort is a port of the loopback that nobody listens on now.
func freePort(t *testing.T) string {
	t.Helper()
	port, err := storetest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// words splits a command line as a shell does, as far as the help and the
// welcome need it.
func words(line string) []string {
	var all []string
	var word strings.Builder
	var quote rune
	begun, escaped := false, false
	for _, r := range line {
		switch {
		case escaped:
			escaped = false
			if r != '\n' {
				word.WriteRune(r)
			}
		case r == '\\' && quote != '\'':
			escaped = true
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, begun = r, true
		case quote == 0 && (r == ' ' || r == '\n'):
			if begun {
				all = append(all, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if begun {
		all = append(all, word.String())
	}
	return all
}

// curled does what a curl command line says, on machines without curl too.
func curled(t *testing.T, line string) *http.Response {
	t.Helper()
	args := words(line)
	if len(args) < 2 || args[0] != "curl" {
		t.Fatalf("%q is no curl", line)
	}
	header, body := http.Header{}, ""
	for i := 2; i+1 < len(args); i += 2 {
		switch args[i] {
		case "-H":
			name, value, _ := strings.Cut(args[i+1], ": ")
			header.Set(name, value)
		case "-d":
			body = args[i+1]
		default:
			t.Fatalf("what is %s of curl?", args[i])
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, args[1], strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	return answer
}
