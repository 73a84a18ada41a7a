package localstores

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// oldestPostgres is the oldest major version that Millrace runs on.
const oldestPostgres = 15

// binaries are the programs of one PostgreSQL installation.
type binaries struct {
	dir     string
	version string // as it says itself: 15.18
	major   int
}

func (b binaries) path(name string) string { return filepath.Join(b.dir, name) }

// findPostgres lists the installations that the account can run and Millrace
// can use, newest first: on PATH, where pg_config says, and in the folders
// that match a pattern.
func findPostgres(ctx context.Context, patterns []string, a account) []binaries {
	var dirs []string
	if path, err := exec.LookPath("postgres"); err == nil {
		if target, err := filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(target))
		}
	}
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	for _, pattern := range patterns {
		matches, _ := filepath.Glob(pattern) // only a bad pattern fails, and it matches nothing
		dirs = append(dirs, matches...)
	}
	slices.Sort(dirs)
	var found []binaries
	for _, dir := range slices.Compact(dirs) {
		if b, err := inspect(ctx, dir); err == nil && b.major >= oldestPostgres && a.mayEnter(dir) == nil {
			found = append(found, b)
		}
	}
	slices.SortStableFunc(found, func(a, b binaries) int { return b.major - a.major })
	return found
}

var saidVersion = regexp.MustCompile(`\(PostgreSQL\) ((\d+)\S*)`)

func inspect(ctx context.Context, dir string) (binaries, error) {
	b := binaries{dir: dir}
	if _, err := os.Stat(b.path("initdb")); err != nil {
		return b, err
	}
	out, err := exec.CommandContext(ctx, b.path("postgres"), "--version").Output()
	if err != nil {
		return b, fmt.Errorf("ask %s for its version: %w", b.path("postgres"), err)
	}
	said := saidVersion.FindSubmatch(out)
	if said == nil {
		return b, fmt.Errorf("%s says %q, which is no version", b.path("postgres"), out)
	}
	b.version = string(said[1])
	b.major, err = strconv.Atoi(string(said[2]))
	return b, err
}
