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

func benchmarkMatch(b *testing.B, s *Snapshot, e Event) { benchmarkFanOut(b, s, e, 1) }

func benchmarkFanOut(b *testing.B, s *Snapshot, e Event, want int) {
	m, err := NewMatcher(s)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if n := len(m.Match(e)); n != want {
			b.Fatalf("%d matches, want %d", n, want)
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

// BenchmarkMatchPrefixes must stay under 20 µs: each subscription is for all
// below a prefix, and the event's type has several.
func BenchmarkMatchPrefixes(b *testing.B) {
	benchmarkMatch(b, tenThousand(func(i int) Subscription {
		return to(1, fmt.Sprintf("shop.area%d.*", i))
	}), kilobyte("shop.area7000.order.paid", 1))
}

// BenchmarkMatchAnyTypeEqualities must stay under 1 ms, as with one type.
func BenchmarkMatchAnyTypeEqualities(b *testing.B) {
	benchmarkMatch(b, tenThousand(func(i int) Subscription {
		return to(1, "*").when(fmt.Sprintf(`{"customer.id":%d}`, i))
	}), kilobyte("order.paid", 7000))
}

// BenchmarkMatchOneTypeRanges has nothing to index, so each filter is judged.
func BenchmarkMatchOneTypeRanges(b *testing.B) {
	benchmarkMatch(b, tenThousand(func(i int) Subscription {
		return to(1, "order.paid").when(fmt.Sprintf(`{"customer.id":{"$gte":%d,"$lt":%d}}`, i, i+1))
	}), kilobyte("order.paid", 7000))
}

// BenchmarkMatchFanOut has all 10,000 match, by the kinds of patterns.
func BenchmarkMatchFanOut(b *testing.B) {
	for _, pattern := range []string{"order.paid", "order.*", "*"} {
		b.Run(pattern, func(b *testing.B) {
			benchmarkFanOut(b, tenThousand(func(int) Subscription { return to(1, pattern) }), kilobyte("order.paid", 1), 10_000)
		})
	}
}

// BenchmarkDocument reads one value of an event, by the event's size.
func BenchmarkDocument(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			body := []byte(`{"items":[` + strings.Repeat(`{"sku":"A-1234","quantity":2,"price":"12.50"},`, size/46) + `{}],"customer":{"id":1}}`)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if got := DocumentOf(Event{Payload: body}).Text("customer.id"); got != "1" {
					b.Fatalf("read %q", got)
				}
			}
		})
	}
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
