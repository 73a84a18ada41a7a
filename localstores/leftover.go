package localstores

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pollInterval is how often a thing is looked at that cannot say when it
// changes.
const pollInterval = 10 * time.Millisecond

// leftover is a server of this folder that outlived the process which started
// it. Its pid file alone proves nothing: after a crash the number may belong
// to any other program, so its command line must name our folder.
type leftover struct {
	name    string
	pidFile string
	mark    string // a path of this folder's in its command line
}

// stop ends the server if there is one, and removes a pid file that outlived
// it: PostgreSQL would not start while any process bears that number.
func (l leftover) stop(ctx context.Context, farewell []syscall.Signal) error {
	text, err := os.ReadFile(l.pidFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the pid file of an earlier %s: %w", l.name, err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err == nil && pid > 1 {
		p, err := os.FindProcess(pid)
		if err != nil {
			return fmt.Errorf("find process %d: %w", pid, err)
		}
		defer p.Release()
		if l.runs(pid) {
			gone := func(ctx context.Context) error { return until(ctx, func() bool { return !l.runs(pid) }) }
			if err := end(ctx, p, farewell, gone); err != nil {
				return fmt.Errorf("stop the %s that an earlier millrace left running: %w", l.name, err)
			}
		}
	}
	if err := os.Remove(l.pidFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the pid file of an earlier %s: %w", l.name, err)
	}
	return nil
}

func (l leftover) runs(pid int) bool { return strings.Contains(commandLine(pid), l.mark) }

// commandLine is empty for a process that is gone, and for one that has ended
// and waits to be reaped.
func commandLine(pid int) string {
	if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil {
		return string(bytes.ReplaceAll(text, []byte{0}, []byte{' '}))
	}
	if _, err := os.Stat("/proc/self/cmdline"); err == nil {
		return ""
	}
	text, _ := exec.Command("ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output() // fails where there is none
	return string(text)
}

// until looks again and again, until the condition holds or ctx ends.
func until(ctx context.Context, holds func() bool) error {
	again := time.NewTicker(pollInterval)
	defer again.Stop()
	for !holds() {
		select {
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
