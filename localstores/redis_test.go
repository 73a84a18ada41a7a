package localstores

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// withoutPath leaves on PATH only programs that a test makes: name → what it
// prints.
func withoutPath(t *testing.T, programs map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, says := range programs {
		script := fmt.Sprintf("#!/bin/sh\necho '%s'\n", says)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
}

func TestRedisRunsInMemoryWhereThereIsNoneToRun(t *testing.T) {
	for name, programs := range map[string]map[string]string{
		"no redis-server":                {},
		"a redis-server that is too old": {"redis-server": "Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=a3fdef44459b3ad6"},
		"a redis-server that is none":    {"redis-server": "hello"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			withoutPath(t, programs)
			s := startStores(t, cfg)
			if !s.RedisInMemory || !strings.Contains(s.Notes[1], "in memory") {
				t.Errorf("in memory: %v, note %q", s.RedisInMemory, s.Notes[1])
			}
			if err := pingRedis(t, withPassword(t, s.RedisURL, "guess")); err == nil {
				t.Error("a stranger was let in")
			}
			client := openRedis(t, s.RedisURL.Reveal())
			if err := client.Set(t.Context(), "short", "lived", 20*time.Millisecond).Err(); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "a key expires by itself", func() bool { return client.Exists(t.Context(), "short").Val() == 0 })
		})
	}
}

func TestRedisVersionsThatMillraceRunsOn(t *testing.T) {
	for version, want := range map[string]bool{"5.0.14": false, "6.0.16": false, "6.2.0": true, "6.10.1": true, "7.0.15": true, "10.0.0": true} {
		withoutPath(t, map[string]string{"redis-server": "Redis server v=" + version + " sha=00000000:0"})
		if _, said, err := findRedis(t.Context()); (err == nil) != want || want && said != version {
			t.Errorf("version %s: found %q, %v", version, said, err)
		}
	}
}
