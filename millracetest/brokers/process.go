package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// broker is a broker's process.
type broker struct {
	process *exec.Cmd
	log     string
	ended   chan struct{}
	// beside ends with it; nil: nothing does.
	beside *broker
}

// start runs a broker's program in a process group of its own, with its words
// in a file.
func start(dir string, env []string, program string, args ...string) (*broker, error) {
	b := &broker{process: exec.Command(program, args...), log: filepath.Join(dir, "log"), ended: make(chan struct{})}
	words, err := os.Create(b.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = words.Close() }() // the process has its own
	b.process.Dir, b.process.Env = dir, append(os.Environ(), env...)
	b.process.Stdout, b.process.Stderr = words, words
	b.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := b.process.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = b.process.Wait() // how it ended, its words say
		close(b.ended)
	}()
	return b, nil
}

// await waits until ready says yes.
func (b *broker) await(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-b.ended:
			return fmt.Errorf("it ended at once:\n%s", b.lastWords())
		case <-ctx.Done():
			b.stop()
			return fmt.Errorf("it does not answer (%w):\n%s", err, b.lastWords())
		}
	}
}

func (b *broker) lastWords() string {
	const most = 4096
	words, _ := os.ReadFile(b.log)
	return string(words[max(0, len(words)-most):])
}

// stop ends the broker's processes: nothing of it is kept.
func (b *broker) stop() {
	_ = syscall.Kill(-b.process.Process.Pid, syscall.SIGKILL) // may have ended by itself
	<-b.ended
	if b.beside != nil {
		b.beside.stop()
	}
}

// answers tells whether something listens at an address.
func answers(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return c.Close()
	}
}

// freePorts finds ports of loopback that nobody uses.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }() // held until all are found
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}
