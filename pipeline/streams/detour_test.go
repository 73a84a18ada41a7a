package streams

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/millrace-dev/millrace/pipeline/streams/redistest"
)

func TestWhatIsForANodeThatIsAwayGoesToTheOthersUntilItIsBack(t *testing.T) {
	t.Parallel()
	cluster := redistest.NewCluster(t)
	f := newShardedFixture(t, cluster.Client, clusterShards)
	messages := f.subscribe(f.subscriber(f.config()))
	away := cluster.Nodes[1]
	away.Kill()
	refused := 0
	for _, uuid := range numbered("during", 80) {
		eventually(t, "a message is taken", func() bool {
			err := f.publisher.Publish("topic", message.NewMessage(uuid, nil))
			if err != nil {
				refused++
			}
			return err == nil
		})
	}
	if refused == 0 || refused > clusterShards {
		t.Errorf("%d calls failed until it was known which of the %d shards are away", refused, clusterShards)
	}
	f.brings(messages, numbered("during", 80)...)
	away.Start()
	eventually(t, "the node has its own again", func() bool {
		f.publish(Live, "after", 20)
		f.brings(messages, numbered("after", 20)...)
		return commandCount(t, away.Client, "xadd") > 0
	})
}
