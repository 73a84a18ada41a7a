package storetest

import "syscall"

// dieWithParent stops the server even when the tests are killed.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGQUIT }
