package millracetest

import (
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// child is a process that a test started and may kill.
type child struct {
	cmd  *exec.Cmd
	over chan struct{}
	err  error // once over
}

// startChild starts a process from a thread that lives as long as it does,
// so that it ends with this process, however that ends.
func startChild(cmd *exec.Cmd) (*child, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	dieWithParent(cmd.SysProcAttr)
	c := &child{cmd: cmd, over: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- fmt.Errorf("start %s: %w", cmd.Path, err)
			return
		}
		started <- nil
		c.err = cmd.Wait()
		close(c.over)
	}()
	return c, <-started
}

// freeze stops the process where it is, connections and all; thaw lets it go
// on.
func (c *child) freeze() { _ = c.cmd.Process.Signal(syscall.SIGSTOP) }
func (c *child) thaw()   { _ = c.cmd.Process.Signal(syscall.SIGCONT) }

// end sends the signal and waits for the end; one that does not come is
// brought about.
func (c *child) end(how syscall.Signal) error {
	_ = c.cmd.Process.Signal(how) // one that ended already needs none
	c.thaw()
	select {
	case <-c.over:
		return c.err
	case <-time.After(patience):
	}
	_ = c.cmd.Process.Kill()
	<-c.over
	return fmt.Errorf("%s did not end within %s of %s", c.cmd.Path, patience, how)
}
