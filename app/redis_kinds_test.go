package app

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/pipeline/streams"
	"github.com/millrace-dev/millrace/pipeline/streams/redistest"
)

// kind is one way to run Redis.
type kind struct {
	name  string
	start func(t *testing.T) RedisConfig
}

// kinds are all ways to run Redis that a gateway works with.
func kinds() []kind {
	return []kind{
		{"one server", func(t *testing.T) RedisConfig {
			url, _ := startRedis(t)
			return at(url)
		}},
		{"one server by TLS", func(t *testing.T) RedisConfig {
			s := redistest.StartTLS(t)
			c := at(s.URL())
			c.CAFile = s.CAFile
			return c
		}},
		{"a cluster", func(t *testing.T) RedisConfig { return at(redistest.NewCluster(t).URL()) }},
		{"a master that Sentinels watch", func(t *testing.T) RedisConfig { return watched(redistest.NewSentinels(t)) }},
	}
}

// at is the configuration of a gateway that is told a URL.
func at(url string) RedisConfig { return RedisConfig{URL: millrace.Sensitive(url), Pool: 2} }

// watched is that of one that is told of Sentinels.
func watched(s *redistest.Sentinels) RedisConfig {
	c := at(s.URL())
	c.SentinelMaster, c.SentinelPassword = redistest.MasterName, redistest.SentinelPassword
	return c
}

// openedRedis is the client that a process gets.
func openedRedis(t *testing.T, c RedisConfig) redis.UniversalClient {
	t.Helper()
	client, err := openRedis(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestEveryKindOfRedisCarriesMessagesAndTellsOfChanges(t *testing.T) {
	leakless(t)
	for _, kind := range kinds() {
		t.Run(kind.name, func(t *testing.T) {
			at := kind.start(t)
			messagesPass(t, at)
			changesAreHeardOf(t, at)
		})
	}
}

func messagesPass(t *testing.T, at RedisConfig) {
	t.Helper()
	client := openedRedis(t, at)
	publisher, err := streams.NewPublisher(client, streams.PublisherConfig{Prefix: "{p}:"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = publisher.Close() }()
	subscriber, err := streams.NewSubscriber(client, streams.SubscriberConfig{Prefix: "{p}:", Group: "g"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = subscriber.Close() }()
	got, err := subscriber.Subscribe(t.Context(), "topic")
	if err != nil {
		t.Fatal(err)
	}
	sent := message.NewMessage(watermill.NewUUID(), []byte("payload"))
	if err := publisher.Publish("topic", sent); err != nil {
		t.Fatal(err)
	}
	select {
	case msg := <-got:
		if msg.UUID != sent.UUID {
			t.Errorf("message %s came, want %s", msg.UUID, sent.UUID)
		}
		msg.Ack()
	case <-time.After(soon):
		t.Error("no message came")
	}
}

// changesAreHeardOf has one process tell of a change, and both hear of it.
func changesAreHeardOf(t *testing.T, at RedisConfig) {
	t.Helper()
	here, one := hearing(t, at)
	_, other := hearing(t, at)
	id := millrace.NewID(time.Now())
	for _, heard := range []<-chan millrace.ID{one, other} {
		eventually(t, "the change is heard of", func() bool {
			here.tell(id) // nothing is heard that was told before a subscription
			select {
			case got := <-heard:
				return got == id
			default:
				return false
			}
		})
	}
}

func TestWhoeverVouchesForRedisIsKnown(t *testing.T) {
	leakless(t)
	s := redistest.StartTLS(t)
	if _, err := openRedis(t.Context(), at(s.URL())); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("of a server that nobody vouches for it says %v", err)
	}
	for file, why := range map[string]string{"nowhere.pem": "no such file", "redis_kinds_test.go": "there is no certificate in"} {
		c := at(s.URL())
		c.CAFile = file
		if err := c.validate(); err == nil || !strings.Contains(err.Error(), "redis.ca_file") || !strings.Contains(err.Error(), why) {
			t.Errorf("with the authorities of %s it says %v", file, err)
		}
	}
}

func TestAClusterIsOpened(t *testing.T) {
	leakless(t)
	cluster := redistest.NewCluster(t)
	refused := func(why string, c RedisConfig) {
		t.Helper()
		_, err := openRedis(t.Context(), c)
		if err == nil || millrace.IsUnavailable(err) || !strings.Contains(err.Error(), why) {
			t.Errorf("it says %v, want a refusal with %q", err, why)
		}
	}
	openedRedis(t, at(cluster.URL()))
	first := cluster.Nodes[0].Addr()
	openedRedis(t, at("redis://"+first+","+first))
	refused("name several", at("redis://"+first))
	single, _ := startRedis(t)
	refused("cluster support disabled", at(single+","+strings.TrimPrefix(single, "redis://")))
	third := cluster.Nodes[2]
	if err := third.Client.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err(); err != nil {
		t.Fatal(err)
	}
	refused("allkeys-lru", at(cluster.URL()))
	third.Kill()
	client := openedRedis(t, at(cluster.URL()))
	cluster.Nodes[1].Freeze()
	eventually(t, "a cluster is there as long as one of its masters is", func() bool {
		soon, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		return pingRedis(soon, client) == nil
	})
	cluster.Nodes[1].Kill()
	cluster.Nodes[0].Kill()
	if _, err := openRedis(t.Context(), at(cluster.URL())); !millrace.IsUnavailable(err) {
		t.Errorf("without any of its nodes it says %v", err)
	}
	if err := pingRedis(t.Context(), client); err == nil {
		t.Error("it is taken for one that is there")
	}
}

func TestAMasterThatTheSentinelsDoNotKnowIsNotOpened(t *testing.T) {
	leakless(t)
	sentinels := redistest.NewSentinels(t)
	c := watched(sentinels)
	openedRedis(t, c)
	c.SentinelMaster = "other"
	if _, err := openRedis(t.Context(), c); err == nil {
		t.Error("another name is taken for the master's")
	}
	c = watched(sentinels)
	c.SentinelPassword = "wrong"
	if _, err := openRedis(t.Context(), c); err == nil || millrace.IsUnavailable(err) || !strings.Contains(err.Error(), "Redis refuses") {
		t.Errorf("with a wrong password it says %v", err)
	}
}
