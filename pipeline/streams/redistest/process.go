package redistest

import (
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
)

// process is one run of a server.
type process struct {
	cmd  *exec.Cmd
	over chan struct{}
}

// run starts a process from a thread that lives as long as it does, so that it
// ends with this one: the kernel's "parent died" signal is about threads.
func run(cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	dieWithParent(cmd.SysProcAttr)
	p := &process{cmd: cmd, over: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- fmt.Errorf("start %s: %w", cmd.Path, err)
			return
		}
		started <- nil
		_ = cmd.Wait() // that it was killed is no news
		close(p.over)
	}()
	return p, <-started
}

// ended tells whether the process is over.
func (p *process) ended() bool {
	select {
	case <-p.over:
		return true
	default:
		return false
	}
}

// kill ends the process at once, also one that is stopped, and waits for it.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // one that is over needs none
	<-p.over
}

func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }
