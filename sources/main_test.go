package sources

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The client of Pub/Sub counts in the background from its import on.
	counts := goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start")
	// It looks every ten seconds whether its stream has ended, and then ends.
	looks := goleak.IgnoreTopFunction("cloud.google.com/go/pubsub/v2.(*messageIterator).streamKeepAliveHandler")
	// The writer of Convoy's SDK is never closed.
	writes := goleak.IgnoreAnyFunction("github.com/segmentio/kafka-go.(*partitionWriter).writeBatches")
	goleak.VerifyTestMain(m, counts, looks, writes)
}
