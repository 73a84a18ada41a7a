package redistest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// MasterName is what the Sentinels call their master, and SentinelPassword what
// they want to be told before they say where it is. The master wants none.
const (
	MasterName       = "main"
	SentinelPassword = "watchword"
)

// Sentinels are three of them that watch one master and its replica, which
// they promote once two agree that the master has been silent for a second.
type Sentinels struct {
	// First is the master that they began with, Second its replica.
	First, Second *Server
	All           []*Server
	// Client is for the test's own use, and finds the master by the Sentinels.
	Client *redis.Client

	t testing.TB
}

// NewSentinels starts master, replica and Sentinels, and waits until a
// failover would succeed.
func NewSentinels(t testing.TB) *Sentinels {
	t.Helper()
	s := &Sentinels{t: t}
	s.First = Start(t, "--repl-diskless-sync-delay", "0")
	s.Second = Start(t, "--repl-diskless-sync-delay", "0", "--replicaof", "127.0.0.1 "+s.First.port)
	s.await("the replica has what its master has", func(ctx context.Context) error {
		return tells(s.Second.Client.Info(ctx, "replication"), "master_link_status:up")
	})
	for range 3 {
		one := &Server{t: t, password: SentinelPassword, args: s.sentinel}
		one.begin()
		// They look around more often than every two and ten seconds.
		if err := one.Client.Do(t.Context(), "sentinel", "debug", "publish-period", 100, "info-period", 200).Err(); err != nil {
			t.Fatal(err)
		}
		s.All = append(s.All, one)
	}
	s.await("the Sentinels know each other and the replica", s.acquainted)
	s.Client = redis.NewFailoverClient(&redis.FailoverOptions{MasterName: MasterName, SentinelAddrs: s.addrs(), SentinelPassword: SentinelPassword})
	t.Cleanup(func() { _ = s.Client.Close() })
	return s
}

// sentinel writes a Sentinel's file, which it keeps up itself, and is what it
// is started with.
func (s *Sentinels) sentinel(of *Server) []string {
	file := filepath.Join(of.dir, "sentinel.conf")
	if _, err := os.Stat(file); err != nil {
		conf := []string{
			"port " + of.port, "bind 127.0.0.1", "dir " + of.dir, "requirepass " + SentinelPassword,
			fmt.Sprintf("sentinel monitor %s 127.0.0.1 %s 2", MasterName, s.First.port),
			fmt.Sprintf("sentinel down-after-milliseconds %s 1000", MasterName),
			fmt.Sprintf("sentinel failover-timeout %s 2000", MasterName),
		}
		if err := os.WriteFile(file, []byte(strings.Join(conf, "\n")+"\n"), 0o600); err != nil {
			s.t.Error(err)
		}
	}
	return []string{file, "--sentinel"}
}

// acquainted tells what a Sentinel does not know yet.
func (s *Sentinels) acquainted(ctx context.Context) error {
	for _, one := range s.All {
		if err := tells(one.Client.Info(ctx, "sentinel"), "status=ok", "slaves=1,sentinels=3"); err != nil {
			return err
		}
	}
	return nil
}

// URL is what a gateway is told to find the Sentinels by.
func (s *Sentinels) URL() string { return "redis://" + strings.Join(s.addrs(), ",") }

func (s *Sentinels) addrs() []string {
	var addrs []string
	for _, one := range s.All {
		addrs = append(addrs, one.Addr())
	}
	return addrs
}

// AwaitMaster waits until every Sentinel names this server as the master, and
// it is one.
func (s *Sentinels) AwaitMaster(want *Server) {
	s.t.Helper()
	s.await("a server is the master", func(ctx context.Context) error {
		for _, one := range s.All {
			named, err := one.Client.Do(ctx, "sentinel", "get-master-addr-by-name", MasterName).StringSlice()
			if err != nil {
				return err
			}
			if len(named) != 2 || named[1] != want.port {
				return fmt.Errorf("the Sentinel at %s names %v", one.Addr(), named)
			}
		}
		return tells(want.Client.Info(ctx, "replication"), "role:master")
	})
}

// AwaitReplica waits until this server, which was the master before, has what
// the new one has.
func (s *Sentinels) AwaitReplica(want *Server) {
	s.t.Helper()
	s.await("a server is the replica", func(ctx context.Context) error {
		return tells(want.Client.Info(ctx, "replication"), "role:slave", "master_link_status:up")
	})
}

func (s *Sentinels) await(what string, ask func(ctx context.Context) error) {
	s.t.Helper()
	if err := until(func() error { return ask(context.Background()) }); err != nil {
		s.t.Fatalf("%s: %v", what, err)
	}
}

// tells tells what is not in the text that a server gave.
func tells(given *redis.StringCmd, wants ...string) error {
	text, err := given.Result()
	if err != nil {
		return err
	}
	for _, want := range wants {
		if !strings.Contains(text, want) {
			return fmt.Errorf("it does not tell %s: %s", want, text)
		}
	}
	return nil
}
