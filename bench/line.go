package bench

import (
	"context"
	"fmt"
	"strings"
	"sync"
)

// line is where a scenario's events go: a line of the receiver, with the ways
// that its events are handed in.
type line struct {
	number, fan int
	ways        []way
}

// way is a route before it is known what the data is like.
type way struct {
	path   string
	before string // the body up to the data
	key    int
	first  int
}

// setupClients is how many calls make things at once.
const setupClients = 16

// toEach hands the numbers up to n to so many workers at once.
func toEach(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for worker := range setupClients {
		all.Go(func() {
			for i := worker; i < n && ctx.Err() == nil; i += setupClients {
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// newLine takes the next line of the receiver.
func (b *bench) newLine(fan int) *line {
	b.linesUsed++
	return &line{number: b.linesUsed, fan: fan}
}

// fanLine is a line to so many endpoints of a project, by their owner; to one,
// by its id.
func (b *bench) fanLine(ctx context.Context, s *site, fan int) (*line, error) {
	l := b.newLine(fan)
	name := fmt.Sprintf("bench-%d", l.number)
	ids := make([]string, fan)
	err := toEach(ctx, fan, func(ctx context.Context, i int) (err error) {
		ids[i], err = b.subscribed(ctx, s, newEndpoint{Name: fmt.Sprintf("%s-%d", name, i), URL: b.receiver.endpoint(l.number, i), OwnerID: name}, name)
		return err
	})
	l.ways = []way{fanWay(s.project, name, name)}
	if fan == 1 {
		l.ways = []way{endpointWay(s.project, ids[0], name, 0)}
	}
	return l, err
}

// endpointsLine is a line to one of so many endpoints in turn.
func (b *bench) endpointsLine(ctx context.Context, s *site, endpoints int) (*line, error) {
	l := b.newLine(1)
	name := fmt.Sprintf("bench-%d", l.number)
	l.ways = make([]way, endpoints)
	return l, toEach(ctx, endpoints, func(ctx context.Context, i int) error {
		id, err := b.subscribed(ctx, s, newEndpoint{Name: fmt.Sprintf("%s-%d", name, i), URL: b.receiver.endpoint(l.number, i)}, name)
		l.ways[i] = endpointWay(s.project, id, name, i)
		return err
	})
}

// subscribed makes an endpoint with a subscription to one type.
func (b *bench) subscribed(ctx context.Context, s *site, e newEndpoint, eventType string) (string, error) {
	id, err := s.api.createEndpoint(ctx, s.project, e)
	if err != nil {
		return "", err
	}
	return id, s.api.subscribe(ctx, s.project, newSubscription{Endpoint: id, EventType: eventType})
}

// The names in these bodies are of letters, digits and dashes: they need no
// escapes.

func endpointWay(project, endpoint, eventType string, first int) way {
	return way{path: ofProject(project, "/events"), before: fmt.Sprintf(`{"endpoint_id":"%s","event_type":"%s","data":`, endpoint, eventType), first: first}
}

func fanWay(project, owner, eventType string) way {
	return way{path: ofProject(project, "/events/fanout"), before: fmt.Sprintf(`{"owner_id":"%s","event_type":"%s","data":`, owner, eventType)}
}

func broadcastWay(project, eventType string, key, first int) way {
	return way{path: ofProject(project, "/events/broadcast"), before: fmt.Sprintf(`{"event_type":"%s","data":`, eventType), key: key, first: first}
}

// plan is what a run on the line sends: data of a size, acknowledged as asked.
func (b *bench) plan(s *site, l *line, ack string, size int) plan {
	b.runs++
	p := plan{data: newTemplate(b.runs, size), fan: l.fan, ids: s.ids}
	if s.signs {
		p.secret = secret
	}
	if s.ids && ack == "persisted" { // queued is what it is at least
		p.says = []byte(`"ack":"persisted"`)
	}
	for _, w := range l.ways {
		p.routes = append(p.routes, route{head: head(s.api, w, ack, p.data), key: w.key, first: w.first})
	}
	return p
}

// head is a request up to where the event's data begins. The body's length is
// the same for all events of the way.
func head(a *api, w way, ack string, data template) []byte {
	h := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n",
		strings.TrimSuffix(a.base.EscapedPath(), "/")+w.path, a.base.Host, a.key, len(w.before)+len(data)+len("}"))
	if ack != "" {
		h = fmt.Appendf(h, "Prefer: ack=%s\r\n", ack)
	}
	return append(append(h, "\r\n"...), w.before...)
}
