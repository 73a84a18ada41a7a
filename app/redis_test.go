package app

import (
	"context"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/pipeline/streams/redistest"
)

// startRedis starts a server of the test's own and answers with its URL and
// what kills it.
func startRedis(t *testing.T, more ...string) (url string, kill func()) {
	t.Helper()
	s := redistest.Start(t, more...)
	return s.URL(), s.Kill
}

// eventually asks until the answer is yes.
func eventually(t *testing.T, what string, ask func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(soon); !ask(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %s: %s", soon, what)
		}
	}
}

// leakless has the test wait, at its end, until all that it starts from here
// on is over: a Redis client that could not connect dials once more after it is closed.
func leakless(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		eventually(t, "no goroutine is left", func() bool { return goleak.Find(before) == nil })
	})
}

func TestRedisIsReachedWhereItsURLSays(t *testing.T) {
	for _, c := range []struct {
		rule, url, master string
		addrs             []string
		user, password    string
		db                int
		tls               bool
	}{
		{rule: "one address", url: "redis://cache:6380/3", addrs: []string{"cache:6380"}, db: 3},
		{rule: "without a port it is Redis' own", url: "redis://cache", addrs: []string{"cache:6379"}},
		{rule: "an IPv6 address", url: "redis://[::1]:7000/0", addrs: []string{"[::1]:7000"}},
		{rule: "an IPv6 address without a port", url: "redis://[::1]/0", addrs: []string{"[::1]:6379"}},
		{rule: "a user and an escaped password", url: "redis://anna:a%2Fb@cache:1", addrs: []string{"cache:1"}, user: "anna", password: "a/b"},
		{rule: "several are a cluster", url: "redis://:p@a:1,b,c:3", addrs: []string{"a:1", "b:6379", "c:3"}, password: "p"},
		{rule: "several with a master are Sentinels", url: "redis://a:1,b:2", master: "main", addrs: []string{"a:1", "b:2"}},
		{rule: "rediss is TLS", url: "rediss://cache:1", addrs: []string{"cache:1"}, tls: true},
		{rule: "a socket", url: "unix:///run/redis.sock", addrs: []string{"/run/redis.sock"}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			given := RedisConfig{URL: millrace.Sensitive(c.url), SentinelMaster: c.master, Pool: 7}
			if err := given.validate(); err != nil {
				t.Fatal(err)
			}
			o, err := given.options()
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(o.Addrs, c.addrs) || o.Username != c.user || o.Password != c.password || o.DB != c.db || o.MasterName != c.master || o.PoolSize != 7 {
				t.Errorf("reached at %+v", o)
			}
			if (o.TLSConfig != nil) != c.tls {
				t.Errorf("TLS: %v", o.TLSConfig != nil)
			}
		})
	}
}

func TestARedisURLThatIsNoneIsRefusedAndNotShown(t *testing.T) {
	for _, url := range []string{"", "cache:6379", "http://:hush@cache", "redis://:hush@cache/first", "redis://:hush@ca che", "redis://:hush@a,b/1"} {
		err := RedisConfig{URL: millrace.Sensitive(url), Pool: 2}.validate()
		if err == nil || !strings.Contains(err.Error(), "redis.url") || strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestARedisIsOpened(t *testing.T) {
	leakless(t)
	t.Run("that evicts nothing", func(t *testing.T) {
		url, _ := startRedis(t)
		client, err := openRedis(t.Context(), RedisConfig{URL: millrace.Sensitive(url), Pool: 2})
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("by its socket", func(t *testing.T) {
		socket := filepath.Join(t.TempDir(), "s")
		startRedis(t, "--unixsocket", socket)
		client, err := openRedis(t.Context(), RedisConfig{URL: millrace.Sensitive("unix://" + socket), Pool: 2})
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("but not one that may evict what is queued", func(t *testing.T) {
		url, _ := startRedis(t, "--maxmemory-policy", "allkeys-lru")
		_, err := openRedis(t.Context(), RedisConfig{URL: millrace.Sensitive(url), Pool: 2})
		if err == nil || millrace.IsUnavailable(err) || !strings.Contains(err.Error(), "allkeys-lru") {
			t.Errorf("it says %v", err)
		}
	})
	t.Run("and not one that refuses, whom no waiting mends", func(t *testing.T) {
		url, _ := startRedis(t, "--user", "anna", "on", ">right", "~*", "&*", "+@all")
		for _, refused := range []string{url + "/99", strings.Replace(url, "://", "://anna:wrong@", 1)} {
			_, err := openRedis(t.Context(), RedisConfig{URL: millrace.Sensitive(refused), Pool: 2})
			if err == nil || millrace.IsUnavailable(err) || !strings.Contains(err.Error(), "Redis refuses") {
				t.Errorf("%s: it says %v", refused, err)
			}
		}
		client, err := openRedis(t.Context(), RedisConfig{URL: millrace.Sensitive(strings.Replace(url, "://", "://anna:right@", 1)), Pool: 2})
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("and one that does not answer is away", func(t *testing.T) {
		_, err := openRedis(t.Context(), RedisConfig{URL: millrace.Sensitive("redis://" + closedPort(t)), Pool: 2})
		if !millrace.IsUnavailable(err) {
			t.Errorf("it says %v", err)
		}
	})
}

// hearing runs one process's end of the broadcast.
func hearing(t *testing.T, at RedisConfig) (*changes, <-chan millrace.ID) {
	t.Helper()
	c, err := newChanges(at, "p:")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	heard := make(chan millrace.ID, 64)
	var loops sync.WaitGroup
	loops.Go(func() { c.broadcast(ctx) })
	loops.Go(func() {
		if err := c.hear(ctx, heard); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		c.close()
		loops.Wait()
	})
	return c, heard
}

func TestWhoeverTellsOfAChangeDoesNotWaitForItsBroadcast(t *testing.T) {
	c, err := newChanges(RedisConfig{URL: millrace.Sensitive("redis://" + closedPort(t)), Pool: 2}, "p:")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	told := make(chan struct{})
	go func() {
		defer close(told)
		for range 1000 { // none of which is broadcast
			c.tell(millrace.NewID(time.Now()))
		}
	}()
	select {
	case <-told:
	case <-time.After(soon):
		t.Error("it waits")
	}
}

func TestABroadcastEndsThoughItsRedisIsSilent(t *testing.T) {
	leakless(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	c, err := newChanges(RedisConfig{URL: millrace.Sensitive("redis://" + silent.Addr().String()), Pool: 2}, "p:")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	loops.Go(func() { c.broadcast(ctx) })
	loops.Go(func() { _ = c.hear(ctx, make(chan millrace.ID)) })
	c.tell(millrace.NewID(time.Now()))
	conn, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	cancel()
	c.close()
	ended := make(chan struct{})
	go func() { defer close(ended); loops.Wait() }()
	select {
	case <-ended:
	case <-time.After(soon):
		t.Error("it does not end")
	}
}
