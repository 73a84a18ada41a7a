package streams

import "testing"

// TestWhatIsAckedAsTimeRunsOutIsSent settles entries when the time to finish is over already.
func TestWhatIsAckedAsTimeRunsOutIsSent(t *testing.T) {
	f := newFixture(t, shared)
	sub, err := newSubscription(t.Context(), f.subscriber(f.config()), "topic") // one that does not run
	must(t, err)
	defer sub.reading.Close()
	sub.kill()
	for range cap(sub.acks) {
		sub.settle(&entry{owner: sub})
	}
	if got := len(sub.acks); got != cap(sub.acks) {
		t.Errorf("%d of %d acks are sent", got, cap(sub.acks))
	}
}
