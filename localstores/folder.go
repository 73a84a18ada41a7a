package localstores

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// folder is the data folder, in the hands of this process alone.
type folder struct {
	path string // absolute
	lock *lock
}

func openFolder(path string) (folder, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return folder{}, fmt.Errorf("find data folder %s: %w", path, err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return folder{}, fmt.Errorf("make data folder %s: %w", path, err)
	}
	l, err := acquire(filepath.Join(path, "lock"))
	switch {
	case errors.Is(err, errHeld):
		return folder{}, fmt.Errorf("data folder %s is in use by another millrace (process %s): stop it, or choose another folder with --data", path, l.holder)
	case errors.Is(err, os.ErrPermission):
		return folder{}, fmt.Errorf("data folder %s belongs to another user: run millrace as that user, or choose another folder with --data", path)
	case err != nil:
		return folder{}, fmt.Errorf("lock data folder %s: %w", path, err)
	}
	return folder{path: path, lock: l}, nil
}

func (f folder) file(name string) string { return filepath.Join(f.path, name) }

var errHeld = errors.New("held by another process")

// lock is a file that one process holds at a time; the kernel takes it back
// when that process ends, in whatever way.
type lock struct {
	file   *os.File
	holder string // who holds it, where it is not us
}

func acquire(path string) (*lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("flock %s: %w", path, err)
		}
		holder, _ := os.ReadFile(path) // unreadable: the sentence lacks a number
		return &lock{holder: strings.TrimSpace(string(holder))}, errHeld
	}
	if err := errors.Join(f.Truncate(0), writeAt(f, fmt.Sprintln(os.Getpid()))); err != nil {
		f.Close()
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return &lock{file: f}, nil
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// release lets the next process in. The file stays: removing it would let two
// processes hold two files of one name.
func (l *lock) release() error { return l.file.Close() }
