package sources

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	millrace "github.com/millrace-dev/millrace"
)

func TestPubSubHasNoMoreInFlightThanFitsInMemory(t *testing.T) {
	h := newPubSubHarness(t)
	h.subscribe(&pubsubpb.Subscription{})
	const messages, size = 10, 8 << 20
	for range messages {
		h.Produce(t, produced{body: `{"event_type":"large","data":"` + strings.Repeat("x", size) + `"}`})
	}
	var inFlight, most atomic.Int32
	all := make(chan struct{})
	a := startAgent(t, agentConfig{source: h.Source(), handle: func(ctx context.Context, _ millrace.Submission) error {
		n := inFlight.Add(1)
		defer inFlight.Add(-1)
		for had := most.Load(); n > had && !most.CompareAndSwap(had, n); had = most.Load() {
		}
		if n == messages {
			close(all)
		}
		select { // as long as more may come
		case <-all:
		case <-time.After(3 * time.Second):
		}
		return nil
	}})
	for range messages {
		a.next()
	}
	if n := int(most.Load()); n*size > pubSubBytes {
		t.Errorf("%d messages of %d bytes were in flight", n, size)
	}
}
