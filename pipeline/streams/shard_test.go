package streams

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"
)

func TestAMessageAlwaysGoesToTheSameShard(t *testing.T) {
	for uuid, want := range map[string][3]int{ // of 2, 4 and 64: a change of these would be one of all running installations
		"": {1, 1, 5}, "a": {0, 0, 44}, "foobar": {0, 0, 40},
		"0193580f-5a00-7e3c-8b1c-7d3c9a2b4e5f": {0, 0, 16}, "0193580f-5a00-7e3c-8b1c-7d3c9a2b4e5f-2": {1, 3, 47},
	} {
		if got := [3]int{shardOf(uuid, 2), shardOf(uuid, 4), shardOf(uuid, 64)}; got != want {
			t.Errorf("%q is of shards %v, want %v", uuid, got, want)
		}
	}
	var count [8]int
	for i := range 8000 {
		count[shardOf(message.NewMessage("0193580f-5a00-7e3c-8b1c-"+strconv.FormatInt(int64(1e9+i*7919), 16), nil).UUID, 8)]++
	}
	if slices.Min(count[:]) < 800 || slices.Max(count[:]) > 1200 {
		t.Errorf("8000 messages are spread %v", count)
	}
}

func TestOneShardHasTheKeysOfAStockConsumer(t *testing.T) {
	for _, shards := range []int{0, 1} {
		if live, bulk := Keys("p:", "topic", shards, Live), Keys("p:", "topic", shards, Bulk); !slices.Equal(live, []string{"p:topic"}) || !slices.Equal(bulk, []string{"p:topic.bulk"}) {
			t.Errorf("the keys of %d are %q and %q", shards, live, bulk)
		}
	}
}

func TestShardsHaveHashTagsOfTheirOwnWhichTheirLanesShare(t *testing.T) {
	live, bulk := Keys("p:", "topic", 3, Live), Keys("p:", "topic", 3, Bulk)
	if want := []string{"p:{topic.0}", "p:{topic.1}", "p:{topic.2}"}; !slices.Equal(live, want) {
		t.Errorf("the live keys are %q, want %q", live, want)
	}
	if want := []string{"p:{topic.0}.bulk", "p:{topic.1}.bulk", "p:{topic.2}.bulk"}; !slices.Equal(bulk, want) {
		t.Errorf("the bulk keys are %q, want %q", bulk, want)
	}
	if more := Keys("p:", "topic", 5, Live); !slices.Equal(more[:3], live) {
		t.Errorf("with more shards the first are %q", more[:3])
	}
	tags := map[string]bool{}
	for i := range live {
		if hashTag(live[i]) != hashTag(bulk[i]) {
			t.Errorf("%s and %s have different tags", live[i], bulk[i])
		}
		tags[hashTag(live[i])] = true
	}
	if len(tags) != 3 {
		t.Errorf("the tags are %v", tags)
	}
}

func TestTheHashTagDecidesAboutTheSlot(t *testing.T) {
	for key, want := range map[string]string{ // the examples of the specification, and ours
		"{user1000}.following": "user1000", "foo{}{bar}": "foo{}{bar}", "foo{{bar}}zap": "{bar", "foo{bar}{zap}": "bar",
		"plain": "plain", "open{tag": "open{tag", "shut}tag": "shut}tag", "p:{topic.3}.bulk": "topic.3",
	} {
		if got := hashTag(key); got != want {
			t.Errorf("the tag of %s is %q, want %q", key, got, want)
		}
	}
}

func TestShardsAreRefusedThatCannotWork(t *testing.T) {
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}})
	defer cluster.Close()
	for name, c := range map[string]struct {
		prefix string
		shards int
		on     redis.UniversalClient
		want   string
	}{
		"fewer than one":   {shards: -1, on: shared.client(t), want: "shards -1: must be between 1 and 64"},
		"more than 64":     {shards: 65, on: shared.client(t), want: "shards 65: must be between 1 and 64"},
		"one on a cluster": {prefix: "p:", shards: 1, on: cluster, want: "a Redis Cluster needs topics of two shards or more"},
		"several on a cluster, with a tag of nothing": {prefix: "{}:", shards: 4, on: cluster, want: "a Redis Cluster needs"},
		"several on a cluster":                        {prefix: "p:", shards: 2, on: cluster},
		"one on a cluster, in one place":              {prefix: "{p}:", shards: 1, on: cluster},
		"sixty-four":                                  {prefix: "p:", shards: 64, on: shared.client(t)},
	} {
		subscriber, err := NewSubscriber(c.on, SubscriberConfig{Prefix: c.prefix, Group: "group", Shards: c.shards})
		if err == nil {
			must(t, subscriber.Close())
		}
		publisher, err2 := NewPublisher(c.on, PublisherConfig{Prefix: c.prefix, Shards: map[string]int{"topic": c.shards}})
		if err2 == nil {
			must(t, publisher.Close())
		}
		for _, err := range []error{err, err2} {
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", name, err, c.want)
			}
		}
	}
}
