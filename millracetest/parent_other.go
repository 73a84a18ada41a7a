//go:build !linux

package millracetest

import "syscall"

// dieWithParent does nothing where the kernel has no such thing: a killed
// test run leaves its processes behind.
func dieWithParent(*syscall.SysProcAttr) {}
