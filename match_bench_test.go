package millrace

import (
	"fmt"
	"strings"
	"testing"
)

// tenThousand is a project with 10,000 subscriptions and their endpoints.
func tenThousand(subscription func(i int) Subscription) *Snapshot {
	s := &Snapshot{Endpoints: map[ID]Endpoint{}}
	for i := range 10_000 {
		sub := subscription(i)
		sub.ID = number(1000 + i)
		s.Endpoints[sub.EndpointID] = Endpoint{ID: sub.EndpointID}
		s.Subscriptions = append(s.Subscriptions, sub)
	}
	return s
}

// kilobyte is an event of 1 KiB for a customer.
func kilobyte(eventType string, customer int) Event {
	body := fmt.Sprintf(`{"customer":{"id":%d,"region":"eu"},"amount":1234,"items":[`, customer)
	for len(body) < 960 {
		body += `{"sku":"A-1234","quantity":2,"price":"12.50"},`
	}
	return Event{Type: eventType, Payload: []byte(strings.TrimSuffix(body, ",") + `]}`)}
}

func benchmarkMatch(b *testing.B, s *Snapshot, e Event) {
	m, err := NewMatcher(s)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if n := len(m.Match(e)); n != 1 {
			b.Fatalf("%d matches, want 1", n)
		}
	}
}

// BenchmarkMatchDistinctTypes must stay under 20 µs.
func BenchmarkMatchDistinctTypes(b *testing.B) {
	benchmarkMatch(b, tenThousand(func(i int) Subscription {
		return to(1, fmt.Sprintf("order.type%d", i))
	}), kilobyte("order.type7000", 1))
}

// BenchmarkMatchDistinctTypesFiltered has the body read as well.
func BenchmarkMatchDistinctTypesFiltered(b *testing.B) {
	benchmarkMatch(b, tenThousand(func(i int) Subscription {
		return to(1, fmt.Sprintf("order.type%d", i)).when(`{"customer.id":1}`)
	}), kilobyte("order.type7000", 1))
}

// BenchmarkMatchOneTypeEqualities must stay under 1 ms.
func BenchmarkMatchOneTypeEqualities(b *testing.B) {
	benchmarkMatch(b, tenThousand(func(i int) Subscription {
		return to(1, "order.paid").when(fmt.Sprintf(`{"customer":{"id":%d,"region":"eu"}}`, i))
	}), kilobyte("order.paid", 7000))
}

// BenchmarkNewMatcher is what a change of configuration costs.
func BenchmarkNewMatcher(b *testing.B) {
	s := tenThousand(func(i int) Subscription {
		return to(1, "order.paid").when(fmt.Sprintf(`{"customer.id":%d}`, i))
	})
	for b.Loop() {
		if _, err := NewMatcher(s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFilter(b *testing.B) {
	f, err := CompileFilter(FilterSet{Body: raw(`{"amount":{"$gt":1000},"customer.region":"eu","items.$.sku":{"$startsWith":"A-"}}`)})
	if err != nil {
		b.Fatal(err)
	}
	doc := DocumentOf(kilobyte("order.paid", 1))
	b.ReportAllocs()
	for b.Loop() {
		if ok, miss := f.Match(doc); !ok {
			b.Fatal(miss.Clause())
		}
	}
}
