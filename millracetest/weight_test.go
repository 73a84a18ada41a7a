package millracetest

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// heavy is the data of an event of about 1 MB whose last member says which.
func heavy(n int) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"text":"%s","n":%d}`, strings.Repeat("0123456789", 100_000), n))
}

// peak is the most memory that Redis had in use, in bytes.
func (r *Redis) peak() int {
	r.t.Helper()
	info, err := r.Client.Info(context.Background(), "memory").Result()
	if err != nil {
		r.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(info, "used_memory_peak:")
	bytes, err := strconv.Atoi(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0]))
	if err != nil {
		r.t.Fatal(err)
	}
	return bytes
}

func TestAThousandWaitingEventsOfAMegabyteKeepRedisBelow64MB(t *testing.T) {
	t.Parallel()
	const events, most = 40, 40 * (64 << 20) / 1000 // their share of it
	gw := New(t)
	r := gw.Receiver(Body(map[string]any{"n": map[string]any{"$gte": 0}}))
	gw.Egress.Stop()
	gw.Agent.Stop()
	before := gw.Redis.peak()
	var ids []string
	for n := range events {
		sent := gw.Send(Event("order.paid", "data", heavy(n)))
		if sent.Ack != "persisted" {
			t.Fatalf("answered as %q", sent.Ack)
		}
		ids = append(ids, sent.UID)
	}
	if took := gw.Redis.peak() - before; took > most {
		t.Errorf("Redis took %d bytes for %d events that wait for the fan-out, want %d at most", took, events, most)
	}
	gw.Agent.Start()
	gw.deliveries("queued", events)
	if took := gw.Redis.peak() - before; took > most {
		t.Errorf("Redis took %d bytes for %d deliveries that wait for the egress, want %d at most", took, events, most)
	}
	gw.Egress.Start()
	got := r.Want(Events(ids...), Once())
	if took := gw.Redis.peak() - before; took > most {
		t.Errorf("Redis took %d bytes for all of it, want %d at most", took, most)
	}
	for _, q := range got {
		if len(q.Body) < 1_000_000 {
			t.Errorf("event %s came with %d bytes", q.EventID, len(q.Body))
		}
	}
}
