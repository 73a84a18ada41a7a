package localstores

import "syscall"

// attributes: a process group of its own, so that Ctrl-C reaches this process
// alone, which ends its stores when it needs them no more; and the kernel's
// promise to signal the child when this process dies.
func attributes(a account, lastWish syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: lastWish, Credential: a.credential()}
}
