package redistest

import "syscall"

// dieWithParent ends the process even when the tests are killed.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
