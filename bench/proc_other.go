//go:build !linux

package bench

import (
	"syscall"
	"time"
)

// apart gives a child a process group of its own, so that Ctrl-C reaches the
// benchmark alone, which ends its children in order.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// measured says whether processor time and memory can be told by process:
// they are read from /proc, which Linux alone has.
const measured = false

func cpu(int) (time.Duration, error) { return 0, nil }

func parent(int) (int, error) { return 0, nil }

func forgetPeak(int) error { return nil }

func memory(int) (int64, error) { return 0, nil }
