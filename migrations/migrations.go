// Package migrations holds the schema of Millrace's PostgreSQL database, as
// numbered goose migrations that are compiled into the program.
package migrations

import (
	"embed"
	"io/fs"
	"strconv"
	"strings"
)

//go:embed *.sql
var files embed.FS

// FS is the migrations, one SQL file each: NNNN_name.sql.
func FS() fs.FS { return files }

// Latest is the version of the newest migration: the one schema that this
// program knows.
func Latest() int64 {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return 0
	}
	var latest int64
	for _, name := range names {
		number, _, _ := strings.Cut(name, "_")
		if v, err := strconv.ParseInt(number, 10, 64); err == nil {
			latest = max(latest, v)
		}
	}
	return latest
}
