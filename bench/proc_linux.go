package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// apart gives a child a process group of its own, so that Ctrl-C reaches the
// benchmark alone, which ends its children in order; and the kernel's promise
// to end the child when the benchmark dies.
func apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// measured says whether processor time and memory can be told by process.
const measured = true

// tick is the unit of times in /proc/<pid>/stat: USER_HZ, 100 a second on
// every architecture that Go runs on.
const tick = 10 * time.Millisecond

// stat is what proc_pid_stat(5) tells of a process.
type stat struct {
	parent         int
	own, inherited time.Duration // of itself; of the children it waited for
}

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	// The name, in brackets, may have blanks in it: count from behind it.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 15 {
		return stat{}, fmt.Errorf("/proc/%d/stat reads %q", pid, text)
	}
	at := func(i int) int { n, _ := strconv.Atoi(fields[i]); return n } // all are numbers
	return stat{parent: at(1), own: time.Duration(at(11)+at(12)) * tick, inherited: time.Duration(at(13)+at(14)) * tick}, nil
}

// cpu is the processor time of a process with all its children.
func cpu(pid int) (time.Duration, error) {
	s, err := readStat(pid)
	if err != nil {
		return 0, err
	}
	all := s.own + s.inherited
	for _, child := range children(pid) {
		if s, err := readStat(child); err == nil { // it may have ended meanwhile
			all += s.own
		}
	}
	return all, nil
}

// children are the processes of which this one is the parent.
func children(pid int) []int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil
	}
	var all []int
	for _, field := range bytes.Fields(text) {
		if child, err := strconv.Atoi(string(field)); err == nil {
			all = append(all, child)
		}
	}
	return all
}

// parent is the process that started this one.
func parent(pid int) (int, error) {
	s, err := readStat(pid)
	return s.parent, err
}

// forgetPeak lets the peak memory of a process begin anew.
func forgetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0o600)
}

// memory is the peak of a process without children, in bytes. Of one with
// children it is what all of them use now, shared pages counted once.
func memory(pid int) (int64, error) {
	all := children(pid)
	if len(all) == 0 {
		return kilobytes(fmt.Sprintf("/proc/%d/status", pid), "VmHWM:")
	}
	var sum int64
	for _, one := range append(all, pid) {
		if n, err := kilobytes(fmt.Sprintf("/proc/%d/smaps_rollup", one), "Pss:"); err == nil { // it may have ended meanwhile
			sum += n
		}
	}
	return sum, nil
}

// kilobytes reads a line such as "VmHWM:    1234 kB".
func kilobytes(path, name string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("%s has no %s", path, name)
}
