//go:build !linux

package storetest

import "syscall"

// dieWithParent does nothing where the kernel has no such thing: a killed
// test run leaves its server behind.
func dieWithParent(*syscall.SysProcAttr) {}
