package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// process is one that the benchmark runs beside itself, so that its processor
// time and memory can be told from those of the others.
type process struct {
	name    string
	binary  string
	args    []string
	env     []string
	log     string // a file
	answers string // the URL that answers 200 once it serves

	took  time.Duration // from its start until it served
	os    *os.Process
	spent time.Duration // of its predecessors, where it was started anew
	ended chan struct{}
	err   error         // how it ended; this and the next are to be read after ended
	used  time.Duration // of the processor
}

// stopPatience is how long a process may take to drain.
const stopPatience = 30 * time.Second

// start starts the process and waits until it serves.
func (p *process) start(ctx context.Context) error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the log of the %s: %w", p.name, err)
	}
	cmd := exec.Command(p.binary, p.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = append(os.Environ(), p.env...), log, log, apart()
	ended, started, begun := make(chan struct{}), make(chan error, 1), time.Now()
	p.ended = ended
	go func() {
		defer close(ended)
		defer func() { _ = log.Close() }()
		runtime.LockOSThread() // the signal at our death is bound to the thread
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		p.os = cmd.Process
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			p.used = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start the %s: %w", p.name, err)
	}
	if err := p.ready(ctx); err != nil {
		return errors.Join(err, p.stop())
	}
	p.took = time.Since(begun)
	return nil
}

// ready waits until the process serves.
func (p *process) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		if answersOK(ctx, p.answers) {
			return nil
		}
		select {
		case <-again.C:
		case <-p.ended:
			return fmt.Errorf("the %s ended: %s", p.name, p.complaint())
		case <-ctx.Done():
			return fmt.Errorf("the %s does not serve: %w: %s", p.name, context.Cause(ctx), p.complaint())
		}
	}
}

func answersOK(ctx context.Context, url string) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	_ = answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// stop lets the process drain, and kills it if that takes too long.
func (p *process) stop() error {
	if p.os == nil {
		return nil
	}
	if err := p.os.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the %s: %w", p.name, err)
	}
	late := time.NewTimer(stopPatience)
	defer late.Stop()
	select {
	case <-p.ended:
	case <-late.C:
		_ = p.os.Kill()
		<-p.ended
		return fmt.Errorf("the %s did not drain within %s and was killed", p.name, stopPatience)
	}
	p.os = nil
	p.spent += p.used
	if p.err != nil {
		return fmt.Errorf("the %s ended with %w: %s", p.name, p.err, p.complaint())
	}
	return nil
}

// complaint is the last thing that it logged as a fault.
func (p *process) complaint() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	last := "it logged no fault"
	for line := range bytes.Lines(text) {
		if !bytes.Contains(line, []byte("level=INFO")) {
			last = strings.TrimSpace(string(line))
		}
	}
	return last
}

// freeAddresses picks so many ports of the loopback, all different.
func freeAddresses(n int) ([]string, error) {
	var all []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer func() { _ = l.Close() }() // not before all are picked
		all = append(all, l.Addr().String())
	}
	return all, nil
}

// logFile is where a process logs.
func logFile(folder, name string) string { return filepath.Join(folder, name+".log") }
