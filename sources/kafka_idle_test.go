package sources

import (
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	millrace "github.com/millrace-dev/millrace"
)

// asked counts what a cluster is asked, by the names of the requests.
type asked struct {
	mu    sync.Mutex
	times map[string]int
}

func (k *fakeKafka) asked() *asked {
	a := &asked{times: map[string]int{}}
	k.cluster.Control(func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.cluster.KeepControl()
		a.mu.Lock()
		defer a.mu.Unlock()
		a.times[kmsg.NameForKey(r.Key())]++
		return nil, nil, false
	})
	return a
}

// sofar is what was asked, and forgets it.
func (a *asked) sofar() (all int, each map[string]int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	each = maps.Clone(a.times)
	clear(a.times)
	for _, n := range each {
		all += n
	}
	return all, each
}

func TestAnIdleTopicCostsLessThanARequestASecond(t *testing.T) {
	t.Parallel()
	k := newFakeKafka(t, 3)
	count := k.asked()
	k.Produce(t, broadcast(1))
	a := startAgent(t, agentConfig{source: k.Source()})
	a.next()
	a.wantState(millrace.SourceHealthy)
	eventually(t, func() bool { return k.Left(t) == 0 }, func() string { return "it is committed" })
	eventually(t, func() bool { return a.broker.State().Lag == 0 }, func() string { return "it is known that nothing waits" })
	const seconds = 20
	count.sofar()
	pause(t.Context(), seconds*time.Second)
	if all, each := count.sofar(); all >= seconds {
		t.Errorf("%d requests in %d s: %v", all, seconds, each)
	}
	began := time.Now()
	k.Produce(t, broadcast(2))
	a.next()
	if took := time.Since(began); took > kafkaFetchWait/2 {
		t.Errorf("what came was late by %s", took)
	}
}
