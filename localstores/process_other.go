//go:build !linux

package localstores

import "syscall"

// attributes: a process group of its own, so that Ctrl-C reaches this process
// alone, which ends its stores when it needs them no more. What outlives this
// process is stopped by the next start.
func attributes(a account, _ syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: a.credential()}
}
