package localstores

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// fetched is the PostgreSQL that is fetched where none is installed.
const fetched = embeddedpostgres.V17

// fetchedMajor is the major version of fetched.
func fetchedMajor() int {
	major, _, _ := strings.Cut(string(fetched), ".")
	n, _ := strconv.Atoi(major) // a constant of digits and points
	return n
}

// fetchPostgres downloads PostgreSQL into home, once and whole or not at all,
// and returns where it stands.
func fetchPostgres(ctx context.Context, home string, cfg Config) (binaries, error) {
	root := filepath.Join(home, "bin", string(fetched))
	cfg.Logger.Info("PostgreSQL is not installed here: fetching it once, some 15 MB", "version", string(fetched), "into", root)
	ctx, cancel := context.WithTimeout(ctx, cfg.FetchTimeout)
	defer cancel()
	part, cache := root+".part", filepath.Join(home, "cache")
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		return binaries{}, fmt.Errorf("make a folder for the fetched PostgreSQL: %w", err)
	}
	if err := unpack(ctx, part, cache, cfg); err != nil {
		return binaries{}, fmt.Errorf("PostgreSQL %d or newer is not installed here and cannot be fetched (%w): install it with the system's package manager, or connect to the network",
			oldestPostgres, err)
	}
	if err := errors.Join(os.Chmod(filepath.Dir(root), 0o755), openUp(part)); err != nil {
		return binaries{}, fmt.Errorf("open %s to other users: %w", part, err)
	}
	if err := os.Rename(part, root); err != nil {
		return binaries{}, fmt.Errorf("keep the fetched PostgreSQL: %w", err)
	}
	return inspect(ctx, filepath.Join(root, "bin"))
}

// unpack has embedded-postgres download, check and unpack its archive into
// dir, and no more: what it would do next (initdb, a server of its own) it
// cannot do as another user. So it is given an encoding that initdb refuses,
// and that refusal means that all before it is done.
func unpack(ctx context.Context, dir, cache string, cfg Config) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	from := embeddedpostgres.DefaultConfig()
	if cfg.Repository != "" {
		from = from.BinaryRepositoryURL(strings.TrimSuffix(cfg.Repository, "/"))
	}
	database := embeddedpostgres.NewDatabase(from.
		Version(fetched).Port(uint32(port)).
		RuntimePath(dir).CachePath(cache).DataPath(filepath.Join(cache, "unused")).
		Encoding("none").Logger(io.Discard))
	done := make(chan error, 1)
	// The library takes no context. When ours ends first, the download is
	// left behind with its files, in a process that is about to exit.
	go func() { done <- database.Start() }()
	select {
	case err = <-done:
	case <-ctx.Done():
		return ctx.Err()
	}
	removeErr := errors.Join(os.RemoveAll(cache), os.RemoveAll(filepath.Join(dir, "pwfile")))
	if err == nil {
		return errors.Join(errors.New("initdb took an encoding that does not exist"), database.Stop())
	}
	if !strings.HasPrefix(err.Error(), "unable to init database using") {
		return err
	}
	return removeErr
}

// openUp lets every user read what root unpacked, whatever its umask.
func openUp(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm() | 0o444
		if d.IsDir() || mode&0o100 != 0 {
			mode |= 0o111
		}
		return os.Chmod(path, mode)
	})
}
