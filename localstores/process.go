package localstores

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// patience is how long a process may take to end after each signal harder
// than the first.
const patience = 5 * time.Second

// logMax is the size past which a log begins anew at the next start.
const logMax = 8 << 20

// program says what to run and how to end it.
type program struct {
	name    string // for people
	path    string
	args    []string
	dir     string
	log     string
	account account
	// farewell are the signals that end it, the polite one first. That one
	// it also gets, where the system can do it, when this process dies.
	farewell []syscall.Signal
}

// process is a program that was started.
type process struct {
	program
	os   *os.Process
	from int64         // where its lines begin in the log
	done chan struct{} // closed when it has ended
	err  error         // how it ended; to be read after done
}

func (p program) start() (*process, error) {
	log, from, err := openLog(p.log)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", p.name, err)
	}
	cmd := exec.Command(p.path, p.args...)
	cmd.Dir, cmd.Env = p.dir, environment()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes(p.account, p.farewell[0])
	started := &process{program: p, from: from, done: make(chan struct{})}
	ready := make(chan error, 1)
	go func() {
		defer close(started.done)
		defer log.Close()
		// The signal at our death is bound to the thread that started the
		// child, not to the process: that thread must live as long as it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started.os = cmd.Process
		ready <- err
		if err == nil {
			started.err = cmd.Wait()
		}
	}()
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	return started, nil
}

// run starts the program and waits until it has succeeded.
func (p program) run(ctx context.Context) error {
	started, err := p.start()
	if err != nil {
		return err
	}
	if err := started.wait(ctx); err != nil {
		return errors.Join(err, started.stop(ctx))
	}
	if started.err != nil {
		return fmt.Errorf("%s failed: %s", p.name, started.complaint())
	}
	return nil
}

// environment is ours without what would redirect PostgreSQL (PG…) or show
// our secrets to the user it runs as.
func environment() []string {
	env := []string{"LC_ALL=C"}
	for _, name := range []string{"PATH", "LD_LIBRARY_PATH", "TMPDIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

func openLog(path string) (f *os.File, from int64, err error) {
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if info, err := os.Stat(path); err == nil && info.Size() > logMax {
		flags |= os.O_TRUNC
	}
	if f, err = os.OpenFile(path, flags, 0o600); err != nil {
		return nil, 0, err
	}
	from, err = f.Seek(0, io.SeekEnd)
	return f, from, err
}

// complaint is why the process gave up, as far as it said so: the last such
// line of PostgreSQL, initdb or Redis.
func (p *process) complaint() string {
	said, err := os.ReadFile(p.log)
	if err != nil || int64(len(said)) < p.from {
		return "it left no log in " + p.log
	}
	var last string
	for line := range bytes.Lines(said[p.from:]) {
		for _, mark := range []string{"FATAL:", "PANIC:", "error:", "postgres: ", " # "} {
			_, reason, found := strings.Cut(string(line), mark)
			if reason = strings.TrimSpace(reason); found && !strings.HasPrefix(reason, "WARNING") {
				last = reason
			}
		}
	}
	if last == "" {
		return "see " + p.log
	}
	return last + " (more in " + p.log + ")"
}

func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *process) stop(ctx context.Context) error {
	if err := end(ctx, p.os, p.farewell, p.wait); err != nil {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	return nil
}

// end sends the signals one after another until the process is gone: the
// first is given as long as ctx lasts, each harder one some patience.
func end(ctx context.Context, p *os.Process, farewell []syscall.Signal, gone func(context.Context) error) error {
	for _, signal := range farewell {
		if err := p.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("signal process %d: %w", p.Pid, err)
		}
		if gone(ctx) == nil {
			return nil
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
	}
	return fmt.Errorf("process %d is still there", p.Pid)
}
