package app

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/millrace-dev/millrace/pipeline"
	"github.com/millrace-dev/millrace/pipeline/streams"
	"github.com/millrace-dev/millrace/store/storetest"
)

func TestRolesSpreadTopicsOverTheShardsOfTheirReaders(t *testing.T) {
	postgres := storetest.Migrated(t)
	leakless(t)
	url, _ := startRedis(t)
	c := ofRoles(postgres, url)
	c.Stages.Persist.Shards, c.Stages.Fanout.Shards = 2, 3
	r := runRoles(t, c)
	send := sender(t, c, r.url)
	for range 50 {
		if status, ack := send(100); status != http.StatusCreated || ack != "ack=queued" {
			t.Fatalf("an event: %d, %s", status, ack)
		}
	}
	client := redis.NewClient(&redis.Options{Addr: strings.TrimPrefix(url, "redis://")})
	defer func() { _ = client.Close() }()
	for topic, n := range map[string]int{string(pipeline.Ingested): 2, string(pipeline.Persisted): 3, string(pipeline.Due): 1} {
		for _, key := range streams.Keys(c.Streams.Prefix, topic, n, streams.Live) {
			eventually(t, key+" is read, and was written to where there were events", func() bool {
				info, err := client.XInfoStreamFull(t.Context(), key, 1).Result()
				return err == nil && len(info.Groups) == 1 && (info.EntriesAdded > 0 || topic == string(pipeline.Due))
			})
		}
		if one := streams.Key(c.Streams.Prefix, topic, streams.Live); n > 1 && client.Exists(t.Context(), one).Val() != 0 {
			t.Errorf("%s is there too", one)
		}
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

func TestAReloadWithAnotherNumberOfShardsSaysThatItNeedsARestart(t *testing.T) {
	c := DefaultConfig()
	for n, want := range map[int]string{c.Stages.Deliver.Shards: "", 4: "needs a restart"} {
		var said bytes.Buffer
		r := &roles{process: &process{config: c, logger: slog.New(slog.NewTextHandler(&said, nil))}}
		other := c
		other.Stages.Deliver.Shards = n
		if err := r.reload(other); err != nil || !strings.Contains(said.String(), want) || want == "" && said.Len() > 0 {
			t.Errorf("from 1 shard to %d: %v, it says %q, want %q", n, err, said.String(), want)
		}
	}
}
