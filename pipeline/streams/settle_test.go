package streams

import "testing"

// TestWhatIsAckedAsTimeRunsOutIsSent settles entries when the time to finish is over already.
func TestWhatIsAckedAsTimeRunsOutIsSent(t *testing.T) {
	f := newFixture(t, shared)
	sub, err := newSubscription(t.Context(), f.subscriber(f.config()), "topic") // one that does not run
	must(t, err)
	defer sub.reading.Close()
	sub.kill()
	for range cap(sub.shards[0].acks) {
		sub.settle(&entry{shard: sub.shards[0]})
	}
	if got := len(sub.shards[0].acks); got != cap(sub.shards[0].acks) {
		t.Errorf("%d of %d acks are sent", got, cap(sub.shards[0].acks))
	}
}
